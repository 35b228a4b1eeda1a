"""What a training reads of nnUNet_preprocessed: there, whole, or one error with the command that makes it."""

from __future__ import annotations

import os

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnuda.case_files import faults_of, format_of
from nnuda.errors import NnudaError


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
