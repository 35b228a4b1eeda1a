"""Several batches through one network."""

from __future__ import annotations

from itertools import accumulate
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def forward_together(network: nn.Module, images: list[Tensor], **kwargs: Any) -> list[Any]:
    """One concatenated forward; one forward a batch where BatchNorm would mix their statistics.

    Args:
        network: gives a tensor, or lists and named tuples of tensors, batch first.
        images: (B_i, Cin, *S), one per batch; B_i may be 0.
        **kwargs: passed on to the network.

    Returns:
        The output of each batch, shaped as the network's.
    """
    if all(len(image) for image in images) and any(isinstance(module, _BatchNorm) for module in network.modules()):
        return [network(image, **kwargs) for image in images]
    output = network(torch.cat(images), **kwargs)
    ends = accumulate(len(image) for image in images)
    return [_part(output, end - len(image), end) for image, end in zip(images, ends)]


def _part(output: Any, start: int, end: int) -> Any:
    if isinstance(output, Tensor):
        return output[start:end]
    parts = [_part(item, start, end) for item in output]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
