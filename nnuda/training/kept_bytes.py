"""Bytes that a step keeps for its backward pass: what `planning.memory_factor` is measured by, without a GPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks


class KeptBytes(saved_tensors_hooks):
    """Counts, within `with`, what autograd saves; each memory once, the parameters not at all.

    Args:
        module: whose parameters do not count.

    Attributes:
        total: bytes.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__(self._keep, lambda tensor: tensor)
        self.total = 0
        self.known = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
        self.held: list[torch.UntypedStorage] = []  # an address that is free again would be another memory's

    def __enter__(self) -> KeptBytes:
        super().__enter__()
        return self

    def _keep(self, tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self.known:
            self.known.add(storage.data_ptr())
            self.held.append(storage)
            self.total += storage.nbytes()
        return tensor


def kept_bytes(trainer: Any) -> int:
    """Bytes that the first step of a training keeps for its backward pass.

    Args:
        trainer: nnU-Net's or one of nnuda's, before its start. It is started, and takes one step.
    """
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    batch = next(trainer.dataloader_train)
    with KeptBytes(trainer.network) as kept:
        trainer.train_step(batch)
    return kept.total
