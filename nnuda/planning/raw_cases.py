"""What lies in the raw folders: each case is looked at while it is read anyway, and noted for the next time."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.datasets import Domain, label_files
from nnuda.errors import DatasetError
from nnuda.files import FileError, read_json, write_json
from nnuda.images import digest, image_complaint, read_case, read_label, stamp, values_complaint
from nnuda.plan_key import relative_target_folder
from nnuda.processes import run_cases

SHOWN = 5  # complaints in one error
NOTES = "nnUDA_raw_cases.json"
# What else is wanted of a case that is being read: share(images, labels or None, properties)
Share = Callable[[np.ndarray, "np.ndarray | None", dict], Any]
_NUMBERS = {"type": "array", "items": {"type": "number"}}
_NOTE = {
    "stamp": {"type": "array"},
    "images": {"type": "string"},
    "label": {"type": ["string", "null"]},
    "channels": {"type": "integer"},
    "spacing": {**_NUMBERS, "minItems": 3, "maxItems": 3},
    "range": {"type": "array", "items": {**_NUMBERS, "minItems": 2, "maxItems": 2}},
    "labels": {"type": "array", "items": {"type": "integer"}},
    "cautions": {"type": "array", "items": {"type": "string"}},
}
_SCHEMA = {
    "type": "object",
    "required": ["folder", "cases"],
    "properties": {
        "folder": {"type": "string"},
        "cases": {
            "type": "object",
            "additionalProperties": {
                "type": "object",
                "required": list(_NOTE),
                "properties": _NOTE,
            },
        },
    },
}


@dataclass(frozen=True)
class Look:
    """What came of reading a case.

    Attributes:
        note: what is kept of it; None where there is a complaint. `stamp` (name, bytes and times of its files), `images`
            and `label` (hashes of their contents), `channels`, `spacing` (mm, array order), `range` (lowest and highest
            value a channel), `labels` (values in the label file), `cautions`.
        complaint: what forbids its use.
        share: what was asked for besides.
    """

    note: dict | None
    complaint: str = ""
    share: Any = None


def notes_file(source_name: str, target_name: str | None = None) -> str:
    """Where the notes on the source's cases lie, or on the target's."""
    parts = relative_target_folder(source_name, target_name).split("/") if target_name else [source_name]
    return join(nnUNet_preprocessed, *parts, NOTES)


def look_at_source(source: Domain, num_processes: int = 1, share: Share | None = None) -> tuple[dict[str, dict], list]:
    """The source's cases and labels, as `look_at`."""
    return look_at(source, notes_file(source.name), label_files(source), num_processes, share, "source")


def look_at_target(
    source_name: str, target: Domain, num_processes: int = 1, share: Share | None = None
) -> tuple[dict[str, dict], list]:
    """The target's images, as `look_at`.

    Raises:
        DatasetError: also where other images lie under the target's name.
    """
    file = notes_file(source_name, target.name)
    _check_same_target(target, read_notes(file), source_name)
    return look_at(target, file, None, num_processes, share, "target")


def are_as_looked_at(source: Domain, target: Domain) -> bool:
    """Whether every file of both domains is the one that was last looked at, by name, bytes and times; the files are
    not opened."""
    labels = label_files(source)
    of_source, of_target = (
        read_notes(file)["cases"] for file in (notes_file(source.name), notes_file(source.name, target.name))
    )
    return all(_is_known(of_source.get(case), [*files, labels[case]]) for case, files in source.images.items()) and all(
        _is_known(of_target.get(case), files) for case, files in target.images.items()
    )


def look_at(
    domain: Domain,
    file: str,
    labels: dict[str, str] | None,
    num_processes: int = 1,
    share: Share | None = None,
    which: str = "",
) -> tuple[dict[str, dict], list]:
    """Read the cases that are new or whose files have changed; all where something else is wanted of them.

    Args:
        domain: its images.
        file: where the notes are kept.
        labels: case -> label file; None for the target.
        num_processes: worker processes.
        share: called with each case; all are read then.
        which: "source" or "target", for the progress bar.

    Returns:
        case -> note (see `Look`), and what `share` returned, a case each.

    Raises:
        DatasetError: names the first cases that cannot be used, and how many there are.
    """
    old = read_notes(file)
    files = {case: [*images, *([labels[case]] if labels else [])] for case, images in domain.images.items()}
    known = {} if share else {c: old["cases"][c] for c in files if _is_known(old["cases"].get(c), files[c])}
    wanted = [case for case in files if case not in known]
    reader_class = domain.reader_class() if wanted else None  # it reads an image to choose
    arguments = [(domain.images[c], labels and labels[c], reader_class, share) for c in wanted]
    title = "Fingerprint of" if share else "Looking at"
    looks = dict(zip(wanted, run_cases(look_at_case, arguments, num_processes, f"{title} {which} {domain.name}")))
    found = {case: known.get(case) or looks[case].note for case in files}
    if wanted or old["folder"] != domain.folder or set(old["cases"]) != set(files):
        cases = {case: note for case, note in found.items() if note}
        write_json({"folder": domain.folder, "cases": cases}, file)
    raise_all([look.complaint for look in looks.values() if look.complaint], which, domain)
    return found, [look.share for look in looks.values()]


