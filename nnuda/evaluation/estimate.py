"""Dice that a prediction may be expected to have, without its labels: three estimators, and what they say together.

K foreground classes (or regions). Of a case: p (K, V) probabilities of its V voxels, and predicted, bool (K, V).

- soft Dice: Dice expected if each voxel were labelled at random by calibrated probabilities. The probabilities are
  calibrated by a temperature (Guo et al., On calibration of modern neural networks, ICML 2017, section 4.2); the sums
  are those of Li et al., Estimating model performance under domain shifts with class-specific confidence scores
  (MICCAI 2022), section 2.4.
- average thresholded confidence (Garg et al., Leveraging unlabeled data to predict out-of-distribution performance,
  ICLR 2022, equations 1 and 2), for each class once on its voxels and once on the others: Li et al., section 2.3.
- agreement: Dice of two predictions (Jiang et al., Assessing generalization of SGD via disagreement, ICLR 2022,
  definition 3.1: what two independent trainings disagree in is, in expectation, their error).

All three believe the network in one way or another: where it is wrong and certain, and another training is wrong in the
same way, all are too high.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

BINS, LARGEST = 4000, 20.0  # of the histograms of logits; from -LARGEST to LARGEST
TEMPERATURES = (0.2, 20.0)
USABLE, GOOD = 0.5, 0.7  # of the estimated Dice
VANISHED = 0.1  # of the smallest size that the source shows
OFTEN = 0.9  # share of the source's cases that show a class which the target's are then expected to show too
NOT_FOUND = "not found"
DO_NOT_USE, LOOK, PLAUSIBLE = "do not use", "look at every case", "plausible"


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """2 |A and B| / (|A| + |B|) of two masks; NaN where both are empty."""
    sizes = int(np.count_nonzero(predicted)) + int(np.count_nonzero(truth))
    return 2 * int(np.count_nonzero(predicted & truth)) / sizes if sizes else math.nan


# ---- soft Dice under calibrated probabilities -----------------------------------------------------------------------


def logit(p: np.ndarray) -> np.ndarray:
    """ln p / (1 - p), at most LARGEST either way."""
    p = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(p) - np.log1p(-p), -LARGEST, LARGEST)


def cooled(p: np.ndarray, temperature: float, regions: bool) -> np.ndarray:
    """Probabilities of the logits divided by a temperature.

    Args:
        p: (C, V) of all classes, which sum to 1, or (R, V) of regions.
        temperature: T; above 1 makes them less certain.
        regions: which of both.

    Returns:
        Likewise.
    """
    if regions:
        return 1 / (1 + np.exp(-logit(p) / temperature))
    scaled = np.log(np.maximum(p, np.exp(-LARGEST))) / temperature  # a softmax's logits, up to a constant
    powers = np.exp(scaled - scaled.max(0))
    return powers / powers.sum(0)


def fit_temperature(p: np.ndarray, truth: np.ndarray, regions: bool) -> float:
    """The temperature under which labels are likeliest.

    Args:
        p: (C, V) or (R, V).
        truth: bool, likewise: whether a voxel belongs to the class.
        regions: whether the channels are regions.

    Returns:
        T within TEMPERATURES.
    """

    def loss(log_temperature: float) -> float:
        q = np.clip(cooled(p, math.exp(log_temperature), regions), 1e-12, 1)
        return -float(np.log(q[truth]).sum() + (np.log(np.clip(1 - q[~truth], 1e-12, 1)).sum() if regions else 0))

    bounds = tuple(map(math.log, TEMPERATURES))
    return math.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-4}).x)


def soft_dice(p: np.ndarray, predicted: np.ndarray) -> np.ndarray:
    """2 sum_{v in A} p_v / (|A| + sum_v p_v): expected overlap over expected sizes, if voxel v belongs to the class with
    probability p_v.

    Args:
        p: (K, V), calibrated.
        predicted: (K, V), A.

    Returns:
        (K,), NaN where a class is neither predicted nor has any probability.
    """
    sizes = predicted.sum(1) + p.sum(1, dtype=np.float64)
    overlap = np.where(predicted, p, 0).sum(1, dtype=np.float64)
    return np.divide(2 * overlap, sizes, out=np.full(len(p), np.nan), where=sizes > 1e-6)


# ---- average thresholded confidence ---------------------------------------------------------------------------------


def score_histograms(p: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Histograms of the logit of a class's probability, over the voxels predicted as it and over the others.

    Returns:
        Two of (K, BINS), which can be added over cases.
    """
    bins = np.minimum((logit(p) + LARGEST) * (BINS / (2 * LARGEST)), BINS - 1).astype(np.int64)
    inside = np.stack([np.bincount(b[mask], minlength=BINS) for b, mask in zip(bins, predicted)])
    outside = np.stack([np.bincount(b[~mask], minlength=BINS) for b, mask in zip(bins, predicted)])
    return inside, outside


def position(histogram: np.ndarray, below: float) -> float:
    """The threshold with so many below it, in bins; within a bin its values count as spread evenly."""
    cumulated = np.concatenate(([0.0], np.cumsum(histogram)))
    if below <= 0 or cumulated[-1] == 0:
        return 0.0
    index = int(np.searchsorted(cumulated, min(below, cumulated[-1])))
    return index - 1 + (min(below, cumulated[-1]) - cumulated[index - 1]) / histogram[index - 1]


def count_below(histogram: np.ndarray, at: float) -> float:
    """How many are below a threshold that `position` found, on another histogram."""
    whole = min(int(at), len(histogram))
    part = (at - whole) * histogram[whole] if whole < len(histogram) else 0.0
    return float(histogram[:whole].sum() + part)


