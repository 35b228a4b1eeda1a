"""Named loss terms: their weights, and how these grow over a training."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from nnuda.errors import NnudaError

_SUFFIX = ".weight"


class LossTermError(NnudaError, RuntimeError):
    """A method's code and its preset disagree about the terms, or a term is nothing to learn from."""


@dataclass(frozen=True)
class LossTerm:
    """One named term.

    Attributes:
        name: what `adaptation_losses` calls it, and the log.
        weight: full weight.
        start: share of the training during which it is off.
        ramp: share of the training over which its weight then grows.
        ramp_shape: "linear", or "sigmoid", exp(-5 (1 - x)^2) with x from 0 to 1 over the ramp (mean teachers,
            arXiv 1703.01780).
    """

    name: str
    weight: float
    start: float = 0.0
    ramp: float = 0.0
    ramp_shape: str = "linear"

    def weight_at(self, progress: float) -> float:
        """Weight at a share of the training in [0, 1]; 0 means that the term is not computed."""
        if progress < self.start:
            return 0.0
        if self.ramp == 0:
            return self.weight
        grown = min(1.0, (progress - self.start) / self.ramp)
        return self.weight * (math.exp(-5 * (1 - grown) ** 2) if self.ramp_shape == "sigmoid" else grown)


def loss_terms(settings: dict[str, Any]) -> dict[str, LossTerm]:
    """The terms that the settings switch on: each `<prefix>.weight` above 0,
    with `<prefix>.start`, `.ramp` and `.ramp_shape` where they exist, and, where planning saw no shift, the weight times
    `<prefix>.without_shift`.

    Args:
        settings: effective settings.

    Returns:
        Terms by name; "uuds.contrast.weight" makes the term "contrast".
    """
    alike = settings.get("planning.alike", False)
    prefixes = [key[: -len(_SUFFIX)] for key, value in settings.items() if key.endswith(_SUFFIX) and value > 0]
    terms = [
        LossTerm(
            prefix.rsplit(".", 1)[-1],
            settings[prefix + _SUFFIX] * (settings.get(f"{prefix}.without_shift", 1.0) if alike else 1.0),
            settings.get(f"{prefix}.start", 0.0),
            settings.get(f"{prefix}.ramp", 0.0),
            settings.get(f"{prefix}.ramp_shape", "linear"),
        )
        for prefix in prefixes
    ]
    return {term.name: term for term in terms}


def term_names(settings: dict[str, Any]) -> list[str]:
    """Names of all terms that a preset has, on or off."""
    return [key[: -len(_SUFFIX)].rsplit(".", 1)[-1] for key in settings if key.endswith(_SUFFIX)]


def check_name(name: str, known: Collection[str], preset: str) -> None:
    """
    Args:
        name: of a term.
        known: names of all terms that there are, on or off.
        preset: the method's.

    Raises:
        LossTermError: there is no such term.
    """
    if name not in known:
        raise LossTermError(
            f"Terms of the preset {preset}: {', '.join(dict.fromkeys(known))}; got {name!r}. A term is "
            f"the last word of a setting {preset}.<term>.weight: correct the name, or add the setting."
        )


def check_losses(losses: dict[str, Any], active: set[str], known: Collection[str], preset: str) -> None:
    """Whether a method returned what is to be learnt in this step.

    Args:
        losses: of `adaptation_losses`.
        active: names of the method's terms with a weight above 0 in this step.
        known: names of all terms that there are, on or off.
        preset: the method's.

    Raises:
        LossTermError: names that the preset lacks or that are off, active terms that are missing, terms that are no
            scalar tensor or have no graph.
    """
    for name in losses:
        check_name(name, known, preset)
    surplus, missing = sorted(losses.keys() - active), sorted(active - losses.keys())
    if surplus or missing:
        raise LossTermError(
            f"adaptation_losses: expected the terms that are active in this step, "
            f"{', '.join(sorted(active)) or 'none'}; missing: {', '.join(missing) or 'none'}; returned "
            f"though off: {', '.join(surplus) or 'none'}. Compute each term under `if "
            "self.active(name)`, and only there."
        )
    for name, loss in losses.items():
        if not isinstance(loss, Tensor) or loss.ndim:
            got = (
                f"a tensor of shape {tuple(loss.shape)}"
                if isinstance(loss, Tensor)
                else f"{type(loss).__name__} {loss}"
            )
            raise LossTermError(
                f"adaptation_losses: expected a scalar tensor for the term {name}; got {got}. Nothing "
                "can be learnt from a number: leave .item() and float() out, and take the mean."
            )
        if not loss.requires_grad:
            raise LossTermError(
                f"adaptation_losses: the term {name} has no graph, so nothing would be learnt from it. "
                "Compute it from the outputs with their gradient: no detach(), no torch.no_grad() "
                "around all of it."
            )
