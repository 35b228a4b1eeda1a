"""What stays of a model when nnuda is taken out: a stock plan and stock checkpoints."""

from __future__ import annotations

import os
import shutil
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.export.trained_model import AS_TRAINING_LEFT, TRAINER, ExportError, TrainedModel
from nnuda.files import write_json
from nnuda.plan_key import KEY
from nnuda.plan_network import build_network
from nnuda.results import load_checkpoint

# besides plans.json and the checkpoints, what nnUNetv2_export_model_to_zip stops without
ZIP_NEEDS = ("dataset.json", "dataset_fingerprint.json")
ZIP_NEEDS_OF_FOLD = ("progress.png", "validation/summary.json")
# what it takes where it is there; debug.json is left behind, since it describes nnuda's trainer
ZIP_TAKES_OF_FOLD = ("network_architecture.pdf",)
ZIP_TAKES_OF_CROSSVAL = ("summary.json", "postprocessing.pkl", "postprocessing.json")


def plain_plans(model: TrainedModel) -> dict:
    """The model's plan without nnuda's key, under its new name; it normalises as the target needs it."""
    stock = {name: value for name, value in model.plans.items() if name != KEY}
    return {**stock, "plans_name": model.plain_plans_name}


def plain_checkpoint(checkpoint: dict[str, Any], plans: dict) -> dict[str, Any]:
    """What prediction reads of a checkpoint, as nnUNetTrainer writes it; nothing to continue a training with."""
    return {
        "network_weights": checkpoint["network_weights"],
        "trainer_name": TRAINER,
        "init_args": {**checkpoint["init_args"], "plans": plans},
        "inference_allowed_mirroring_axes": checkpoint["inference_allowed_mirroring_axes"],
    }


def check_network(model: TrainedModel) -> None:
    """Stop where the weights are not those of nnU-Net's network, name for name and shape for shape.

    Raises:
        ExportError: the method has a network of its own.
    """
    expected = _stock_shapes(model)
    weights = _load_checkpoint(model, model.folds[0])["network_weights"]  # the other folds' are of the same trainer
    shapes = {name: value.shape for name, value in weights.items()}
    differing = [name for name in {**shapes, **expected} if shapes.get(name) != expected.get(name)]
    if differing:
        raise ExportError(
            f"{model.trainer} predicts with a network of its own: {len(differing)} weights are not those of nnU-Net's "
            f"network for this plan (such as {differing[0]}), so stock nnU-Net cannot run it. Keep nnuda at "
            f"prediction: nnUNetv2_predict -tr {model.trainer}. For a container with nnuda in it see "
            "documentation/how-to/submit-to-a-challenge.md."
        )


def _stock_shapes(model: TrainedModel) -> dict[str, torch.Size]:
    """Name and shape of each weight of the network that nnUNetTrainer builds for the plan."""
    try:
        plans = PlansManager(model.plans)
        configuration = plans.get_configuration(model.configuration)
        channels = determine_num_input_channels(plans, configuration, model.dataset_json)
        heads = plans.get_label_manager(model.dataset_json).num_segmentation_heads
        network = build_network(configuration, channels, heads, deep_supervision=False)
    except Exception as error:  # any class of any package, called with what stands in the plan
        raise ExportError(
            f"The network of {model.configuration} in the plans.json of {model.folder} cannot be built: {error}. "
            f"{AS_TRAINING_LEFT}"
        ) from error
    return {name: value.shape for name, value in network.state_dict().items()}


def _load_checkpoint(model: TrainedModel, fold: str) -> dict[str, Any]:
    file = join(model.folder, f"fold_{fold}", model.checkpoint)
    return load_checkpoint(file, needed=("init_args", "inference_allowed_mirroring_axes"))


def write_plain_model(model: TrainedModel, folder: str) -> list[str]:
    """Write the exported results folder.

    Args:
        model: what is exported.
        folder: where to; an empty folder.

    Returns:
        Files that the training did not leave, and without which nnUNetv2_export_model_to_zip stops.
    """
    plans = plain_plans(model)
    write_json(plans, join(folder, "plans.json"))
    for fold in model.folds:
        os.makedirs(join(folder, f"fold_{fold}"))
        checkpoint = plain_checkpoint(_load_checkpoint(model, fold), plans)
        torch.save(checkpoint, join(folder, f"fold_{fold}", model.checkpoint))
    crossval = f"crossval_results_folds_{'_'.join(model.folds)}"  # as nnU-Net names it
    taken = [*_of_folds(model, ZIP_TAKES_OF_FOLD), *(f"{crossval}/{name}" for name in ZIP_TAKES_OF_CROSSVAL)]
    for name in taken:
        _copy(model.folder, folder, name)
    needed = [*ZIP_NEEDS, *_of_folds(model, ZIP_NEEDS_OF_FOLD)]
    return [name for name in needed if not _copy(model.folder, folder, name)]


def _of_folds(model: TrainedModel, names: tuple[str, ...]) -> list[str]:
    return [f"fold_{fold}/{name}" for fold in model.folds for name in names]


def _copy(source: str, destination: str, name: str) -> bool:
    """Copy a file if it is there; returns whether it was."""
    if not isfile(join(source, name)):
        return False
    os.makedirs(os.path.dirname(join(destination, name)), exist_ok=True)
    shutil.copyfile(join(source, name), join(destination, name))
    return True
