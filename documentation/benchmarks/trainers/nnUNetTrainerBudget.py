"""nnU-Net's own trainer for as many steps as a row of the benchmark has, with its seed."""

from __future__ import annotations

import json
import os
import random

import numpy as np
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerBudget(nnUNetTrainer):
    """nnUNetTrainer; `nnUNet_benchmark` holds the row's settings as JSON."""

    def __init__(
        self,
        plans: dict,
        configuration: str,
        fold: int | str,
        dataset_json: dict,
        device: torch.device = torch.device("cuda"),
    ) -> None:
        super().__init__(plans, configuration, fold, dataset_json, device)
        settings = json.loads(os.environ["nnUNet_benchmark"])
        for name in ("num_epochs", "num_iterations_per_epoch", "num_val_iterations_per_epoch", "save_every"):
            setattr(self, name, settings[f"training.{name}"])
        for seed in (random.seed, np.random.seed, torch.manual_seed):
            seed(settings["training.seed"])
