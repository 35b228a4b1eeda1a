"""What a network gives: logits of one resolution, or of several with deep supervision, finest first."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from torch import Tensor


@dataclass
class DomainOutputs:
    """What the network gave for both domains in one step.

    Attributes:
        source: logits of the source, (B, C, *S), a list of them with deep supervision, finest first.
        target: likewise for the target's strong view.
        extra: whatever else a method's forward returns, by name.
    """

    source: Tensor | list[Tensor]
    target: Tensor | list[Tensor]
    extra: dict[str, Any] = field(default_factory=dict)


def finest(outputs: Tensor | list[Tensor] | tuple[Tensor, ...]) -> Tensor:
    """The full-resolution output, or label."""
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def resolutions(outputs: Tensor | list[Tensor] | tuple[Tensor, ...]) -> list[Tensor]:
    """Outputs, or labels, of all resolutions, with and without deep supervision."""
    return [outputs] if isinstance(outputs, Tensor) else list(outputs)


def full_precision(outputs: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
    """In fp32, for losses outside of autocast."""
    return outputs.float() if isinstance(outputs, Tensor) else [output.float() for output in outputs]
