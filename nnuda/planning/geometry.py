"""Spacing, low-resolution axis and orientation of a domain, from the image headers."""

from __future__ import annotations

from collections import Counter

import nibabel
import numpy as np
import SimpleITK as sitk
from nnunetv2.configuration import ANISO_THRESHOLD
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain
from nnuda.errors import DatasetError
from nnuda.images import check_whole, read_case

# Readers without a header reader of their own are asked for whole images, and of a few cases only.
CASES_READ_WHOLE = 5


def orientations(domain: Domain, reader_class: type[BaseReaderWriter]) -> Counter:
    """Orientation codes of the arrays that nnU-Net gets, and how many cases have each.

    nnU-Net ignores direction cosines: the first voxels of a RAS and of a LPS volume are other corners of the patient.

    Args:
        domain: its images.
        reader_class: nnU-Net's reader for them.

    Returns:
        code ("LPS": the axes run towards left, posterior, superior) -> cases. Empty for formats without one.
    """
    codes = (_orientation(files[0], reader_class.__name__) for files in domain.images.values())
    return Counter(code for code in codes if code is not None)


def _orientation(file: str, reader: str) -> str | None:
    if reader == "SimpleITKIO":
        header = _sitk_header(file)
        if len(header.GetDirection()) != 9:
            return None
        return sitk.DICOMOrientImageFilter_GetOrientationFromDirectionCosines(header.GetDirection())
    if reader == "NibabelIO":
        return "".join(nibabel.aff2axcodes(nibabel.load(file).affine))
    return None


def _sitk_header(file: str) -> sitk.ImageFileReader:
    check_whole(file)
    reader = sitk.ImageFileReader()
    reader.SetFileName(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        raise DatasetError(
            f"{file}: expected an image that ITK can read; it cannot. Copy or export the file again, or take the case "
            "out."
        ) from error
    return reader


def spacings(domain: Domain, reader_class: type[BaseReaderWriter]) -> np.ndarray:
    """Spacing of the cases in nnU-Net's array order.

    Returns:
        (cases, 3) in mm; a 2D image has a huge one along the axis that it lacks, as in nnU-Net.
    """
    cases = list(domain.images.values())
    if reader_class.__name__ == "SimpleITKIO":
        return np.array(
            [_sitk_spacing(files[0]) or read_case(reader_class, files)[1]["spacing"] for files in cases], dtype=float
        )
    chosen = cases[:: max(1, len(cases) // CASES_READ_WHOLE)][:CASES_READ_WHOLE]
    return np.array([read_case(reader_class, files)[1]["spacing"] for files in chosen], dtype=float)


def _sitk_spacing(file: str) -> list[float] | None:
    spacing = _sitk_header(file).GetSpacing()
    return [abs(s) for s in spacing[::-1]] if len(spacing) == 3 else None


def low_resolution_axis(median_spacing: np.ndarray) -> int | None:
    """Array axis whose spacing is more than three times the others' (nnU-Net's threshold for anisotropy), or None."""
    axis = int(np.argmax(median_spacing))
    others = np.delete(median_spacing, axis)
    return axis if median_spacing[axis] > ANISO_THRESHOLD * others.max() else None


def geometry_facts(fingerprint: dict, codes: Counter) -> dict:
    """A domain's entry in the key's `geometry`.

    Args:
        fingerprint: the domain's, with `spacings` and `shapes_after_crop`.
        codes: from `orientations`.
    """
    median_spacing = np.median(fingerprint["spacings"], axis=0)
    median_shape = np.median(fingerprint["shapes_after_crop"], axis=0)
    return {
        "median_spacing": [float(s) for s in median_spacing],
        "median_shape": [float(n) for n in median_shape],
        "low_resolution_axis": low_resolution_axis(median_spacing),
        "orientation": codes.most_common(1)[0][0] if codes else None,
    }
