"""What nnUDA_adapt is asked for, the folders that follow from it, and the commands that lead there."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_results

from nnuda.datasets import Domain
from nnuda.find_trainer import find_trainer
from nnuda.results import CHECKPOINTS, ESTIMATE, FOLD
from nnuda.selection.history import CHECKPOINT as SELECTED

if TYPE_CHECKING:
    from nnuda.selftraining.round import Options

FINAL, BEST = CHECKPOINTS[0], CHECKPOINTS[2]
PREDICTIONS, OTHER_EPOCH, REPORT, POSTPROCESSED = (
    "predictions",
    "predictions_other_epoch",
    "report.html",
    "postprocessed",
)


@dataclass(frozen=True)
class Rounds:
    """What --rounds asks for.

    Attributes:
        number: of rounds.
        datasets: names of their datasets; empty: the first free numbers.
        configuration: of nnU-Net's plan.
        trainer: nnU-Net's; None: the one that trains about as long as the adaptation.
        rules: options of nnUDA_pseudo_label.
        options: the same as it reads them.
    """

    number: int
    datasets: Sequence[str]
    configuration: str
    trainer: str | None
    rules: Sequence[str]
    options: Options


@dataclass(frozen=True)
class Road:
    """What is to be adapted to what, how, and where results go.

    Attributes:
        source, target: the domains.
        source_words, target_words: the options by which planning commands find them, as the user gave them.
        configuration, fold, trainer: as nnUNetv2_train takes them.
        plans: name of the plan to train.
        base: an existing plan to start from (-p), or None.
        settings: overrides of presets; None keeps those of an existing plan.
        planning: further options of nnUDA_plan_and_preprocess.
        images: folder of the target's images to predict.
        cases: case -> bytes of its files, of these images.
        output: folder for predictions, estimate, report and logs; None: below the fold's.
        checkpoint: file to predict with; None: the epoch chosen without target labels, else the last one.
        device: cuda, cpu or mps.
        processes: worker processes; None leaves each command its own default.
        first: command that made the source, where a model's predictions are all there is of it.
        rounds: of self-training, after all this; None without.
    """

    source: Domain
    target: Domain
    source_words: Sequence[str]
    target_words: Sequence[str]
    configuration: str
    fold: str
    trainer: str
    plans: str
    base: str | None
    settings: dict[str, Any] | None
    planning: Sequence[str]
    images: str
    cases: dict[str, int]
    output: str | None
    checkpoint: str | None
    device: str
    processes: int | None
    first: Sequence[str] = ()
    rounds: Rounds | None = None

    @property
    def model_folder(self) -> str:
        """nnU-Net's results folder of the training."""
        return join(nnUNet_results, self.source.name, f"{self.trainer}__{self.plans}__{self.configuration}")

    @property
    def fold_folder(self) -> str:
        """The fold's folder in it."""
        return join(self.model_folder, FOLD + self.fold)

    @cached_property
    def preset(self) -> str:
        """Of the trainer's settings. nnU-Net imports every file in its folders each time it looks for a trainer."""
        return find_trainer(self.trainer).preset

    @cached_property
    def folder(self) -> str:
        """Where what nnUDA_adapt adds to a training lies."""
        return self.output or join(self.fold_folder, "adapted")

    @property
    def predictions(self) -> str:
        return join(self.folder, PREDICTIONS)

    @property
    def other_predictions(self) -> str:
        return join(self.folder, OTHER_EPOCH)

    @property
    def estimate(self) -> str:
        return join(self.predictions, ESTIMATE)

    @property
    def report(self) -> str:
        return join(self.folder, REPORT)

    @property
    def postprocessed(self) -> str:
        return join(self.folder, POSTPROCESSED)

    @property
    def labelled_words(self) -> Sequence[str]:
        """The option that names the dataset whose labels are true."""
        return self.source_words

    def chosen_checkpoint(self) -> str:
        """The checkpoint to predict with: the user's, else the epoch selected without target labels, else the last.
        Before the training is over: what it will most likely be."""
        if self.checkpoint:
            return self.checkpoint
        trained = isfile(join(self.fold_folder, FINAL))
        return SELECTED if not trained or isfile(join(self.fold_folder, SELECTED)) else FINAL

    # ---- commands ---------------------------------------------------------------------------------------------------

    def plan_command(self) -> list[str]:
        words = ["nnUDA_plan_and_preprocess", *self.source_words, *self.target_words, "-c", self.configuration]
        words += ["-tr", self.trainer]
        words += ["-p", self.base] if self.base else []
        words += ["-overwrite_plans_name", self.plans] if self.plans != (self.base or "nnUNetPlans") else []
        for name, value in (self.settings or {}).items():
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
        return [*words, *self.planning, *(["-np", str(self.processes)] if self.processes else [])]

    def train_command(self) -> list[str]:
        """With the source's validation probabilities, by which the estimate is calibrated."""
        words = ["nnUNetv2_train", self.source_words[1], self.configuration, self.fold, "-tr", self.trainer]
        return [*words, "-p", self.plans, "-device", self.device, "--npz"]

    def predict_command(self, checkpoint: str, folder: str) -> list[str]:
        words = ["nnUNetv2_predict", "-i", self.images, "-o", folder, *self.source_words, "-c", self.configuration]
        words += ["-f", self.fold, "-tr", self.trainer, "-p", self.plans, "-chk", checkpoint, "-device", self.device]
        words += ["-npp", str(self.processes), "-nps", str(self.processes)] if self.processes else []
        return [*words, "--save_probabilities"]

    def estimate_command(self, second: bool) -> list[str]:
        words = ["nnUDA_estimate", self.fold_folder, "--predictions", self.predictions]
        words += ["--other-epoch", self.other_predictions] if second else []
        return [*words, "-chk", self.chosen_checkpoint(), "-device", self.device, "-o", self.estimate]

    def report_command(self) -> list[str]:
        return [
            "nnUDA_report",
            self.fold_folder,
            "--predictions",
            self.predictions,
            "-i",
            self.images,
            "-o",
            self.report,
        ]

    def postprocess_command(self) -> list[str]:
        """By the source's labels, one piece where they show one."""
        words = ["nnUDA_postprocess", *self.labelled_words, "-i", self.predictions, "-o", self.postprocessed]
        return [*words, *(["-np", str(self.processes)] if self.processes else [])]