@dataclass(frozen=True)
class Thresholds:
    """Of one class, so that on the source as many of its predicted voxels lie below `inside` as are wrong, and as many
    of the others above `outside` as belong to it (Garg et al., equation 1, on both groups)."""

    inside: float
    outside: float


def fit_thresholds(inside: np.ndarray, outside: np.ndarray, wrong: float, missed: float) -> Thresholds:
    """Thresholds of one class.

    Args:
        inside, outside: the source's histograms, (BINS,).
        wrong: voxels predicted as the class that do not belong to it.
        missed: the others that do.
    """
    return Thresholds(position(inside, wrong), position(outside, float(outside.sum()) - missed))


def atc_dice(inside: np.ndarray, outside: np.ndarray, thresholds: Thresholds) -> float:
    """Dice by average thresholded confidence (Garg et al., equation 2, on both groups).

    Args:
        inside, outside: a case's histograms of the class, (BINS,).
        thresholds: of the class.

    Returns:
        2 TP / (2 TP + FP + FN) of the estimated counts; NaN where all are 0.
    """
    wrong = count_below(inside, thresholds.inside)
    right = float(inside.sum()) - wrong
    missed = float(outside.sum()) - count_below(outside, thresholds.outside)
    voxels = 2 * right + wrong + missed
    return 2 * right / voxels if voxels > 0 else math.nan


# ---- together -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SourceSizes:
    """What the source shows of a class: the share of its cases that have it, and its smallest and largest size there."""

    share: float
    smallest: float
    largest: float

    def complaint(self, size: float) -> str:
        """What speaks against a size on the target; empty if nothing."""
        if self.share < OFTEN:
            return ""
        if size == 0:
            return NOT_FOUND
        if size < VANISHED * self.smallest:
            return f"{size / self.smallest:.2g} of its smallest size on the source"
        return (
            f"{size / self.largest:.2g} times its largest size on the source" if size * VANISHED > self.largest else ""
        )


@dataclass(frozen=True)
class Estimate:
    """Of one class in one case.

    Attributes:
        value: expected Dice; NaN where no estimator has a value.
        low, high: an interval, from the spread of the estimators and their error on the source.
    """

    value: float
    low: float
    high: float


def combine(
    confidence: Sequence[float], agreement: float, independent: bool, margin: float, complaint: str = ""
) -> Estimate:
    """One estimate: the mean of the estimators that have a value; the interval from the lowest to the highest, wider by
    a margin.

    Two epochs of one training agree more than two trainings would. Their agreement may lower the estimate, never raise it.
    A class that the source nearly always shows and the target lacks has 0; one of an impossible size may have 0.

    Args:
        confidence: soft Dice and ATC; NaN for none.
        agreement: with other predictions; NaN for none.
        independent: whether those are of other trainings (or folds), not of other epochs.
        margin: mean absolute error of the mean of `confidence` on the source's cases.
        complaint: of `SourceSizes`.
    """
    if complaint == NOT_FOUND:
        return Estimate(0.0, 0.0, 0.0)
    known = [value for value in confidence if math.isfinite(value)]
    if independent and math.isfinite(agreement):
        known.append(agreement)
    if not known:
        return Estimate(math.nan, math.nan, math.nan)
    value, low, high = sum(known) / len(known), min(known), max(known)
    if not independent and math.isfinite(agreement):
        value, low = min(value, agreement), min(low, agreement)
    return Estimate(value, 0.0 if complaint else max(0.0, low - margin), min(1.0, high + margin))


def mean_estimate(estimates: Sequence[Estimate]) -> Estimate:
    """Of several cases or classes. The ends of the interval are averaged as they are: errors of a domain shift point the
    same way in all cases, and do not cancel."""
    known = [estimate for estimate in estimates if math.isfinite(estimate.value)]
    if not known:
        return Estimate(math.nan, math.nan, math.nan)
    return Estimate(*(sum(getattr(e, name) for e in known) / len(known) for name in ("value", "low", "high")))


def verdict(
    per_class: Mapping[str, Estimate],
    complaints: Mapping[str, float],
    source: Mapping[str, float],
    doubts: Sequence[str] = (),
) -> tuple[str, list[str]]:
    """What to do with the predictions, by their worst class, and why.

    "do not use" below USABLE, on the source too, or where a class has no estimate or an impossible size in half of the
    cases; "plausible" from GOOD on with an interval that begins above USABLE; else "look at every case". There is no
    "certain".

    Args:
        per_class: mean estimate of each class.
        complaints: share of the cases in which the class has an impossible size.
        source: true Dice of each class on the source's validation cases.
        doubts: why no figure can be trusted enough for "plausible".
    """
    bad, doubtful = [], list(doubts)
    for name, estimate in per_class.items():
        if not math.isfinite(estimate.value):
            bad.append(f"{name}: nothing to estimate from")
        elif source.get(name, 1.0) < USABLE:
            bad.append(f"{name}: Dice {source[name]:.2f} even on the source's validation cases")
        elif complaints.get(name, 0) >= 0.5:
            bad.append(f"{name}: missing or of an impossible size in {complaints[name]:.0%} of the cases")
        elif estimate.value < USABLE:
            bad.append(f"{name}: expected Dice {estimate.value:.2f}, below {USABLE}")
        elif estimate.value < GOOD or estimate.low < USABLE or complaints.get(name, 0) > 0:
            doubtful.append(
                f"{name}: expected Dice {estimate.value:.2f}, from {estimate.low:.2f} to {estimate.high:.2f}"
            )
    return (DO_NOT_USE, bad) if bad else (LOOK, doubtful) if doubtful else (PLAUSIBLE, [])
