"""The adaptation waits for the classes that the network does not know on the source yet.

A teacher that does not know a class is sure that it is something else, and the student learns that of the target.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from nnuda.settings import LATEST_START


def not_learnt(dice: Sequence[float], least: float) -> list[int]:
    """Indices of the classes whose Dice on the source lies below the least; one that no patch held (NaN) says nothing."""
    return [i for i, value in enumerate(dice) if not math.isnan(value) and value < least]


def begins_within(starts: Iterable[float], waited: float, epoch: int, num_epochs: int) -> bool:
    """Whether the first of what starts later than at once begins within an epoch, and may begin an epoch later.

    Args:
        starts: shares of the training.
        waited: share of the training that it waited already.
        epoch: the epoch, from 0.
        num_epochs: of the training.
    """
    later = [start for start in starts if start > 0]
    if not later:
        return False
    begins = (min(later) + waited) * num_epochs
    return epoch <= begins + 1e-6 < epoch + 1 and begins + 1 <= LATEST_START * num_epochs + 1e-6
