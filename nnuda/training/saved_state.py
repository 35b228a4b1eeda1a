"""Checkpoints: nnU-Net's own, with what an adaptation needs to go on as if it had never stopped."""

from __future__ import annotations

from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn
from torch.optim import Optimizer

from nnuda.errors import one_message_in_nnunet
from nnuda.files import replacing
from nnuda.results import load_checkpoint
from nnuda.statistics.class_confidence import ClassConfidence
from nnuda.training.checkpoint import (
    GO_ON,
    STATE,
    random_states,
    read_to_continue,
    require_own,
    state_of,
    vectors_on_cpu,
    weights_of,
    write_checkpoint,
)
from nnuda.training.optimizers import steps_on_cpu
from nnuda.training.random_state import check_random_state
from nnuda.training.selecting import EpochSelection
from nnuda.training.teacher import EmaTeacher


class SavedState(nnUNetTrainer):
    """Part of nnUDATrainer: the weights that predict, and all that a resumed training puts back."""

    settings: dict[str, Any]
    teacher: EmaTeacher | None
    class_confidence: ClassConfidence | None
    extra_modules: nn.ModuleDict
    statistics: nn.ModuleDict
    adversary: nn.ModuleDict
    adversary_optimizer: Optimizer | None
    selection: EpochSelection
    continues: bool
    resumed: bool
    resumed_random_state: dict | None

    def prediction_weights(self) -> AbstractContextManager:
        """The weights to predict with inside the block (`training.predict_with`), the student's again after it."""
        teacher = self.settings["training.predict_with"] == "teacher"
        return weights_of(self.teacher.network if teacher else None, self.bare_network)

    def adaptation_state(self) -> dict[str, Any]:
        """What a resumed training needs besides nnU-Net's own checkpoint. Tensors and builtins only."""
        optimizer = self.adversary_optimizer
        return {
            "student": self.bare_network.state_dict(),
            "modules": self.extra_modules.state_dict(),
            "statistics": self.statistics.state_dict(),
            "adversary": self.adversary.state_dict(),
            "adversary_optimizer": None if optimizer is None else optimizer.state_dict(),
            "teacher": None if self.teacher is None else self.teacher.state_dict(),
            "class_confidence": None if self.class_confidence is None else self.class_confidence.state_dict(),
            "selection": self.selection.history.state_dict(),
            "class_vectors": vectors_on_cpu(self.class_vectors()),
            "pictures": {name: drawing.caption for name, drawing in self.pictures().items()},
        }

    def load_adaptation_state(self, state: dict[str, Any]) -> None:
        """Put back what `adaptation_state` returned."""
        self.bare_network.load_state_dict(state["student"])
        self.extra_modules.load_state_dict(state["modules"])
        self.statistics.load_state_dict(state["statistics"])
        self.adversary.load_state_dict(state["adversary"])
        if self.adversary_optimizer is not None:
            self.adversary_optimizer.load_state_dict(state["adversary_optimizer"])
        if self.teacher is not None:
            self.teacher.load_state_dict(state["teacher"])
        if self.class_confidence is not None:
            self.class_confidence.load_state_dict(state["class_confidence"])
        if "selection" in state:  # a training that began before epochs were scored has none
            self.selection.history.load_state_dict(state["selection"])

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's, with the adaptation's state and every rank's random state under one more key."""
        states = random_states()
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        stock = BytesIO()
        with self.prediction_weights():
            super().save_checkpoint(stock)
        write_checkpoint(
            filename,
            stock,
            {**self.adaptation_state(), "random_states": states},
            self.settings["training.predict_with"] == "student",
        )

    def save_weights(self, filename: str) -> None:
        """What prediction reads of a checkpoint, nothing to continue with; written aside, then renamed."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        with self.prediction_weights(), replacing(filename) as aside:
            torch.save(
                {
                    "network_weights": self.bare_network.state_dict(),
                    "trainer_name": type(self).__name__,
                    "init_args": self.my_init_kwargs,
                    "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes,
                },
                aside,
            )

    @one_message_in_nnunet(GO_ON)
    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """nnU-Net's, then the adaptation's state. nnU-Net runs what code there is in a file: ours looks at it first.

        Raises:
            ResultsError, CheckpointError: it is damaged, holds more than values, or is not of this training.
        """
        read = read_to_continue if self.continues else (lambda name, _: (name, load_checkpoint(name)))
        filename, content = read(filename_or_checkpoint, self.print_to_log_file)
        if not self.was_initialized:
            self.initialize()
        require_own(content, filename, type(self).__name__, self.bare_network, self.num_epochs)
        with state_of(filename):
            super().load_checkpoint(filename)
            state = content[STATE]
            self.load_adaptation_state(state)
            for optimizer in filter(None, (self.optimizer, self.adversary_optimizer)):
                steps_on_cpu(optimizer)
            if self.local_rank < len(state["random_states"]):
                self.resumed_random_state = state["random_states"][self.local_rank]
                check_random_state(self.resumed_random_state)
        self.resumed = True
