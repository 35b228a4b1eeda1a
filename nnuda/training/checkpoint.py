"""Checkpoints: nnU-Net's, with the state of the adaptation."""
from __future__ import annotations

import io
from contextlib import contextmanager
from typing import Any, Iterator

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import distributed as dist, nn
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnuda.files import replacing
from nnuda.training.optimizers import steps_on_cpu
from nnuda.training.random_state import get_random_state

STATE = "nnuda"  # the checkpoint's extra key


class CheckpointingTrainer(nnUNetTrainer):
    """The part of nnUDATrainer that writes and reads checkpoints."""

    @property
    def bare_network(self) -> nn.Module:
        """The network without its DDP and compile wrappers."""
        network = self.network.module if isinstance(self.network, DistributedDataParallel) else self.network
        return network._orig_mod if isinstance(network, OptimizedModule) else network

    @contextmanager
    def prediction_weights(self) -> Iterator[None]:
        """The weights to predict with inside the block (`training.predict_with`), the student's again after it."""
        if self.settings["training.predict_with"] == "student":
            yield
            return
        student = {name: value.clone() for name, value in self.bare_network.state_dict().items()}
        self.bare_network.load_state_dict(self.teacher.network.state_dict())
        try:
            yield
        finally:
            self.bare_network.load_state_dict(student)

    def adaptation_state(self) -> dict[str, Any]:
        """What a resumed training needs besides nnU-Net's own checkpoint. Tensors and builtins only."""
        optimizer = self.adversary_optimizer
        return {"student": self.bare_network.state_dict(), "modules": self.extra_modules.state_dict(),
                "statistics": self.statistics.state_dict(), "adversary": self.adversary.state_dict(),
                "adversary_optimizer": None if optimizer is None else optimizer.state_dict(),
                "teacher": None if self.teacher is None else self.teacher.state_dict(),
                "class_confidence": None if self.class_confidence is None else self.class_confidence.state_dict(),
                "selection": self.history.state_dict(), "class_vectors": self.class_vectors_on_cpu(),
                "pictures": {name: drawing.caption for name, drawing in self.pictures().items()}}

    def class_vectors_on_cpu(self) -> dict[str, dict[str, torch.Tensor]]:
        """What the report compares: title -> values (K, A), and of which classes there are some, bool (K,)."""
        return {title: {"values": values.detach().cpu().clone(), "there": there.cpu().clone()}
                for title, (values, there) in self.class_vectors().items()}

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
            self.history.load_state_dict(state["selection"])

    def save_checkpoint(self, filename: str) -> None:
        """nnU-Net's, with the adaptation's state and every rank's random state under one more key.

        Written aside, then renamed.
        """
        random_states = [get_random_state()]
        if self.is_ddp:
            random_states = [None] * dist.get_world_size()
            dist.all_gather_object(random_states, get_random_state())
        if self.local_rank != 0 or self.disable_checkpointing:
            return super().save_checkpoint(filename)
        stock = io.BytesIO()
        with self.prediction_weights():
            super().save_checkpoint(stock)
        stock.seek(0)
        checkpoint = torch.load(stock, map_location="cpu", weights_only=False)
        checkpoint[STATE] = {**self.adaptation_state(), "random_states": random_states}
        if self.settings["training.predict_with"] == "student":
            checkpoint[STATE]["student"] = checkpoint["network_weights"]  # torch.save stores shared tensors once
        with replacing(filename) as aside:
            torch.save(checkpoint, aside)

    def save_weights(self, filename: str) -> None:
        """What prediction reads of a checkpoint, nothing to continue with; written aside, then renamed."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        with self.prediction_weights(), replacing(filename) as aside:
            torch.save({"network_weights": self.bare_network.state_dict(), "trainer_name": type(self).__name__,
                        "init_args": self.my_init_kwargs,
                        "inference_allowed_mirroring_axes": self.inference_allowed_mirroring_axes}, aside)

    def load_checkpoint(self, filename_or_checkpoint: str) -> None:
        """nnU-Net's, then the adaptation's state.

        Raises:
            RuntimeError: the checkpoint is not one of nnuda's.
        """
        super().load_checkpoint(filename_or_checkpoint)
        state = torch.load(filename_or_checkpoint, map_location=self.device, weights_only=False).get(STATE)
        if state is None:
            raise RuntimeError(f"{filename_or_checkpoint} was not written by nnuda and cannot be continued. To start "
                               "from its weights, use nnUDA_configure --set training.init_from=...")
        self.load_adaptation_state(state)
        for optimizer in filter(None, (self.optimizer, self.adversary_optimizer)):
            steps_on_cpu(optimizer)
        self.resumed = True
        if self.local_rank < len(state["random_states"]):
            self.resumed_random_state = state["random_states"][self.local_rank]
