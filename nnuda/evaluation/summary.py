"""From scores per case to mean, standard deviation, median and counts per class."""

from __future__ import annotations

import math

import numpy as np

from nnuda.evaluation.metrics import METRICS

EMPTY_COUNTS = {"n_empty_prediction": "prediction", "n_empty_reference": "reference", "n_both_empty": "both"}


def statistics(values: list[float]) -> dict[str, float | int]:
    """mean, std (of the sample, n - 1), median and n of the values that are not NaN; NaN where there are too few."""
    known = np.array([value for value in values if not math.isnan(value)])
    return {
        "mean": float(known.mean()) if known.size else math.nan,
        "std": float(known.std(ddof=1)) if known.size > 1 else math.nan,
        "median": float(np.median(known)) if known.size else math.nan,
        "n": int(known.size),
    }


def summarize_class(cases: list[dict]) -> dict:
    """Statistics of each metric over the cases of one class, and how many cases had an empty mask."""
    summary = {metric: statistics([case[metric] for case in cases]) for metric in METRICS if metric in cases[0]}
    counts = {name: sum(case["empty"] == side for case in cases) for name, side in EMPTY_COUNTS.items()}
    return {**summary, **counts}


def foreground_mean(per_class: dict[str, dict]) -> dict[str, float]:
    """Mean over classes of the class means.

    Classes that occur nowhere (Dice NaN) are left out. A class that occurs but has no surface distance, since one side
    is always empty, makes the surface means NaN: leaving it out would flatter.
    """
    present = [scores for scores in per_class.values() if scores["Dice"]["n"] > 0]
    if not present:
        return dict.fromkeys(METRICS, math.nan)
    metrics = [metric for metric in METRICS if metric in present[0]]
    return {metric: float(np.mean([scores[metric]["mean"] for scores in present])) for metric in metrics}


def summarize(per_case: dict[str, dict[str, dict]]) -> dict[str, dict]:
    """case -> class -> scores becomes {"per_class": class -> statistics, "foreground_mean": metric -> value}."""
    classes = next(iter(per_case.values()))
    per_class = {name: summarize_class([scores[name] for scores in per_case.values()]) for name in classes}
    return {"per_class": per_class, "foreground_mean": foreground_mean(per_class)}
