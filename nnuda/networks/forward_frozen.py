"""A module as a fixed function: gradients pass through it to its input."""

from __future__ import annotations

from torch import Tensor, nn
from torch.func import functional_call


def forward_frozen(module: nn.Module, x: Tensor) -> Tensor | list[Tensor]:
    """The module's output, with a graph to its input but not to its parameters."""
    frozen = {name: value.detach() for name, value in module.named_parameters()}
    # nnU-Net names a layer twice: tying would swap it twice and not back
    return functional_call(module, frozen, (x,), tie_weights=False)
