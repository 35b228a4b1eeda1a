"""What DDP does for the network and must be done by hand for the modules beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist

from nnuda.settings import SettingsError


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Mean over the ranks of each parameter's gradient. Every rank must call it with the same parameters.

    A rank without one counts as zero. Where no rank has one it stays None, as on one GPU:
    a zero would set weight decay and momentum going.
    """
    parameters = list(parameters)
    if not parameters:
        return
    ranks = torch.tensor([float(parameter.grad is not None) for parameter in parameters], device=parameters[0].device)
    dist.all_reduce(ranks)
    for parameter, count in zip(parameters, ranks.tolist()):
        if count == 0:
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        dist.all_reduce(parameter.grad)
        parameter.grad /= dist.get_world_size()


def broadcast_from_first(module: nn.Module) -> None:
    """Give every rank the first rank's parameters and buffers."""
    for tensor in module.state_dict().values():
        dist.broadcast(tensor, src=0)


def from_first(value: Any) -> Any:
    """The first rank's value, on every rank. Every rank must call it. Without DDP: the value."""
    if not (dist.is_available() and dist.is_initialized()):
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def mean_over_ranks(value: Tensor, count: Tensor) -> Tensor:
    """sum(value) / sum(count) over all ranks, NaN where nothing was counted. Without DDP: value / count."""
    if dist.is_available() and dist.is_initialized():
        value, count = value.clone(), count.clone()
        dist.all_reduce(value)
        dist.all_reduce(count)
    return value / count


def split_batch(batch_size: int, mode: str) -> tuple[int, int]:
    """Batch sizes of source and target in one step.

    Args:
        batch_size: the plan's (or this rank's share of it).
        mode: "each" or "total", setting `training.batch`.

    Raises:
        SettingsError: "total" with a batch of one.
    """
    if mode == "each":
        return batch_size, batch_size
    if batch_size < 2:
        raise SettingsError(
            "training.batch = total needs a batch of at least 2 to take half of it from each domain; "
            f"got {batch_size} (with DDP: on this GPU). Use training.batch = each, or a plan with a "
            "larger batch."
        )
    return batch_size - batch_size // 2, batch_size // 2


def keep_in_graph(logits: Tensor, unused: Iterable[Tensor | None]) -> Tensor:
    """The logits unchanged, with the other outputs hanging on them: DDP wants a gradient for every
    parameter in every step."""
    for output in unused:
        if output is not None:
            logits = logits + 0 * output.float().clamp(-1, 1).mean()  # 0 * inf would be NaN
    return logits
