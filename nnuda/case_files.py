"""The files of a preprocessed case in nnU-Net's two formats: which they are, whether they are whole; and the folds that
name the cases."""

from __future__ import annotations

import os
import zipfile

import blosc2

from nnuda.errors import PlanningError
from nnuda.files import read_json

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


def faults_of(folder: str, case: str, ending: str) -> list[str]:
    """What a case lacks, such as "no case0.pkl" or "case0.b2nd is cut off"; empty where it is whole.

    Args:
        folder: data folder of a configuration.
        case: identifier.
        ending: a key of FORMATS.
    """
    found = []
    for name in (form.format(case) for form in FORMATS[ending]):
        file = os.path.join(folder, name)
        if not os.path.isfile(file):
            found.append(f"no {name}")
        elif not _is_whole(file):
            found.append(f"{name} is cut off or damaged")
    return found


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
