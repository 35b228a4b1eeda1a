"""Source cases: what stock nnU-Net has preprocessed stays as it is; what is missing, or was made of files that have been
replaced since, is made in the same way."""

from __future__ import annotations

import filecmp
import os
import shutil
from itertools import chain

from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.case_files import read_splits
from nnuda.datasets import Domain, first_of, label_files
from nnuda.errors import PlanningError
from nnuda.files import replacing, sweep
from nnuda.planning.raw_cases import look_at_source
from nnuda.planning.raw_checks import check_cases
from nnuda.preprocessing.save_case import preprocess_case
from nnuda.preprocessing.up_to_date import (
    DataFolder,
    RawCase,
    bring_up_to_date,
    data_folder,
    is_old_format,
    preprocessed_cases,
)


def preprocess_source(source: Domain, plans: dict, configurations: list[str], num_processes: int = 1) -> None:
    """Preprocess the source cases that are not there yet, or not of the files that are there now.

    Args:
        source: the labelled dataset.
        plans: its plan.
        configurations: of the plan.
        num_processes: worker processes.

    Raises:
        PlanningError: cases are missing from a folder in the .npz format of older nnU-Net versions.
        DatasetError: raw cases that cannot be used.
    """
    plans_manager, labels = PlansManager(plans), label_files(source)
    notes, _ = look_at_source(source, num_processes)
    check_cases("source", source, notes)
    raw = {
        case: RawCase((*files, labels[case]), f"{notes[case]['images']}-{notes[case]['label']}")
        for case, files in source.images.items()
    }
    base = join(nnUNet_preprocessed, source.name)
    sweep(base)
    _write_dataset_json(source, base)
    for configuration in configurations:
        identifier = plans_manager.get_configuration(configuration).data_identifier
        folder = data_folder(base, identifier)
        if is_old_format(folder):
            _check_old_format(folder, source)
            continue
        data = DataFolder(folder, f"{folder}.nnUDA.json", f"source {source.name}, {configuration}")
        bring_up_to_date(
            data,
            raw,
            preprocess_case,
            lambda case, folder, configuration=configuration: (
                case,
                source.images[case],
                labels[case],
                folder,
                plans,
                configuration,
                source.dataset_json,
            ),
            num_processes,
        )
    _copy_reference_labels(source, labels)
    _check_splits(source)


def _check_old_format(folder: str, source: Domain) -> None:
    present = preprocessed_cases(folder)
    missing = [case for case in source.images if case not in present]
    if missing:
        raise PlanningError(
            f"{folder} holds {len(present)} of {len(source.images)} source cases in the .npz format of an "
            "older nnU-Net. Remove the folder and run this command again, or preprocess the "
            "source with that version."
        )
    labels = label_files(source)
    made = {case: os.path.getmtime(join(folder, f"{case}.npz")) for case in source.images}
    old = [c for c, files in source.images.items() if max(map(os.path.getmtime, [*files, labels[c]])) > made[c]]
    if old:
        print(
            f"WARNING: source {source.name}: {folder}, in the .npz format of an older nnU-Net, is older than the raw files "
            f"of {first_of(old)}. If they were changed, remove the folder and run this command again.",
            flush=True,
        )


def _write_dataset_json(source: Domain, folder: str) -> None:
    # nnU-Net's planner leaves it there and its training reads it; a plan that came from elsewhere came without
    file = join(folder, "dataset.json")
    if not isfile(file):
        with replacing(file, ".json") as aside:
            shutil.copy2(join(source.folder, "dataset.json"), aside)


def _copy_reference_labels(source: Domain, labels: dict[str, str]) -> None:
    # nnU-Net's own validation reads them from there; its preprocess_dataset copies them, too
    folder = join(nnUNet_preprocessed, source.name, "gt_segmentations")
    sweep(folder)
    for case, label in labels.items():
        copy = join(folder, case + source.file_ending)
        if not (isfile(copy) and filecmp.cmp(copy, label, shallow=False)):
            with replacing(copy, source.file_ending) as aside:
                shutil.copy2(label, aside)


def _check_splits(source: Domain) -> None:
    """nnU-Net's file of folds, once written, stays: cases that came or went since are said."""
    file = join(nnUNet_preprocessed, source.name, "splits_final.json")
    if not isfile(file):
        return
    splits = read_splits(file)
    named = set(chain(*(cases for split in splits for cases in (split["train"], split["val"]))))
    new, gone = sorted(set(source.images) - named), sorted(named - set(source.images))
    for cases, which, text in (
        (new, "has no place for", "No fold trains on them"),
        (gone, "names cases that are gone:", "Training stops at them"),
    ):
        if cases and named:
            print(
                f"WARNING: source {source.name}: {file} {which} {first_of(cases)}. {text}: correct the file, or remove it "
                "to have nnU-Net make folds anew.",
                flush=True,
            )
