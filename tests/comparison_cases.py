"""Scores of three made-up results on the same cases."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nnuda.evaluation.summary import summarize

CASES = 8


def case_scores(dice: float) -> dict:
    """One class of one case; Dice 0 is an empty prediction."""
    empty = "none" if dice else "prediction"
    distance = 10 * (1 - dice) if dice else math.nan
    return {
        "Dice": dice,
        "ASSD": distance,
        "HD95": 3 * distance,
        "NSD": dice,
        "VD": 0.0,
        "RVD": 0.0,
        "empty": empty,
        "n_reference": 500,
    }


def result(dice: Sequence[float], classes: Sequence[str] = ("ventricle", "wall")) -> dict:
    """What `evaluate_folder` would return: a Dice a case, the second class 0.1 below the first."""
    per_case = {
        f"case{index}": {name: case_scores(max(0.0, value - 0.1 * offset)) for offset, name in enumerate(classes)}
        for index, value in enumerate(dice)
    }
    return {
        **summarize(per_case),
        "per_case": per_case,
        "unit": "mm",
        "labels": dict.fromkeys(classes, 1),
        "num_cases": len(dice),
    }


def three_results() -> dict[str, dict]:
    """Source-only, a method that is better in each case, an oracle."""
    steps = [0.01 * index for index in range(CASES)]
    return {
        "source-only": result([0.40 + step for step in steps]),
        "method": result([0.70 + 2 * step for step in steps]),
        "oracle": result([0.80 + 1.5 * step for step in steps]),
    }
