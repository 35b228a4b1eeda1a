"""Named loss terms: their weights, and how these grow over a training."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

_SUFFIX = ".weight"


@dataclass(frozen=True)
class LossTerm:
    """One named term.

    Attributes:
        name: what `adaptation_losses` calls it, and the log.
        weight: full weight.
        start: share of the training during which it is off.
        ramp: share of the training over which its weight then grows linearly.
    """

    name: str
    weight: float
    start: float = 0.0
    ramp: float = 0.0

    def weight_at(self, progress: float) -> float:
        """Weight at a share of the training in [0, 1]; 0 means that the term is not computed."""
        if progress < self.start:
            return 0.0
        if self.ramp == 0:
            return self.weight
        return self.weight * min(1.0, (progress - self.start) / self.ramp)


def loss_terms(settings: dict[str, Any]) -> dict[str, LossTerm]:
    """The terms that the settings switch on: each `<prefix>.weight` above 0,
    with `<prefix>.start` and `.ramp` where they exist.

    Args:
        settings: effective settings.

    Returns:
        Terms by name; "uuds.contrast.weight" makes the term "contrast".
    """
    prefixes = [key[:-len(_SUFFIX)] for key, value in settings.items() if key.endswith(_SUFFIX) and value > 0]
    terms = [LossTerm(prefix.rsplit(".", 1)[-1], settings[prefix + _SUFFIX], settings.get(f"{prefix}.start", 0.0),
                      settings.get(f"{prefix}.ramp", 0.0)) for prefix in prefixes]
    return {term.name: term for term in terms}
