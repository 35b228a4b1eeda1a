"""Export: write aside, compare, rename. Nothing is left where the labels are not the same."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_results

from nnuda.export.plain import check_network, write_plain_model
from nnuda.export.trained_model import ExportError, TrainedModel
from nnuda.export.verify import Cases, LabelCheck, compare, find_cases
from nnuda.files import check_output_folder, folder_aside, into_place
from nnuda.predictor import load_predictor


@dataclass(frozen=True)
class Exported:
    """A finished export.

    Attributes:
        folder: the new results folder.
        checks: one per case; all with identical labels.
        missing: files that nnUNetv2_export_model_to_zip needs and the training did not leave.
    """

    folder: str
    checks: list[LabelCheck]
    missing: list[str]


def export_model(model: TrainedModel, images: str | None, device: torch.device, results: str | None = None) -> Exported:
    """Make a plain nnU-Net's results folder of a model whose test-time network is nnU-Net's.

    Args:
        model: what is exported.
        images: image or folder to compare on; None: see `find_cases`.
        device: to predict on.
        results: root of the results to write into; None: nnUNet_results.

    Raises:
        ExportError: the folder exists, the network is the method's own, or the labels differ. Nothing is left behind.
    """
    folder = join(results or str(nnUNet_results), model.dataset, model.plain_folder_name)
    if os.path.lexists(folder):
        raise ExportError(f"{folder} exists and is not overwritten. Move it away, or write below another root with -o.")
    check_output_folder(os.path.dirname(folder), "-o")
    check_network(model)
    cases = find_cases(model, images)
    with folder_aside(folder) as aside:
        missing = write_plain_model(model, aside)
        checks = check_all(model, aside, cases, device)
        into_place(aside, folder)
    return Exported(folder, checks, missing)


def check_all(model: TrainedModel, exported: str, cases: Cases, device: torch.device) -> list[LabelCheck]:
    """Predict each case with both models.

    Raises:
        ExportError: a case got other labels.
    """
    before, after = (
        load_predictor(folder, model.folds, model.checkpoint, device, progress=True)
        for folder in (model.folder, exported)
    )
    checks = []
    for files in cases.values():
        check = compare(before, after, files)
        if check.differing:
            raise ExportError(
                f"A plain nnU-Net labels {check.differing} of the {check.voxels} voxels of {files[0]} "
                f"otherwise than {model.trainer} does, so nothing was exported. On a GPU try -device cpu, which rules "
                "out rounding. If they still differ, the method predicts with more than nnU-Net's network: keep nnuda "
                "at prediction."
            )
        checks.append(check)
    return checks