def look_at_case(
    files: list[str], label: str | None, reader_class: type[BaseReaderWriter], share: Share | None = None
) -> Look:
    """Read a case once: is it whole, are its numbers numbers, does its label lie on it?"""
    try:
        before, cautions = stamp([*files, *([label] if label else [])]), []
        images, properties = read_case(reader_class, files, cautions)
        ranges = [[float(channel.min()), float(channel.max())] for channel in images]
        complaint = image_complaint(files, images, properties)
        segmentation, values = None, []
        if label is not None and not complaint:
            segmentation, properties_label = read_label(reader_class, label, cautions)
            values, complaint = _label_values(label, segmentation)
            complaint = complaint or _grid_complaint(
                files[0], label, images, segmentation, properties, properties_label
            )
            cautions += _place_cautions(files[0], label, properties, properties_label)
        if complaint:
            return Look(None, complaint)
        note = {
            "stamp": before,
            "images": digest(files),
            "label": digest([label]) if label else None,
            "channels": len(images),
            "spacing": [float(s) for s in properties["spacing"]],
            "range": ranges,
            "labels": values,
            "cautions": cautions,
        }
        return Look(note, "", share(images, segmentation, properties) if share else None)
    except DatasetError as error:
        return Look(None, str(error))


def raise_all(complaints: list[str], which: str, domain: Domain) -> None:
    """One error for all, with the first few.

    Raises:
        DatasetError: there is a complaint.
    """
    if not complaints:
        return
    if len(complaints) == 1:
        raise DatasetError(complaints[0])
    shown = "".join(f"\n  {text}" for text in complaints[:SHOWN])
    more = f"\n  ... and {len(complaints) - SHOWN} more" if len(complaints) > SHOWN else ""
    raise DatasetError(f"{len(complaints)} cases of the {which} {domain.name} cannot be used:{shown}{more}")


def read_notes(file: str) -> dict:
    """`folder` of the images and `cases` (case -> note, see `Look`) as they were last looked at."""
    try:
        return (
            read_json(file, "notes of nnuda's on raw cases", _SCHEMA) if isfile(file) else {"folder": "", "cases": {}}
        )
    except FileError:  # damaged: they are made again
        return {"folder": "", "cases": {}}


def _is_known(note: dict | None, files: list[str]) -> bool:
    return note is not None and all(map(os.path.isfile, files)) and note["stamp"] == stamp(files)


def _check_same_target(target: Domain, notes: dict, source_name: str) -> None:
    if not notes["cases"] or notes["folder"] in ("", target.folder):
        return
    common = [case for case in target.images if case in notes["cases"]]
    if any(digest(target.images[case]) == notes["cases"][case]["images"] for case in common[:SHOWN]):
        return  # the same images at another place
    raise DatasetError(
        f"The target's name {target.name} is taken: what is derived from it lies in "
        f"{os.path.dirname(notes_file(source_name, target.name))} and was made from the images in {notes['folder']}; "
        f"those in {target.folder} are others. Give them another name (--target-name), or remove that folder if it is "
        "not needed any more."
    )


# ---- labels ---------------------------------------------------------------------------------------------------------


def _label_values(file: str, segmentation: np.ndarray) -> tuple[list[int], str]:
    """The values of a label file, and what is wrong with them."""
    if len(segmentation) != 1:
        return [], (
            f"{file}: expected a label map with one channel, got {len(segmentation)}. Store labels as a grey-scale image."
        )
    found = pd.unique(segmentation.ravel())  # np.unique sorts, which takes seconds on a large volume
    complaint = values_complaint(file, segmentation, float(found.min()), float(found.max()))
    if complaint:
        return [], complaint.replace("in the image", "in the labels").replace(" in this modality", "")
    fractions = sorted(float(value) for value in found if value != int(value))
    if fractions:
        return [], (
            f"{file}: expected whole numbers as labels, got {', '.join(f'{v:g}' for v in fractions[:SHOWN])}. Labels "
            "that were resampled need nearest neighbours."
        )
    return sorted(int(value) for value in found), ""


def _grid_complaint(
    image: str, label: str, images: np.ndarray, segmentation: np.ndarray, properties: dict, properties_label: dict
) -> str:
    """Shape and spacing have to be the image's, with the tolerances of nnU-Net's own check."""
    expected, got = images.shape[1:], segmentation.shape[1:]
    what = "shape"
    if expected == got:
        what, expected, got = "spacing", properties["spacing"], properties_label["spacing"]
        if np.allclose(expected, got):
            return ""
    shown = [" x ".join(f"{float(v):g}" for v in values) for values in (expected, got)]
    return (
        f"{label}: expected the {what} of its image {os.path.basename(image)}, {shown[0]}; got {shown[1]}. Resample the "
        "label to the image."
    )


def _place_cautions(image: str, label: str, properties: dict, properties_label: dict) -> list[str]:
    """Origin, direction and affine, which nnU-Net does not use: a person may know better."""
    texts = []
    for kind, names in {"sitk_stuff": ("origin", "direction"), "nibabel_stuff": ("original_affine",)}.items():
        for name in names if kind in properties else ():
            expected, got = (np.asarray(p[kind][name], float) for p in (properties, properties_label))
            if expected.shape != got.shape or not np.allclose(expected, got):
                shown = [np.round(value, 4).tolist() for value in (expected, got)]
                texts.append(
                    f"{label}: {name.replace('original_', '')} {shown[1]}, its image {os.path.basename(image)} has "
                    f"{shown[0]}"
                )
    return texts
