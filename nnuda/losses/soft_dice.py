"""Soft Dice of predictions with pseudo-labels, of which only some classes and voxels count."""

from __future__ import annotations

from torch import Tensor


def soft_dice(intersection: Tensor, predicted: Tensor, labelled: Tensor, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    """1 - (2 I + eps) / (P + Y + eps), from sums over the voxels that count.

    Args:
        intersection: I, sums of prediction times label, of any shape.
        predicted: P, sums of the prediction.
        labelled: Y, sums of the label.
        eps: keeps the quotient finite.

    Returns:
        The loss, and whether the label holds anything: a class that it does not hold is to be left out.
    """
    return 1 - (2 * intersection + eps) / (predicted + labelled + eps), labelled > 0


def mean_of_present(loss: Tensor, present: Tensor) -> Tensor:
    """Mean along the last axis, (..., K) to (...), over what is present; 0 with a graph where nothing is."""
    return (loss * present).sum(-1) / present.sum(-1).clamp(min=1)
