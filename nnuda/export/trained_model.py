"""The results folder that is to be exported: what it must hold, and what the exported one is called."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.file_path_utilities import get_output_folder

from nnuda.datasets import check_name, dataset_name
from nnuda.errors import ExportError
from nnuda.plan_check import read_plans_to_use
from nnuda.plan_key import KEY, plans_with_target_normalization, read_key
from nnuda.results import PLANS, PLANS_SOURCE, find_checkpoint, find_fold, is_of_nnuda, read_dataset_json

AS_TRAINING_LEFT = "Put back the file that training left there."
TRAINER = "nnUNetTrainer"  # whose results folder is written


@dataclass(frozen=True)
class TrainedModel:
    """A results folder of a trainer of nnuda's.

    Attributes:
        folder: <nnUNet_results>/<dataset>/<trainer>__<plans>__<configuration>.
        dataset: name of the labelled source.
        trainer: class name.
        configuration: name of the plan's configuration.
        folds: numbers or "all", as the predictor takes them.
        checkpoint: file name within each fold.
        plans: its plans.json, which normalises as the target needs it.
        dataset_json: its dataset.json.
        target: name of the unlabelled target.
    """

    folder: str
    dataset: str
    trainer: str
    configuration: str
    folds: tuple[str, ...]
    checkpoint: str
    plans: dict
    dataset_json: dict
    target: str

    @property
    def plain_plans_name(self) -> str:
        """<plans>_<method>_to<target>, without a double underscore: nnU-Net takes folder names apart there."""
        method = self.trainer.removeprefix("nnUDATrainer")
        return re.sub("_{2,}", "_", f"{self.plans['plans_name']}_{method}_to{self.target}").strip("_")

    @property
    def plain_folder_name(self) -> str:
        """Name of the exported results folder."""
        return f"{TRAINER}__{self.plain_plans_name}__{self.configuration}"


def find_model(
    dataset: str, trainer: str, plans_name: str, configuration: str, folds: list[str], checkpoint: str
) -> TrainedModel:
    """The trained model that the options name.

    Raises:
        ExportError: there is none, or it was not trained by nnuda.
        DatasetError, ResultsError: no such dataset, fold or checkpoint.
        FileError: a damaged file.
    """
    if not nnUNet_results.is_set():
        raise ExportError(
            "Environment variable nnUNet_results is not set. Set it as for nnU-Net: a folder's absolute path."
        )
    dataset = dataset_name(dataset)
    folder = get_output_folder(dataset, trainer, plans_name, configuration)
    _check_folder(folder)
    for fold in folds:
        find_checkpoint(find_fold(folder, fold), checkpoint)
    plans = read_plans_to_use(join(folder, PLANS), AS_TRAINING_LEFT)
    target = read_key(plans)["target"]["name"]
    check_name(target, f"{join(folder, PLANS)}, {KEY}.target.name")  # becomes part of the exported model's
    if plans_with_target_normalization(plans) != plans:
        raise ExportError(
            f"{join(folder, PLANS)} does not normalise as the target {target} needs it. Put back "
            "the plans.json that training left there."
        )
    return TrainedModel(
        folder,
        dataset,
        trainer,
        configuration,
        tuple(dict.fromkeys(folds)),
        checkpoint,
        plans,
        read_dataset_json(join(folder, "dataset.json"), AS_TRAINING_LEFT),
        target,
    )


def _check_folder(folder: str) -> None:
    parent, name = os.path.split(folder)
    if not isdir(folder):
        there = sorted(os.listdir(parent)) if isdir(parent) else []
        trained = [other for other in there if isfile(join(parent, other, PLANS_SOURCE))]
        raise ExportError(
            f"No trained model {name} in {parent}. Of trainers of nnuda there are: "
            f"{', '.join(trained) or 'none'}. -tr, -p and -c must be those of the training."
        )
    if not is_of_nnuda(folder):
        raise ExportError(
            f"{folder} was not trained by a trainer of nnuda (it has no {PLANS_SOURCE}). A plain "
            "nnU-Net's model needs no export: use nnUNetv2_export_model_to_zip."
        )
