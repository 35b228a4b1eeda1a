"""Reading the owner's files, and writing a case of a dataset."""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import numpy as np
import SimpleITK as sitk

from nnuda.convert.description import Domain
from nnuda.convert.layout import Case, LayoutError

EVEN = 0.1  # slices whose distances differ by more than this share are not one stack: one is missing


class ImageError(LayoutError):
    """An image or label that cannot be taken as it is."""


def sha256(path: str) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(2**20), b""):
            digest.update(block)
    return digest.hexdigest()


# ---- reading ----------------------------------------------------------------------------------------------------------


def read_image(paths: list[str], frame: int | None = None) -> sitk.Image:
    """A volume from one file, one frame of a series over time, or DICOM slices.

    Raises:
        ImageError: it cannot be read, is no volume, or lacks a slice.
    """
    with _readable(paths[0]):
        image = _read_slices(paths) if paths[0].lower().endswith(".dcm") else _read_file(paths[0])
    if frame is not None and image.GetDimension() == 4:
        if frame >= image.GetSize()[3]:
            raise ImageError(f"{paths[0]}: expected frame {frame}; it has {image.GetSize()[3]}, counted from 0.")
        image = image[:, :, :, frame]
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        raise ImageError(f"{paths[0]}: expected a volume; it has {image.GetDimension()} dimensions.")
    return sitk.Cast(image, sitk.sitkFloat32) if image.GetPixelID() == sitk.sitkFloat64 else image


@contextmanager
def _readable(path: str) -> Iterator[None]:
    """What ITK and nibabel say of a file that is damaged, as an error for the user."""
    try:
        yield
    except (RuntimeError, EOFError, zlib.error) as error:
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ImageError(f"{path}: expected an image; it cannot be read. Copy it again. ({reason})") from error


def _read_file(path: str) -> sitk.Image:
    try:
        return sitk.ReadImage(path)
    except RuntimeError as error:
        if "orthonormal" not in str(error):
            raise
        return _read_skewed(path)


def _read_skewed(path: str) -> sitk.Image:
    """A NIfTI whose axes are not quite at right angles, as ITK wants them: the nearest rotation takes their place."""
    import nibabel

    nifti = nibabel.load(path)
    zooms = [float(zoom) for zoom in nifti.header.get_zooms()]
    left, _, right = np.linalg.svd(nifti.affine[:3, :3] / zooms[:3])
    turned = np.diag([-1, -1, 1])  # NIfTI's axes point right, anterior; ITK's left, posterior
    image = sitk.GetImageFromArray(np.asanyarray(nifti.dataobj).T, isVector=False)
    direction, origin = np.eye(image.GetDimension()), np.zeros(image.GetDimension())
    direction[:3, :3], origin[:3] = turned @ left @ right, turned @ nifti.affine[:3, 3]
    image.SetSpacing(zooms)
    image.SetOrigin(origin.tolist())
    image.SetDirection(direction.ravel().tolist())
    return image


def _pixels(path: str) -> np.ndarray:
    with _readable(path):
        return sitk.GetArrayFromImage(sitk.ReadImage(path))


def sort_slices(paths: list[str]) -> tuple[list[str], float]:
    """DICOM slices along their normal, whatever they are called, and the distance between them (mm).

    Raises:
        ImageError: one position twice, or distances that differ.
    """
    placed = []
    for path in paths:
        reader = sitk.ImageFileReader()
        reader.SetFileName(path)
        with _readable(path):
            reader.ReadImageInformation()
        placed.append((float(np.dot(reader.GetOrigin(), reader.GetDirection()[2::3])), path))
    placed.sort()
    steps = np.diff([place for place, _ in placed])
    if len(steps) == 0 or steps.min() <= 0 or steps.max() - steps.min() > EVEN * steps.max():
        raise ImageError(
            f"{os.path.dirname(paths[0])}: expected the slices of one series at one distance; the {len(paths)} files lie "
            f"{steps.min() if len(steps) else 0:.2f} to {steps.max() if len(steps) else 0:.2f} mm apart. A slice is "
            "missing, or there are several series: unpack the download again, or leave the case out with --skip."
        )
    return [path for _, path in placed], float(steps.mean())


