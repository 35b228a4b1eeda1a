"""What a training reads of nnUNet_preprocessed: there, whole, or one error with the command that makes it."""

from __future__ import annotations

import os

from batchgenerators.utilities.file_and_folder_operations import isfile
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnuda.case_files import faults_of, format_of
from nnuda.errors import NnudaError
from nnuda.files import read_json

_SPLITS = {
    "type": "array",
    "items": {
        "type": "object",
        "required": ["train", "val"],
        "properties": {name: {"type": "array", "items": {"type": "string"}} for name in ("train", "val")},
    },
}


class PreprocessedError(NnudaError, FileNotFoundError):
    """Preprocessed cases that are not there, or not whole."""


def require_data(folder: str, configuration: str, command: str) -> None:
    """Stop where a configuration of the source was not preprocessed.

    Args:
        folder: its data folder.
        configuration: its name.
        command: that preprocesses it.

    Raises:
        PreprocessedError: the folder is not there, or empty.
    """
    if not os.path.isdir(folder) or not os.listdir(folder):
        raise PreprocessedError(
            f"Expected the preprocessed cases of configuration {configuration} in {folder}; there are none. "
            f"Run: {command}"
        )


def require_splits(file: str) -> None:
    """Stop where splits_final.json is there and cannot be used.

    Raises:
        FileError: it is damaged, or no list of splits.
    """
    if isfile(file):
        read_json(
            file,
            "nnU-Net's splits, a list of {train: [cases], val: [cases]}",
            _SPLITS,
            "Mend it, or remove it: nnU-Net then makes its usual five folds.",
        )


def require_cases(dataset: nnUNetBaseDataset, what: str, remedy: str) -> None:
    """Stop where a case lacks a file or has one that was cut off, before a background worker finds out.

    Args:
        dataset: the cases.
        what: they are, for the message.
        remedy: what to do where one is not whole.

    Raises:
        PreprocessedError: names cases and files; also where there is no case at all.
    """
    if not dataset.identifiers:
        raise PreprocessedError(f"Expected {what}; there is no case. Look at the fold and splits_final.json.")
    folder, ending = dataset.source_folder, format_of(set(os.listdir(dataset.source_folder)))
    lacking = {case: faults for case in dataset.identifiers if (faults := faults_of(folder, case, ending))}
    if lacking:
        shown = "; ".join(f"{case} ({', '.join(faults)})" for case, faults in list(lacking.items())[:5])
        more = f" and {len(lacking) - 5} more" if len(lacking) > 5 else ""
        raise PreprocessedError(f"Expected {what} in {folder}; not whole, or not there: {shown}{more}. {remedy}")
