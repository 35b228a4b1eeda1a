"""The estimators against their papers' equations: by enumeration, by simulation, and in closed form."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from nnuda.evaluation.estimate import (
    BINS,
    DO_NOT_USE,
    LARGEST,
    LOOK,
    PLAUSIBLE,
    Estimate,
    SourceSizes,
    atc_dice,
    combine,
    cooled,
    count_below,
    dice,
    fit_temperature,
    fit_thresholds,
    mean_estimate,
    position,
    score_histograms,
    soft_dice,
    verdict,
)


def softmax(z: np.ndarray) -> np.ndarray:
    return np.exp(z) / np.exp(z).sum(0)


def draw(p: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Labels as one-hot bool (C, V)."""
    chosen = (rng.random(p.shape[1]) > np.cumsum(p, 0)[:-1]).sum(0)
    return np.arange(len(p))[:, None] == chosen


# ---- soft Dice --------------------------------------------------------------------------------------------------------


def test_soft_dice_is_expected_overlap_over_expected_sizes_by_enumeration():
    p, predicted = np.array([[0.9, 0.6, 0.2, 0.4]]), np.array([[True, True, False, False]])
    overlap = sizes = 0.0
    for labels in itertools.product((False, True), repeat=4):
        chance = math.prod(q if label else 1 - q for q, label in zip(p[0], labels))
        overlap += chance * sum(a and b for a, b in zip(predicted[0], labels))
        sizes += chance * (predicted.sum() + sum(labels))
    assert soft_dice(p, predicted)[0] == pytest.approx(2 * overlap / sizes, rel=1e-12)


def test_soft_dice_is_near_the_expected_dice_of_many_voxels():
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(0, 2, (3, 3000)))
    predicted = p.argmax(0) == np.arange(3)[:, None]
    drawn = [[dice(predicted[k], label[k]) for k in range(3)] for label in (draw(p, rng) for _ in range(200))]
    assert soft_dice(p, predicted) == pytest.approx(np.mean(drawn, 0), abs=3e-3)


def test_soft_dice_of_a_class_that_is_nowhere_is_none():
    assert np.isnan(soft_dice(np.zeros((1, 5)), np.zeros((1, 5), bool))).all()


@pytest.mark.parametrize("regions", [False, True])
def test_the_temperature_that_labels_were_drawn_with_is_found(regions):
    rng = np.random.default_rng(1)
    z = rng.normal(0, 4, (3, 100_000))
    if regions:
        p, truth = 1 / (1 + np.exp(-z)), rng.random(z.shape) < 1 / (1 + np.exp(-z / 2.5))
    else:
        p, truth = softmax(z), draw(softmax(z / 2.5), rng)
    assert fit_temperature(p, truth, regions) == pytest.approx(2.5, rel=0.02)


@pytest.mark.parametrize("regions", [False, True])
def test_cooling_divides_the_logits(regions):
    z = np.random.default_rng(2).normal(0, 2, (3, 50))
    p, expected = (softmax(z), softmax(z / 3)) if not regions else (1 / (1 + np.exp(-z)), 1 / (1 + np.exp(-z / 3)))
    assert cooled(p, 3.0, regions) == pytest.approx(expected, rel=1e-9)


# ---- average thresholded confidence -----------------------------------------------------------------------------------


def test_a_threshold_has_as_many_below_it_as_were_asked_for():
    histogram = np.random.default_rng(3).integers(0, 9, BINS)
    for below in (0, 1, 17.5, histogram.sum() / 3, histogram.sum()):
        assert count_below(histogram, position(histogram, below)) == pytest.approx(below)


def naive_atc(source: dict, target: dict) -> float:
    """Garg et al., equations 1 and 2, by sorting: on the voxels of the class, and on the others."""
    s_in, s_out = np.sort(source["p"][source["predicted"]]), np.sort(source["p"][~source["predicted"]])
    wrong = int((source["predicted"] & ~source["truth"]).sum())
    missed = int((~source["predicted"] & source["truth"]).sum())
    t_in, t_out = s_in[wrong], s_out[len(s_out) - missed - 1]
    p, predicted = target["p"], target["predicted"]
    fp, fn = (p[predicted] < t_in).sum(), (p[~predicted] > t_out).sum()
    tp = predicted.sum() - fp
    return 2 * tp / (2 * tp + fp + fn)


def one_class(rng: np.random.Generator, shift: float, voxels: int = 200_000) -> dict:
    z = rng.normal(shift, 3, voxels)
    p = 1 / (1 + np.exp(-z))
    return {"p": p, "predicted": p > 0.5, "truth": rng.random(voxels) < 1 / (1 + np.exp(-z / 2))}


def histograms(domain: dict) -> tuple[np.ndarray, np.ndarray]:
    inside, outside = score_histograms(domain["p"][None], domain["predicted"][None])
    return inside[0], outside[0]


@pytest.mark.parametrize("shift", [-2.0, 0.0, 1.0])
def test_atc_is_the_papers(shift):
    rng = np.random.default_rng(4)
    source, target = one_class(rng, -1.0), one_class(rng, shift)
    wrong = (source["predicted"] & ~source["truth"]).sum()
    missed = (~source["predicted"] & source["truth"]).sum()
    thresholds = fit_thresholds(*histograms(source), wrong, missed)
    assert atc_dice(*histograms(target), thresholds) == pytest.approx(naive_atc(source, target), abs=2e-3)


