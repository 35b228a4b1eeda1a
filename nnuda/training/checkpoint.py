"""Checkpoints: nnU-Net's own file, with the state of the adaptation under one more key."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from torch import Tensor, nn
from torch import distributed as dist
from torch._dynamo import OptimizedModule
from torch.nn.parallel import DistributedDataParallel

from nnuda.errors import NnudaError, short
from nnuda.files import replacing
from nnuda.results import CHECKPOINTS, ResultsError, load_checkpoint
from nnuda.training.random_state import get_random_state

GO_ON = "Add --c to go on from the last checkpoint."
STATE = "nnuda"  # the checkpoint's extra key
EARLIER = "earlier_"  # how the folder begins into which a new training moves the checkpoints of the one before
FINAL, LATEST, _ = CHECKPOINTS
# what nnU-Net reads to continue, besides the network's weights
_TO_CONTINUE = ("init_args", "current_epoch", "logging", "_best_ema", "optimizer_state")


_EVERY_EPOCH = ("train_losses", "epoch_start_timestamps", "epoch_end_timestamps")  # nnU-Net logs these
PUT_BACK = "Put back the checkpoint of this folder, or move it away to go on from an older one."


class CheckpointError(NnudaError, RuntimeError):
    """A checkpoint that this training cannot go on from."""


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


def read_to_continue(filename: str, log: Callable[..., None]) -> tuple[str, dict[str, Any]]:
    """The checkpoint that nnU-Net chose for `--c`, and what is in it; where checkpoint_final.pth is damaged,
    checkpoint_latest.pth where there is one.

    Args:
        filename: nnU-Net's choice.
        log: prints a line to the training's log.

    Raises:
        ResultsError: neither can be read; names the older ones.
    """
    try:
        return filename, load_checkpoint(filename)
    except ResultsError as error:
        folder, name = os.path.split(filename)
        if name == FINAL and isfile(join(folder, LATEST)):
            log(f"NOTE: {error} Going on from {LATEST}.")
            return read_to_continue(join(folder, LATEST), log)
        older = [other for other in CHECKPOINTS[1:] if other != name and isfile(join(folder, other))]
        way = f" To go on from {' or '.join(older)}, move {name} away and give --c again." if older else ""
        raise ResultsError(f"{error}{way}") from error


def require_own(content: dict[str, Any], filename: str, trainer: str, network: nn.Module, epochs: int) -> None:
    """Stop where a checkpoint is not one to continue this training with.

    Args:
        content: of the checkpoint.
        filename: its name.
        trainer: name of this training's trainer.
        network: this training's, bare.
        epochs: of this training.

    Raises:
        CheckpointError: it is stock nnU-Net's, another trainer's, of weights alone, of another network, or of an epoch
            that this training does not have.
    """
    writer = content.get("trainer_name", trainer)
    if STATE not in content or any(key not in content for key in _TO_CONTINUE):
        raise CheckpointError(
            f"{filename} was not written by nnuda to be continued (trainer: {writer}). To start from its weights, use "
            "nnUDA_configure --set training.init_from=..."
        )
    if writer != trainer:
        raise CheckpointError(
            f"{filename}: expected a checkpoint of {trainer}; it is one of {writer}, another method. Put back the "
            "checkpoint of this folder, or start from the other's weights: nnUDA_configure --set training.init_from=..."
        )
    own, given = network.state_dict(), unwrapped(content["network_weights"])
    other = [
        name
        for name in {**own, **given}
        if name not in own or name not in given or own[name].shape != given[name].shape
    ]
    if other:
        raise CheckpointError(
            f"{filename}: expected the weights of this plan's network; {len(other)} of {len({**own, **given})} are "
            f"missing, too many or of another shape, such as {other[0]}. {PUT_BACK}"
        )
    not_finite = [name for name, value in given.items() if not torch.isfinite(value).all()]
    if not_finite:
        raise CheckpointError(
            f"{filename}: expected finite weights; there is NaN or infinity in {len(not_finite)} of them, such as "
            f"{not_finite[0]}. {PUT_BACK}"
        )
    epoch, curves = content["current_epoch"], content["logging"]
    logged = [curves.get(name) if isinstance(curves, dict) else None for name in _EVERY_EPOCH]
    lengths = {len(values) if isinstance(values, list) else 0 for values in logged}
    if not isinstance(epoch, int) or not 0 <= epoch <= epochs or lengths != {epoch}:
        raise CheckpointError(
            f"{filename}: expected an epoch of this training's {epochs}, with what was logged up to it; got epoch "
            f"{epoch!r} with {' or '.join(map(str, sorted(lengths)))} logged. {PUT_BACK}"
        )


@contextmanager
def state_of(filename: str) -> Iterator[None]:
    """Inside, what was read of a checkpoint is put back.

    Raises:
        CheckpointError: it has another form than this training wrote.
    """
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RuntimeError) as error:
        raise CheckpointError(
            f"{filename}: expected the state of this training as it was saved; part of it is missing or of another form "
            f"({type(error).__name__}: {short(str(error))}). {PUT_BACK}"
        ) from error


def unwrapped(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A network's weights by their names without those of DDP's and compile's wrappers."""
    return {name.removeprefix("module.").removeprefix("_orig_mod."): value for name, value in weights.items()}


def refuse_to_train_again(folder: str) -> None:
    """Stop where a new training, without --c, would take the place of a finished one.

    Args:
        folder: of the fold.

    Raises:
        CheckpointError: it holds a finished training.
    """
    if isfile(join(folder, FINAL)):
        raise CheckpointError(
            f"{folder}: expected a training that is not finished, or none; it has {FINAL}. Nothing was changed. Add --val "
            "to validate it, or move that folder away to train anew."
        )


def move_earlier_aside(folder: str, *others: str) -> str | None:
    """Before a new training writes its first: move the checkpoints of an unfinished one into a folder beside them.

    Args:
        folder: of the fold.
        others: names of files that belong to them.

    Returns:
        The new folder; None where there were none.
    """
    found = sorted(name for name in os.listdir(folder) if name.startswith("checkpoint_") and name.endswith(".pth"))
    if not found:
        return None
    newest = max(os.path.getmtime(join(folder, name)) for name in found)
    aside = join(folder, time.strftime(f"{EARLIER}%Y%m%d_%H%M%S", time.localtime(newest)))
    while os.path.exists(aside):
        aside += "_"
    os.makedirs(aside)
    for name in [*found, *(name for name in others if isfile(join(folder, name)))]:
        os.replace(join(folder, name), join(aside, name))
    return aside
