"""Label files for scoring: read as nnU-Net reads them, and refused where two do not lie on the same grid."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import (
    determine_reader_writer_from_dataset_json,
    recursive_find_reader_writer_by_name,
)
from nnunetv2.imageio.tif_reader_writer import Tiff3DIO

from nnuda.errors import EvaluationError, NnudaError, short
from nnuda.images import hidden_value, is_nifti, read_case, whole_complaint

OTHER_LABELS = "These files are of another dataset or model: take those that belong to it."


@dataclass(frozen=True)
class LabelMap:
    """A label file: integer labels (*S), spacing along each axis and its unit, what the header says of its place. Or an
    image that one is laid on, with its values."""

    labels: np.ndarray
    spacing: tuple[float, ...]
    unit: str
    place: dict[str, np.ndarray]


def find_reader(dataset_json: dict, plans: dict | None, example_file: str) -> type[BaseReaderWriter]:
    """nnU-Net's reader: the one that plans name, else the one that dataset.json and the file ending lead to.

    Raises:
        EvaluationError: there is none of that name, or none that can read the file.
    """
    try:
        if plans is not None:
            return recursive_find_reader_writer_by_name(plans["image_reader_writer"])
        named = dataset_json.get("overwrite_image_reader_writer", "None")
        if named != "None":
            return recursive_find_reader_writer_by_name(named)
        with contextlib.redirect_stderr(io.StringIO()):  # where a reader fails, nnU-Net prints a traceback and goes on
            return determine_reader_writer_from_dataset_json(dataset_json, example_file, verbose=False)
    except RuntimeError as error:
        if plans is None and dataset_json.get("overwrite_image_reader_writer", "None") != "None":
            raise EvaluationError(f"dataset.json, overwrite_image_reader_writer: {error}") from error
        if plans is not None:
            raise EvaluationError(f"plans.json, image_reader_writer: {error}") from error
        raise EvaluationError(
            f"{example_file}: expected an image that a reader of nnU-Net's can open; none can. It is damaged, empty or "
            "another kind of file: copy or write it again."
        ) from error


def read_files(read: Callable[[], Any], files: Sequence[str], what: str) -> Any:
    """What a reader makes of image and label files, after a look at what readers pass over.

    Args:
        read: reads them.
        files: paths, one a channel.
        what: they are, for the message: "an image", "a label file".

    Raises:
        EvaluationError: it is damaged, cut off, or not of that kind.
    """
    file = files[0]
    try:
        for file in files:
            complaint = whole_complaint(file)
            if not complaint and is_nifti(file) and not math.isfinite(hidden_value(file)):
                complaint = "it holds NaN or infinite values"
            if complaint:
                raise EvaluationError(f"{file}: expected {what}; {complaint}. Copy or write it again.")
        file = " ".join(files)
        return read()
    except (MemoryError, NnudaError):
        raise
    except Exception as error:  # every library that reads images has kinds of its own
        got = short(str(error)) or type(error).__name__
        raise EvaluationError(f"{file}: expected {what}; it cannot be read ({got}). Copy or write it again.") from error


def _unit(file: str, reader: type[BaseReaderWriter], properties: dict) -> str:
    """mm where the format has a spacing; TIFF has one where a spacing file lies beside it, as nnU-Net has it."""
    has_header = "sitk_stuff" in properties or "nibabel_stuff" in properties
    has_spacing_file = issubclass(reader, Tiff3DIO) and os.path.isfile(os.path.splitext(file)[0] + ".json")
    return "mm" if has_header or has_spacing_file else "pixels"


def _place(properties: dict) -> dict[str, np.ndarray]:
    """Origin and direction (SimpleITK's readers) or affine (nibabel's), nothing for formats without a header."""
    itk, nibabel = properties.get("sitk_stuff", {}), properties.get("nibabel_stuff", {})
    found = {"origin": itk.get("origin"), "direction": itk.get("direction"), "affine": nibabel.get("original_affine")}
    return {name: np.asarray(value, dtype=float) for name, value in found.items() if value is not None}


def read_labels(
    file: str, reader: type[BaseReaderWriter], allowed: Sequence[int], remedy: str = OTHER_LABELS
) -> LabelMap:
    """Reads a label file.

    Args:
        file: path.
        reader: nnU-Net's reader class.
        allowed: the labels of dataset.json, background and ignore included.
        remedy: what to do about a value that is none of them.

    Raises:
        EvaluationError: damaged, more than one channel, or a value that dataset.json does not name.
    """
    image, properties = read_files(lambda: reader().read_seg(file), [file], "a label file")
    if image.shape[0] != 1:
        raise EvaluationError(
            f"Expected a label map with one channel; {file} has {image.shape[0]}. Store labels as a grey-scale image."
        )
    labels = image[0]
    check_values(file, labels, allowed, remedy)
    return _laid_out(file, reader, labels.astype(np.int32), properties)


def _laid_out(file: str, reader: type[BaseReaderWriter], values: np.ndarray, properties: dict) -> LabelMap:
    spacing = tuple(float(size) for size in properties["spacing"])
    return LabelMap(values, spacing, _unit(file, reader, properties), _place(properties))


def check_values(file: str, labels: np.ndarray, allowed: Sequence[int], remedy: str = OTHER_LABELS) -> None:
    """Stop where a label map holds what its dataset.json does not name.

    Args:
        file: it was read from.
        labels: of any shape.
        allowed: background and ignore included.
        remedy: what to do.

    Raises:
        EvaluationError: a value is not allowed.
    """
    found = pd.unique(labels.ravel())  # np.unique sorts, which takes seconds on a large volume
    unknown = sorted(set(found.tolist()) - set(allowed))
    if unknown:
        raise EvaluationError(
            f"Expected the labels {list(allowed)} of dataset.json; {file} also holds {unknown[:5]}. {remedy}"
        )


def check_on_image(case: str, reference: LabelMap, image: str, reader: type[BaseReaderWriter]) -> None:
    """The grid of a reference label against its image's, which a prediction gets.

    Args:
        case: for the message.
        reference: a label.
        image: file of the image's first channel.
        reader: nnU-Net's reader class.

    Raises:
        DatasetError: an image that cannot be read.
        EvaluationError: they do not lie on the same grid.
    """
    images, properties = read_case(reader, [image])
    laid_out = _laid_out(image, reader, images[0], properties)
    remedy = f"Take the label that was drawn on {image}, or resample it to that."
    check_same_grid(case, reference, laid_out, "image", remedy)


def check_same_grid(
    case: str,
    reference: LabelMap,
    other: LabelMap,
    what: str = "prediction",
    remedy: str = "Predict on the image that the reference was drawn on, or resample the prediction to it.",
) -> None:
    """Same shape, spacing, origin and direction (to 1e-3), or an error that names the case.

    Args:
        case: for the message.
        reference: a label.
        other: what is laid on it.
        what: that is.
        remedy: what to do.

    Raises:
        EvaluationError: the two do not lie on the same grid.
    """
    differences = []
    if reference.labels.shape != other.labels.shape:
        differences.append(f"shape: reference {reference.labels.shape}, {what} {other.labels.shape}")
    pairs = {"spacing": (reference.spacing, other.spacing)}
    pairs.update({name: (value, other.place[name]) for name, value in reference.place.items()})
    for name, (expected, got) in pairs.items():
        if np.shape(expected) != np.shape(got) or not np.allclose(expected, got, atol=1e-3):
            rounded = [np.round(value, 4).tolist() for value in (expected, got)]
            differences.append(f"{name}: reference {rounded[0]}, {what} {rounded[1]}")
    if differences:
        raise EvaluationError(
            f"Case {case}: reference and {what} do not lie on the same grid. {'; '.join(differences)}. {remedy}"
        )