def _read_slices(paths: list[str]) -> sitk.Image:
    ordered, step = sort_slices(paths)
    first = sitk.ReadImage(ordered[0])
    volume = np.concatenate([_pixels(path) for path in ordered])
    image = sitk.GetImageFromArray(volume)
    image.SetSpacing((*first.GetSpacing()[:2], step))
    image.SetOrigin(first.GetOrigin())
    image.SetDirection(first.GetDirection())
    return image


def read_label(
    paths: list[str], image: sitk.Image, image_paths: list[str], frame: int | None, trust: bool
) -> sitk.Image:
    """A label on its image's grid.

    Args:
        paths: its file, or its slices, which are called as those of the image are.
        image: as it is stored.
        image_paths: where it came from.
        frame: of a series over time.
        trust: take the voxels as they lie where the sizes agree, whatever the label's header says.

    Raises:
        ImageError: the grids differ.
    """
    if paths[0].endswith(".png"):
        return _stack(paths, image, image_paths)
    label = read_image(paths, frame)
    if label.GetSize() == image.GetSize() and (trust or _apart(label, image) < 0.5 * min(image.GetSpacing())):
        label.CopyInformation(image)
        return label
    turned = _onto(label, image)
    if turned is None:
        raise ImageError(
            f"{paths[0]}: expected the grid of its image {image_paths[0]}, {_grid(image)}; got {_grid(label)}. Leave the "
            "case out with --skip CASE. --same-grid takes the voxels as they lie where the sizes agree: look at a case "
            "before."
        )
    return turned


def _corners(image: sitk.Image) -> np.ndarray:
    ends = product(*((0, size - 1) for size in image.GetSize()))
    return np.array([image.TransformIndexToPhysicalPoint(end) for end in ends])


def _apart(label: sitk.Image, image: sitk.Image) -> float:
    """The largest distance of two corners of the same index, mm."""
    return float(np.linalg.norm(_corners(label) - _corners(image), axis=1).max())


def _onto(label: sitk.Image, image: sitk.Image) -> sitk.Image | None:
    """A label whose axes are stored in another order or sense, turned as the image's are; None: another grid."""
    turned = sitk.DICOMOrient(label, orientation(image))
    if turned.GetSize() != image.GetSize() or _apart(turned, image) >= 0.5 * min(image.GetSpacing()):
        return None
    turned.CopyInformation(image)
    return turned


def _grid(image: sitk.Image) -> str:
    spacing = " x ".join(f"{value:.3g}" for value in image.GetSpacing())
    origin = ", ".join(f"{value:.1f}" for value in image.GetOrigin())
    return f"{' x '.join(map(str, image.GetSize()))} voxels of {spacing} mm from ({origin}), {orientation(image)}"


def _stack(paths: list[str], image: sitk.Image, image_paths: list[str]) -> sitk.Image:
    """PNG masks, each of the slice of its name."""
    stem = {os.path.splitext(os.path.basename(path))[0]: path for path in paths}
    order = [os.path.splitext(os.path.basename(path))[0] for path in sort_slices(image_paths)[0]]
    if sorted(order) != sorted(stem):
        odd = sorted(set(order) ^ set(stem))
        raise ImageError(
            f"{os.path.dirname(paths[0])}: expected a mask for each slice of {os.path.dirname(image_paths[0])}, of the "
            f"same name; {len(odd)} names have no partner, such as {odd[0]}."
        )
    masks = np.stack([_pixels(stem[name]) for name in order])
    if masks.shape[::-1] != image.GetSize():
        raise ImageError(
            f"{os.path.dirname(paths[0])}: expected masks of one number a pixel and the image's size {image.GetSize()}; "
            f"got {masks.shape[::-1]}."
        )
    label = sitk.GetImageFromArray(masks)
    label.CopyInformation(image)
    return label


