"""Losses run in float32 at least, also where the forward ran in half precision: sums over voxels and exponentials do
not survive float16."""

from __future__ import annotations

import torch
from torch import Tensor


def no_autocast(tensor: Tensor) -> torch.autocast:
    """A block without autocast, on the tensor's device."""
    return torch.autocast(tensor.device.type, enabled=False)


def full_type(tensor: Tensor) -> torch.dtype:
    """float32, or the tensor's own type where that is float64."""
    return torch.promote_types(tensor.dtype, torch.float32)


def full(tensor: Tensor) -> Tensor:
    """The tensor in `full_type`."""
    return tensor.to(full_type(tensor))
