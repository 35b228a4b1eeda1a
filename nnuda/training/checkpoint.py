"""Checkpoints: nnU-Net's own file, with the state of the adaptation under one more key."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnuda.files import replacing
from nnuda.training.random_state import get_random_state

STATE = "nnuda"  # the checkpoint's extra key


def bare(network: nn.Module) -> nn.Module:
    """A network without its DDP and compile wrappers."""
    network = network.module if isinstance(network, DistributedDataParallel) else network
    return network._orig_mod if isinstance(network, OptimizedModule) else network


@contextmanager
def weights_of(other: nn.Module | None, network: nn.Module) -> Iterator[None]:
    """Inside the block the network has the other's weights, its own again after it; None: its own throughout."""
    if other is None:
        yield
        return
    own = {name: value.clone() for name, value in network.state_dict().items()}
    network.load_state_dict(other.state_dict())
    try:
        yield
    finally:
        network.load_state_dict(own)


def random_states() -> list[dict]:
    """Every rank's, in their order. Every rank must call it."""
    states = [get_random_state()]
    if dist.is_available() and dist.is_initialized():
        states = [None] * dist.get_world_size()
        dist.all_gather_object(states, get_random_state())
    return states


def vectors_on_cpu(vectors: dict[str, tuple[Tensor, Tensor]]) -> dict[str, dict[str, Tensor]]:
    """What the report compares: title -> values (K, A), and of which classes there are some, bool (K,)."""
    return {
        title: {"values": values.detach().cpu().clone(), "there": there.cpu().clone()}
        for title, (values, there) in vectors.items()
    }


def write_checkpoint(filename: str, stock: BytesIO, state: dict[str, Any], student_is_stored: bool) -> None:
    """Write aside, then rename.

    Args:
        filename: of the checkpoint.
        stock: nnU-Net's own, as it wrote it.
        state: of the adaptation.
        student_is_stored: whether nnU-Net's own holds the student's weights, which need no second copy then.
    """
    stock.seek(0)
    checkpoint = torch.load(stock, map_location="cpu", weights_only=False)
    checkpoint[STATE] = state
    if student_is_stored:
        state["student"] = checkpoint["network_weights"]  # torch.save stores shared tensors once
    with replacing(filename) as aside:
        torch.save(checkpoint, aside)


def read_state(filename: str, device: torch.device) -> dict[str, Any]:
    """The adaptation's state in a checkpoint.

    Raises:
        RuntimeError: the checkpoint is not one of nnuda's.
    """
    state = torch.load(filename, map_location=device, weights_only=False).get(STATE)
    if state is None:
        raise RuntimeError(
            f"{filename} was not written by nnuda and cannot be continued. To start from its weights, use "
            "nnUDA_configure --set training.init_from=..."
        )
    return state