def map_values(label: np.ndarray, values: Mapping[int | tuple[int, int], int], path: str) -> np.ndarray:
    """Classes in place of the owner's values.

    Returns:
        uint8, of the same shape.

    Raises:
        ImageError: a value that the description does not know.
    """
    there = np.unique(label)
    known = {}
    for value, new in values.items():
        low, high = value if isinstance(value, tuple) else (value, value)
        known.update({float(old): new for old in there if low <= old <= high and old == round(old)})
    unknown = [float(old) for old in there if float(old) not in known]
    if unknown:
        expected = ", ".join(f"{v[0]}-{v[1]}" if isinstance(v, tuple) else str(v) for v in values)
        raise ImageError(
            f"{path}: expected the values {expected}; got also {', '.join(f'{v:g}' for v in unknown[:10])}. It is of "
            "another year or another collection."
        )
    table = np.array([known[float(old)] for old in there], np.uint8)
    return table[np.searchsorted(there, label)]


def orientation(image: sitk.Image) -> str:
    """Three letters: where each axis points to (L: left, P: posterior, S: superior, ...)."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


# ---- one case ---------------------------------------------------------------------------------------------------------


def convert_case(
    input_folder: str, case: Case, domain: Domain, turn_to: str | None, image_to: str, label_to: str, trust: bool
) -> dict:
    """Write one case.

    Args:
        input_folder: where the paths of `case` start.
        case: which files.
        domain: what they mean.
        turn_to: orientation, or None.
        image_to, label_to: files to write; no label where the case has none.
        trust: as of `read_label`.

    Returns:
        what was read and done: hashes, spacing (mm), orientations, classes.
    """
    images = [os.path.join(input_folder, path) for path in case.images]
    image = read_image(images, case.frame)
    record: dict = {
        "inputs": {path: _hash(input_folder, path) for path in _with_data(input_folder, (*case.images, *case.labels))},
        "orientation_as_stored": orientation(image),
        "spacing_as_stored": [round(value, 6) for value in image.GetSpacing()],
    }
    if case.frame is not None:
        record["frame"] = case.frame
    label = None
    if case.labels:
        paths = [os.path.join(input_folder, path) for path in case.labels]
        label = read_label(paths, image, images, case.frame, trust)
        label = sitk.GetImageFromArray(map_values(sitk.GetArrayViewFromImage(label), domain.values, paths[0]))
        label.CopyInformation(image)
        record["classes"] = [int(value) for value in np.unique(sitk.GetArrayViewFromImage(label))]
    wrong = domain.repair is not None and max(image.GetSpacing()[:2]) > domain.repair.above
    if wrong:
        x, y, z = image.GetSpacing()
        for one in [image] if label is None else [image, label]:
            one.SetSpacing((x * domain.repair.factor, y * domain.repair.factor, z))
        record["repaired"] = domain.repair.why
    if turn_to is not None:
        image, label = (None if one is None else sitk.DICOMOrient(one, turn_to) for one in (image, label))
    sitk.WriteImage(image, image_to, useCompression=True)
    if label is not None:
        sitk.WriteImage(label, label_to, useCompression=True)
    return {
        **record,
        "orientation": orientation(image),
        "spacing": [round(value, 6) for value in image.GetSpacing()],
        "size": list(image.GetSize()),
    }


def _with_data(input_folder: str, paths: tuple[str, ...]) -> list[str]:
    """The same with the files that hold the voxels of MetaImage headers."""
    found = []
    for path in paths:
        found.append(path)
        if path.lower().endswith(".mhd"):
            with open(os.path.join(input_folder, path), encoding="latin-1") as file:
                named = re.search(r"^ElementDataFile\s*=\s*(\S.*?)\s*$", file.read(), re.MULTILINE)
            if named and named[1] != "LOCAL":
                found.append(f"{os.path.dirname(path)}/{os.path.basename(named[1])}".lstrip("/"))
    return found


def _hash(input_folder: str, path: str) -> dict:
    whole = os.path.join(input_folder, path)
    return {"bytes": os.path.getsize(whole), "sha256": sha256(whole)}
