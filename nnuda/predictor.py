"""Stock nnU-Net's predictor of a trained model."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Sequence

import torch
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

from nnuda.errors import NnudaError, PlanningError, short
from nnuda.plan_check import read_plans_to_use
from nnuda.results import AS_LEFT, PLANS, find_checkpoint, find_fold, load_checkpoint, read_dataset_json


class PredictorError(NnudaError, ValueError):
    """A results folder from which nnU-Net can load no network."""


def load_predictor(
    folder: str,
    folds: Sequence[str | int],
    checkpoint: str,
    device: torch.device,
    mirroring: bool = True,
    step_size: float = 0.5,
    progress: bool = False,
) -> nnUNetPredictor:
    """The predictor, as nnUNetv2_predict makes it.

    Args:
        folder: a results folder of nnU-Net's.
        folds: numbers, or "all".
        checkpoint: a file's name, the same in each fold.
        device: to predict on.
        mirroring, step_size: nnU-Net's.
        progress: show nnU-Net's bar over the windows of an image.

    Raises:
        FileError, ResultsError, NnudaError: a file of the folder is missing or damaged.
        PredictorError: together they make no network, as with a plan whose strides fit no image.
    """
    read_plans_to_use(os.path.join(folder, PLANS), AS_LEFT)
    read_dataset_json(os.path.join(folder, "dataset.json"), AS_LEFT)
    for fold in folds:  # plain values: nnU-Net unpickles it after this
        file = find_checkpoint(find_fold(folder, str(fold)), checkpoint)
        load_checkpoint(file, needed=("trainer_name", "init_args"), mapped=True)
    predictor = nnUNetPredictor(tile_step_size=step_size, use_mirroring=mirroring, device=device, allow_tqdm=progress)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            predictor.initialize_from_trained_model_folder(folder, tuple(folds), checkpoint)
    except Exception as error:  # a plan can be wrong in as many ways as there are layers
        said = isinstance(error, NnudaError) and not isinstance(error, PlanningError)  # which knows no folder
        if said or isinstance(error, torch.OutOfMemoryError):
            raise
        raise PredictorError(
            f"{folder}: expected a model that nnU-Net can load with its plans.json, dataset.json and {checkpoint}; it "
            f"cannot: {short(f'{type(error).__name__}: {error}')}. {AS_LEFT}"
        ) from error
    return predictor
