"""Source cases: what stock nnU-Net has preprocessed stays as it is, what is missing is added in the same way."""

from __future__ import annotations

import os
import shutil

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, maybe_mkdir_p, subfiles
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.datasets import Domain, label_files
from nnuda.errors import PlanningError
from nnuda.files import sweep
from nnuda.preprocessing.save_case import preprocess_case
from nnuda.processes import run_cases


def preprocessed_cases(folder: str) -> set[str]:
    """Identifiers of the complete cases in a data folder, .b2nd or .npz."""
    if not isdir(folder) or not subfiles(folder):
        return set()
    # nnU-Net writes the .pkl last: without it an interrupted run left half a case
    return {case for case in infer_dataset_class(folder).get_identifiers(folder) if isfile(join(folder, f"{case}.pkl"))}


def preprocess_source(source: Domain, plans: dict, configurations: list[str], num_processes: int = 1) -> None:
    """Preprocess the source cases that are not there yet.

    Args:
        source: the labelled dataset.
        plans: its plan.
        configurations: of the plan.
        num_processes: worker processes.

    Raises:
        PlanningError: cases are missing from a folder in the .npz format of older nnU-Net versions.
    """
    plans_manager = PlansManager(plans)
    labels = label_files(source)
    for configuration in configurations:
        folder = join(nnUNet_preprocessed, source.name, plans_manager.get_configuration(configuration).data_identifier)
        sweep(os.path.dirname(folder))
        present = preprocessed_cases(folder)
        missing = [case for case in source.images if case not in present]
        if not missing:
            continue
        if present and infer_dataset_class(folder).__name__ == "nnUNetDatasetNumpy":
            raise PlanningError(
                f"{folder} holds {len(present)} of {len(labels)} source cases in the .npz format of an "
                "older nnU-Net. Remove the folder and run this command again, or preprocess the "
                "source with that version."
            )
        maybe_mkdir_p(folder)
        arguments = [
            (case, source.images[case], labels[case], folder, plans, configuration, source.dataset_json)
            for case in missing
        ]
        run_cases(preprocess_case, arguments, num_processes, f"Preprocessing source {source.name}, {configuration}")
    _copy_reference_labels(source, labels)


def _copy_reference_labels(source: Domain, labels: dict[str, str]) -> None:
    # nnU-Net's own validation reads them from there; its preprocess_dataset copies them, too
    folder = join(nnUNet_preprocessed, source.name, "gt_segmentations")
    maybe_mkdir_p(folder)
    for case, label in labels.items():
        copy = join(folder, case + source.file_ending)
        if not isfile(copy) or os.path.getmtime(copy) < os.path.getmtime(label):
            shutil.copy2(label, copy)
