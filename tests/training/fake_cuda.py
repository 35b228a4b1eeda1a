"""A training step on a GPU that is not there: tensors without data under torch's FakeTensorMode, device cuda.

A tensor on another device than the operation's raises, as on a GPU. What would make the host wait for the GPU is
counted by the line of code that asks for it, and answered with a made-up value so that the step goes on.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partialmethod
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

aten = torch.ops.aten
HERE = {__file__}
DATA_DEPENDENT = {"nonzero", "masked_select", "unique_dim", "_unique2", "equal", "_local_scalar_dense", "bincount"}
CUDA = torch.device("cuda", 0)


class HostWaits(TorchDispatchMode):
    """Counts what waits for the GPU, by (file, function) of the first caller that is not torch's.

    Counted are scalars read (`.item()`, `bool(x)`, `float(x)`), shapes that depend on data (`nonzero`, an index of
    bools, `unique`), and copies between host and GPU that are not asked to be `non_blocking`; copies to the host always.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[tuple[str, str]] = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        if name == "_amp_update_scale_":  # has no form without data
            return args[0]
        if name in DATA_DEPENDENT:
            if args[0].device.type == "cuda":
                self.seen[asker()] += 1
            return made_up(name, args)
        if name == "index":
            chosen = [made_up_index(index) for index in args[1]]
            if any(
                isinstance(index, Tensor) and index.device.type == "cuda" and index.dtype == torch.bool
                for index in args[1]
            ):
                self.seen[asker()] += 1
            return function(args[0], [index for group in chosen for index in group], **kwargs)
        if name == "index_put_" and any(i is not None and i.dtype == torch.bool for i in args[1]) and args[2].ndim:
            self.seen[asker()] += 1
        if name == "_to_copy" and waits(args[0].device, kwargs.get("device"), kwargs.get("non_blocking")):
            self.seen[asker()] += 1
        if name == "copy_" and waits(args[1].device, args[0].device, args[2] if len(args) > 2 else False):
            self.seen[asker()] += 1
        return function(*args, **kwargs)


def waits(here: torch.device, there: torch.device | None, non_blocking: bool | None) -> bool:
    """Whether a copy makes the host wait."""
    if there is None or here.type == torch.device(there).type:
        return False
    return here.type == "cuda" or not non_blocking


def asker() -> tuple[str, str]:
    """File and function of the innermost frame that is neither torch's nor this file's."""
    frame = sys._getframe(1)
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in HERE and "/torch/" not in file and not file.startswith("<"):
            return Path(file).name, frame.f_code.co_name
        frame = frame.f_back
    raise AssertionError("no caller")


def made_up(name: str, args: tuple) -> Tensor | bool | int | float | tuple:
    """An answer that lets the step go on."""
    x = args[0]
    if name == "_local_scalar_dense":
        if x.dtype == torch.bool:
            return True
        if x.dtype.is_floating_point:
            return float(x.device.type == "cpu")  # 0 on the GPU: no gradient overflowed
        return 1
    if name == "equal":
        return True
    if name == "nonzero":
        return torch.zeros((some(x), x.ndim), dtype=torch.long, device=x.device)
    if name == "masked_select":
        return x.new_zeros(some(x))
    if name == "_unique2":
        return x.flatten()[:1], torch.zeros_like(x, dtype=torch.long), torch.ones(1, dtype=torch.long, device=x.device)
    if name == "unique_dim":
        rows = torch.zeros(x.shape[args[1]], dtype=torch.long, device=x.device)
        return x[:1], rows, rows[:1]
    raise NotImplementedError(f"tests/training/fake_cuda.py has no answer to aten.{name}: give made_up one.")


def made_up_index(index: Tensor | None) -> list[Tensor | None]:
    """Positions in the place of a mask."""
    if index is None or index.dtype != torch.bool:
        return [index]
    return [torch.zeros(some(index), dtype=torch.long, device=index.device)] * index.ndim


