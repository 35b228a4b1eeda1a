"""The files of a preprocessed case in nnU-Net's two formats: which they are, whether they are whole; and the folds that
name the cases."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from typing import Any

import blosc2

from nnuda.errors import PlanningError, short
from nnuda.files import FileError, read_arrays, read_json

ENDINGS = (".b2nd", "_seg.b2nd", ".pkl", ".npz", ".npy", "_seg.npy")  # of a case's files, in nnU-Net's two formats
FORMATS = {".b2nd": ("{}.b2nd", "{}_seg.b2nd", "{}.pkl"), ".npz": ("{}.npz", "{}.pkl")}  # by the image's ending
FOLDS = 5  # of nnU-Net, where no splits_final.json says otherwise
_CASES = {"type": "array", "items": {"type": "string"}}
SPLITS_SCHEMA = {
    "type": "array",
    "items": {"type": "object", "required": ["train", "val"], "properties": {"train": _CASES, "val": _CASES}},
}


def read_splits(file: str) -> list[dict[str, list[str]]]:
    """nnU-Net's splits_final.json: a fold's cases by their use, train and val.

    Raises:
        FileError: it is damaged, or no list of splits.
    """
    what = "nnU-Net's splits, a list of {train: [cases], val: [cases]}"
    return read_json(file, what, SPLITS_SCHEMA, "Mend it, or remove it: nnU-Net then makes its usual five folds.")


def check_data_folder(folder: str) -> None:
    """Stop where files lie among preprocessed cases with which nnU-Net would refuse the folder.

    Raises:
        FileError: names them.
    """
    names = sorted(name for name in os.listdir(folder) if os.path.isfile(os.path.join(folder, name)))
    of_old = (".npz", ".npy") if any(name.endswith(".b2nd") for name in names) else ()
    others = [name for name in names if not name.endswith(ENDINGS) or name.endswith(of_old)]
    if others:
        shown = ", ".join(others[:5]) + (f" and {len(others) - 5} more" if len(others) > 5 else "")
        raise FileError(
            f"{folder} holds other files than preprocessed cases: {shown}. nnU-Net does not take such a folder: move them "
            "to another place."
        )


def check_fold(fold: str, cases: int, splits: str, option: str) -> None:
    """Stop before any long work where nnU-Net has no such fold: it would draw cases for it at random, or fail.

    Args:
        fold: number, or "all".
        cases: of the source.
        splits: where its splits_final.json lies, or will.
        option: that names the fold, for the message.

    Raises:
        PlanningError: there is none.
        FileError: as `read_splits`.
    """
    if fold == "all":
        return
    given = os.path.isfile(splits)
    folds = len(read_splits(splits)) if given else FOLDS if cases >= FOLDS else 0
    if int(fold) >= folds:
        some = f"from 0 to {folds - 1}, or all" if folds else f"all, since {cases} cases are too few for {FOLDS} folds"
        where = f" ({splits} has {folds})" if given else ""
        raise PlanningError(f"{option}: expected a fold {some}{where}; got {fold}.")


def format_of(names: set[str]) -> str:
    """The format of a data folder's cases, by the names of its files; .b2nd, today's, where there is none."""
    endings = {os.path.splitext(name)[1] for name in names}
    return ".npz" if ".npz" in endings and ".b2nd" not in endings else ".b2nd"


def faults_of(folder: str, case: str, ending: str, channels: int | None = None) -> list[str]:
    """What a case lacks, such as "no case0.pkl" or "case0.b2nd is cut off"; empty where it is whole. Reads no voxel.

    Args:
        folder: data folder of a configuration.
        case: identifier.
        ending: a key of FORMATS.
        channels: of its image; None: any number.
    """
    found = []
    for name in (form.format(case) for form in FORMATS[ending]):
        file = os.path.join(folder, name)
        if not os.path.isfile(file):
            found.append(f"no {name}")
        elif not _is_whole(file):
            found.append(f"{name} is cut off or damaged")
    return found or (_misfits(folder, case, channels) if ending == ".b2nd" else [])


def _misfits(folder: str, case: str, channels: int | None) -> list[str]:
    """By what the files say of their arrays: an image is (channels, *S) with three axes S, a segmentation (1, *S)."""
    image, labels = (blosc2.open(os.path.join(folder, f"{case}{end}"), mode="r") for end in (".b2nd", "_seg.b2nd"))
    expected = (image.shape[0] if channels is None else channels, *image.shape[1:])
    if len(image.shape) != 4 or image.shape != expected or image.dtype.kind != "f":
        return [
            f"{case}.b2nd holds {image.dtype} {image.shape}, not floats of {channels or 'some'} channels and three axes"
        ]
    if labels.shape != (1, *image.shape[1:]) or labels.dtype.kind not in "iu":
        return [f"{case}_seg.b2nd holds {labels.dtype} {labels.shape} beside an image {image.shape}"]
    return []


def damage_of(folder: str, case: str, ending: str, labels: set[int]) -> list[str]:
    """What is wrong inside the files of a case that `faults_of` finds whole. Reads all of it.

    Args:
        folder, case, ending: as `faults_of`.
        labels: values that its segmentation may have.
    """
    import numpy as np
    from batchgenerators.utilities.file_and_folder_operations import load_pickle

    found, (image, segmentation) = [], _ARRAYS[ending]

    def read(name: str, how: Callable[[str], Any]) -> Any:
        try:
            return how(os.path.join(folder, name.format(case)))
        except Exception as error:  # bytes that are not what they were
            found.append(f"{name.format(case)} cannot be read: {short(str(error))}")

    properties = read("{}.pkl", load_pickle)
    if properties is not None and not isinstance(properties, dict):
        found.append(f"{case}.pkl holds {type(properties).__name__}, not the properties of a case")
    voxels, values = read(*image), read(*segmentation)
    if voxels is not None and not np.isfinite(voxels).all():
        found.append(f"{image[0].format(case)} holds values that are not finite")
    odd = [] if values is None else sorted(set(np.unique(values).tolist()) - labels)
    if odd:
        found.append(
            f"{segmentation[0].format(case)} holds the labels {short(str(odd))}, not of {sorted(labels)} alone"
        )
    return found


_ARRAYS: dict[str, tuple] = {  # where image and segmentation are, and how they are read
    ".b2nd": tuple((name, lambda file: blosc2.open(file, mode="r")[:]) for name in FORMATS[".b2nd"][:2]),
    ".npz": tuple(
        ("{}.npz", lambda file, name=name: read_arrays(file, "a preprocessed case")[name]) for name in ("data", "seg")
    ),
}


def _is_whole(file: str) -> bool:
    """By the end that each format has, without reading what is before it."""
    if file.endswith(".b2nd"):
        try:
            blosc2.open(file, mode="r")
        except (RuntimeError, OSError, ValueError):
            return False
        return True
    if file.endswith(".npz"):
        return zipfile.is_zipfile(file)
    with open(file, "rb") as stream:  # a pickle's last byte says that it ends
        stream.seek(-min(1, os.path.getsize(file)), os.SEEK_END)
        return stream.read() == b"."
