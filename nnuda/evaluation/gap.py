"""How much of the gap between source-only and oracle an adaptation closes."""

from __future__ import annotations

import math


def gap_closed(source_only: float, method: float, oracle: float, higher_is_better: bool = True) -> float:
    """(method - source_only) / (oracle - source_only): 0 is source-only, 1 the oracle.

    Args:
        source_only: score of the model trained on the source alone.
        method: score of the adapted model.
        oracle: score of the model trained on the labelled target.
        higher_is_better: True for Dice, False for distances.

    Returns:
        The share of the gap, negative where the method harms; NaN where the oracle is not better than source-only, or
        where a score is NaN.
    """
    sign = 1 if higher_is_better else -1
    gap = sign * (oracle - source_only)
    return sign * (method - source_only) / gap if gap > 0 else math.nan