def some(mask: Tensor) -> int:
    """So many voxels of a mask are taken to be true."""
    return max(1, mask.numel() // 4)


@contextmanager
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> Iterator[HostWaits]:
    """Inside, device cuda is there and holds no data; autocast works as on a GPU."""
    monkeypatch.setattr(torch.cuda.amp.common, "amp_definitely_not_available", lambda: False)
    monkeypatch.setattr(Tensor, "numpy", lambda self, **_: np.zeros(tuple(self.shape)))
    monkeypatch.setattr(torch.cuda, "manual_seed_all", lambda seed: None)
    monkeypatch.setattr(torch.nn.Module, "_apply", applied)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", attention)
    monkeypatch.setattr(Tensor, "__deepcopy__", partialmethod(copied, original=Tensor.__deepcopy__))
    with FakeTensorMode(allow_non_fake_inputs=True), HostWaits() as waits:
        yield waits


def applied(self: torch.nn.Module, fn, recurse: bool = True) -> torch.nn.Module:
    """`.to(device)`; torch's own exchanges the insides of two parameters, which those without data do not allow."""
    for module in self.children() if recurse else ():
        module._apply(fn)
    for tensors in (self._parameters, self._buffers):
        for key, value in tensors.items():
            moved = None if value is None else fn(value)
            if moved is not value:
                parameter = tensors is self._parameters
                tensors[key] = torch.nn.Parameter(moved.detach(), value.requires_grad) if parameter else moved
    return self


def copied(self: Tensor, memo: dict, original) -> Tensor:
    """A copy without data of a tensor without data; torch's own would copy the mode that made it as well."""
    if not isinstance(self, FakeTensor):
        return original(self, memo)
    if id(self) not in memo:
        with torch.no_grad():
            made = torch.empty_like(self)
        parameter = isinstance(self, torch.nn.Parameter)
        memo[id(self)] = torch.nn.Parameter(made, self.requires_grad) if parameter else made
    return memo[id(self)]


def attention(query, key, value, attn_mask=None, dropout_p=0.0, is_causal=False, scale=None, **_) -> Tensor:
    """softmax(Q K^T) V; torch's own asks which GPU there is."""
    scores = query @ key.transpose(-2, -1)
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, -1e4) if attn_mask.dtype == torch.bool else scores + attn_mask
    return scores.softmax(-1) @ value


def without_autograd(monkeypatch: pytest.MonkeyPatch, *modules: torch.nn.Module) -> None:
    """`backward()` gives each parameter of the modules a gradient of zeros: autograd's own needs a CUDA context."""

    def backward(self: Tensor, *_, **__) -> None:
        assert self.device.type == "cuda" and self.ndim == 0 and self.requires_grad
        for module in modules:
            for parameter in module.parameters():
                if parameter.requires_grad:
                    parameter.grad = torch.zeros_like(parameter)

    monkeypatch.setattr(Tensor, "backward", backward)


def made_up_batch(trainer, size: int = 2, size_target: int = 2) -> dict:
    """What the two-domain stream draws, on the host: shapes of the trainer's configuration."""
    patch = trainer.configuration_manager.patch_size
    channels, classes = trainer.num_input_channels, trainer.label_manager.num_segmentation_heads

    def label(scale: list[float]) -> Tensor:
        shape = [round(side * factor) for side, factor in zip(patch, scale)]
        return torch.randint(classes, (size, 1, *shape)).float()

    scales = trainer._get_deep_supervision_scales()
    labels = [label([1.0] * len(patch))] if scales is None else [label(scale) for scale in scales]
    strong, weak = torch.randn(2, size_target, channels, *patch)
    return {
        "data": labels[0] + torch.randn(size, channels, *patch),  # something to learn
        "target": labels[0] if scales is None else labels,
        "target_domain": {"strong": strong, "weak": weak},
    }