def test_atc_gives_the_source_its_own_dice():
    source = one_class(np.random.default_rng(5), 0.0)
    wrong = (source["predicted"] & ~source["truth"]).sum()
    missed = (~source["predicted"] & source["truth"]).sum()
    inside, outside = histograms(source)
    thresholds = fit_thresholds(inside, outside, wrong, missed)
    assert atc_dice(inside, outside, thresholds) == pytest.approx(dice(source["predicted"], source["truth"]), abs=1e-9)


def test_certain_probabilities_fall_into_the_last_bin():
    inside, outside = score_histograms(np.array([[1.0, 0.0]]), np.array([[True, False]]))
    assert inside[0, -1] == 1 and outside[0, 0] == 1 and LARGEST == 20


# ---- agreement ----------------------------------------------------------------------------------------------------------


def test_two_draws_disagree_as_much_as_a_draw_and_the_truth():
    """Jiang et al., theorem 4.1: trainings and truth that are draws from the same calibrated probabilities."""
    rng = np.random.default_rng(6)
    p = rng.random(20_000) ** 3
    draws = [(rng.random(p.size) < p, rng.random(p.size) < p, rng.random(p.size) < p) for _ in range(50)]
    agreement, truth = (np.mean([dice(one[0], one[k]) for one in draws]) for k in (1, 2))
    assert agreement == pytest.approx(truth, abs=2e-3)
    assert truth == pytest.approx((p**2).sum() / p.sum(), abs=2e-3)  # closed form


def test_dice_of_two_empty_masks_is_none():
    assert math.isnan(dice(np.zeros(3, bool), np.zeros(3, bool)))


# ---- together -----------------------------------------------------------------------------------------------------------


def test_the_interval_reaches_from_the_lowest_to_the_highest_and_a_margin_further():
    assert combine([0.6, 0.8], 0.7, True, 0.05) == Estimate(
        pytest.approx(0.7), pytest.approx(0.55), pytest.approx(0.85)
    )
    assert combine([0.6, math.nan], 0.99, True, 0.05).high == 1.0
    assert math.isnan(combine([math.nan], math.nan, True, 0.1).value)


def test_epochs_of_one_training_may_only_lower_it():
    alone = combine([0.6, 0.8], math.nan, False, 0.05)
    assert combine([0.6, 0.8], 0.95, False, 0.05) == alone
    assert combine([0.6, 0.8], 0.5, False, 0.05) == Estimate(0.5, pytest.approx(0.45), alone.high)
    assert combine([0.6, 0.8], 0.95, True, 0.05).value > alone.value


def test_a_class_that_should_be_there_and_is_not_has_nothing():
    sizes = SourceSizes(share=1.0, smallest=100.0, largest=200.0)
    assert combine([0.9, 0.9], 0.9, True, 0.0, sizes.complaint(0)) == Estimate(0.0, 0.0, 0.0)
    assert "of its smallest" in sizes.complaint(5) and combine([0.9], 0.9, True, 0.0, sizes.complaint(5)).low == 0
    assert "largest" in sizes.complaint(3000) and sizes.complaint(50) == ""
    assert SourceSizes(share=0.5, smallest=100.0, largest=200.0).complaint(0) == ""  # a tumour need not be there


def test_means_keep_the_intervals_width():
    mean = mean_estimate([Estimate(0.8, 0.7, 0.9), Estimate(0.6, 0.3, 0.7), Estimate(math.nan, math.nan, math.nan)])
    assert (mean.value, mean.low, mean.high) == pytest.approx((0.7, 0.5, 0.8))


@pytest.mark.parametrize(
    ("estimate", "complaints", "expected"),
    [
        (Estimate(0.9, 0.8, 0.95), 0.0, PLAUSIBLE),
        (Estimate(0.9, 0.4, 0.95), 0.0, LOOK),
        (Estimate(0.6, 0.55, 0.65), 0.0, LOOK),
        (Estimate(0.9, 0.8, 0.95), 0.2, LOOK),
        (Estimate(0.9, 0.8, 0.95), 0.5, DO_NOT_USE),
        (Estimate(0.4, 0.1, 0.6), 0.0, DO_NOT_USE),
        (Estimate(math.nan, math.nan, math.nan), 0.0, DO_NOT_USE),
    ],
)
def test_the_worst_class_decides(estimate, complaints, expected):
    word, reasons = verdict({"good": Estimate(0.95, 0.9, 1.0), "other": estimate}, {"other": complaints}, {})
    assert word == expected and (reasons == []) == (expected == PLAUSIBLE)
    assert all(reason.startswith("other: ") for reason in reasons)


def test_a_network_that_fails_on_its_source_is_not_to_be_used():
    doubted = verdict({"one": Estimate(0.95, 0.9, 1.0)}, {}, {}, ["calibrated on itself"])
    assert doubted == (LOOK, ["calibrated on itself"])
    word, reasons = verdict({"one": Estimate(0.9, 0.8, 0.95)}, {}, {"one": 0.3})
    assert word == DO_NOT_USE and "even on the source" in reasons[0]
