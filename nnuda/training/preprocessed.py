"""What a training reads of nnUNet_preprocessed: there, whole, or one error with the command that makes it."""

from __future__ import annotations

import os

from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset

from nnuda.case_files import check_data_folder, damage_of, faults_of, format_of
from nnuda.errors import NnudaError
from nnuda.images import whole_complaint


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
        FileError: other files lie there too, with which nnU-Net would refuse it.
    """
    if not os.path.isdir(folder) or not os.listdir(folder):
        raise PreprocessedError(
            f"Expected the preprocessed cases of configuration {configuration} in {folder}; there are none. "
            f"Run: {command}"
        )
    check_data_folder(folder)


def require_cases(dataset: nnUNetBaseDataset, channels: int, what: str, remedy: str) -> None:
    """Stop where a case lacks a file or has one that was cut off, before a background worker finds out.

    Args:
        dataset: the cases.
        channels: of an image.
        what: they are, for the message.
        remedy: what to do where one is not whole.

    Raises:
        PreprocessedError: names cases and files; also where there is no case at all.
    """
    if not dataset.identifiers:
        raise PreprocessedError(f"Expected {what}; there is no case. Look at the fold and splits_final.json.")
    folder, ending = dataset.source_folder, format_of(set(os.listdir(dataset.source_folder)))
    lacking = {case: faults for case in dataset.identifiers if (faults := faults_of(folder, case, ending, channels))}
    if lacking:
        raise PreprocessedError(f"Expected {what} in {folder}; not whole, or not there: {_shown(lacking)}. {remedy}")


def require_references(folder: str, files: list[str], remedy: str) -> None:
    """Stop where nnU-Net's validation, after all epochs, could not read a case's own label file.

    Args:
        folder: nnU-Net's gt_segmentations.
        files: names in it.
        remedy: what to do where one is not there, or cut off.

    Raises:
        PreprocessedError: names them.
    """
    faults = {file: [wrong] for file in files if (wrong := whole_complaint(os.path.join(folder, file)))}
    if faults:
        raise PreprocessedError(
            f"Expected the labels of the validation's cases in {folder}; got {_shown(faults)}. {remedy}"
        )


def require_fingerprint(folder: str, command: str) -> None:
    """Stop where nnU-Net, at the start of a training, could not copy the source's fingerprint.

    Args:
        folder: of the preprocessed source.
        command: that makes it.

    Raises:
        PreprocessedError: it is not there.
    """
    if not os.path.isfile(file := os.path.join(folder, "dataset_fingerprint.json")):
        raise PreprocessedError(
            f"Expected the source's fingerprint, which nnU-Net copies beside the model; {file} is not there. Run: {command}"
        )


def damage_in(dataset: nnUNetBaseDataset, labels: set[int], what: str, command: str) -> PreprocessedError | None:
    """What inside a case can have ended a training; None where all are sound. Reads all cases.

    Args:
        dataset: the cases.
        labels: values that their segmentations may have.
        what: they are, for the message.
        command: that preprocesses them.
    """
    folder, ending = dataset.source_folder, format_of(set(os.listdir(dataset.source_folder)))
    damaged = {case: found for case in dataset.identifiers if (found := damage_of(folder, case, ending, labels))}
    if not damaged:
        return None
    return PreprocessedError(
        f"Expected {what} in {folder} to be sound; got {_shown(damaged)}. Where a dataset.json was changed, put it "
        f"back; else remove the files of these cases and run: {command}"
    )


def _shown(faults: dict[str, list[str]]) -> str:
    more = f" and {len(faults) - 5} more" if len(faults) > 5 else ""
    return "; ".join(f"{case} ({', '.join(found)})" for case, found in list(faults.items())[:5]) + more
