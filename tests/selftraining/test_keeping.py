"""Each rule on arrays whose answer is known by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnuda.selftraining.keeping import (
    BINS,
    ClassPrior,
    Rules,
    Vote,
    class_threshold,
    confidence_histogram,
    confident,
    implausible,
    in_one_piece,
    is_cut,
    keep,
    largest_component,
    largest_share,
    plausible_volumes,
)

IGNORE = 9


def said(label: list, confidence: float | list = 1.0, agreeing: int | list = 1, members: int = 1) -> Vote:
    label = np.array(label, np.uint8)
    full = [np.broadcast_to(np.array(a, kind), label.shape) for a, kind in ((confidence, "f2"), (agreeing, "u1"))]
    return Vote(label, *full, members)


def prior(**changes) -> ClassPrior:
    return ClassPrior(**{"name": "a", "in_one_piece": False, "always_there": False, "volumes": None, **changes})


def test_a_voxel_needs_its_class_s_confidence():
    vote = said([[0, 0, 1, 1]], [[0.89, 0.9, 0.7, 0.65]])
    assert confident(vote, Rules({0: 0.9, 1: 0.7})).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(("share", "expected"), [(1.0, [0, 0, 1]), (2 / 3, [0, 1, 1]), (0.0, [1, 1, 1])])
def test_members_agree(share, expected):
    vote = said([[1, 1, 1]], 1.0, [[1, 2, 3]], members=3)
    assert confident(vote, Rules({1: 0.5}, agreement=share)).tolist() == [[bool(e) for e in expected]]


def test_a_class_wise_threshold_keeps_the_most_confident_share():
    confidence = [[0.5, 0.625, 0.75, 0.875]]
    histogram = confidence_histogram(said([[1, 1, 1, 1]], confidence), 1)
    assert histogram.shape == (BINS,) and histogram.sum() == 4
    assert class_threshold(histogram, 0.9, 0.5) == 0.75  # two of four
    assert class_threshold(histogram, 0.9, 0.51) == 0.625
    assert class_threshold(histogram, 0.6, 0.5) == 0.6  # the fixed one keeps more
    assert class_threshold(histogram, 0.9, 0.0) == 0.9
    assert class_threshold(np.zeros(BINS, int), 0.9, 0.5) == 0.9


def test_components_touch_by_corners():
    mask = np.array([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 1, 0]], bool)
    assert largest_component(mask).tolist() == np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]], bool).tolist()
    assert largest_share(mask) == 0.75
    assert not largest_component(np.zeros((2, 2), bool)).any()


def test_one_piece_is_99_percent_in_95_percent_of_the_cases():
    assert in_one_piece([0.99] * 19 + [0.5]) and not in_one_piece([0.99] * 18 + [0.5] * 2)
    assert not in_one_piece([0.98] * 20) and not in_one_piece([])


def test_a_class_at_the_border_may_be_cut_but_not_along_an_axis_of_one_slice():
    inside = np.zeros((1, 3, 3), bool)
    inside[0, 1, 1] = True
    assert not is_cut(inside) and is_cut(np.roll(inside, 1, 1)) and is_cut(np.roll(inside, -1, 2))


def test_the_range_of_sizes():
    # logarithms 0, 1, 2, 3, 4 (times ln 10): median 2, MAD 1
    low, high = plausible_volumes([1, 10, 100, 1000, 10000], spread=1.0)
    assert math.log10(low) == pytest.approx(2 - 1.4826) and math.log10(high) == pytest.approx(2 + 1.4826)
    assert plausible_volumes([8.0] * 5, 3.0) == pytest.approx((4, 16))  # never narrower
    assert plausible_volumes([8.0] * 4, 3.0) is None  # too few
    assert plausible_volumes([8.0] * 5, 0) is None


def test_sizes_and_the_field_of_view():
    mask = np.zeros((5, 5), bool)
    mask[2, 2] = True
    sized = prior(volumes=(4.0, 16.0))
    assert implausible(mask, 1.0, sized) == "too small (1, at least 4)"
    assert implausible(mask, 4.0, sized) == "" and implausible(mask, 17.0, sized).startswith("too large (17, at most")
    at_border = np.roll(mask, 2, 0)
    assert implausible(at_border, 1.0, sized) == ""  # may be cut
    assert implausible(at_border, 17.0, sized).startswith("too large")  # cut or not
    nothing = np.zeros((5, 5), bool)
    assert implausible(nothing, 1.0, prior(always_there=True)) == "missing" and not implausible(nothing, 1.0, prior())


def test_all_rules_on_a_case():
    label = [[1, 1, 0, 1, 0, 2, 0], [1, 1, 0, 0, 0, 2, 0]]
    confidence = [[1, 1, 1, 1, 1, 1, 0.5], [1, 0.5, 1, 1, 1, 1, 1]]
    priors = {1: prior(in_one_piece=True), 2: prior(name="b", volumes=(10.0, 20.0)), 3: prior(name="c")}
    rules = Rules({0: 0.9, 1: 0.9, 2: 0.9, 3: 0.9})
    # class 2 touches the border: it may be small
    kept = keep(said(label, confidence), priors, rules, 1.0, IGNORE)
    assert kept.label.tolist() == [[1, 1, 0, 9, 0, 2, 9], [1, 9, 0, 0, 0, 2, 0]]
    assert kept.voxels == {
        "predicted": {0: 7, 1: 5, 2: 2},
        "voxel": {0: 6, 1: 4, 2: 2},
        "component": {0: 6, 1: 3, 2: 2},
        "kept": {0: 6, 1: 3, 2: 2},
    }
    assert not kept.outside and not kept.left_out
    # class 2 too large: its voxels become ignore, the others stay
    kept = keep(said(label, confidence), priors, rules, 20.0, IGNORE)
    assert kept.label.tolist() == [[1, 1, 0, 9, 0, 9, 9], [1, 9, 0, 0, 0, 9, 0]]
    assert list(kept.outside) == [2] and not kept.left_out and 2 not in kept.voxels["kept"]
    every = keep(said(label, confidence), priors, Rules(rules.confidence, components=False), 1.0, IGNORE)
    assert every.label[0, 3] == 1


def test_a_case_is_left_out():
    rules = Rules({0: 0.9, 1: 0.9, 2: 0.9})
    always = {1: prior(always_there=True), 2: prior(name="b", always_there=True)}
    one_missing = keep(said([[0, 1, 0]]), always, rules, 1.0, IGNORE)
    assert one_missing.outside == {2: "missing"} and not one_missing.left_out  # half of the classes is not most
    both_missing = keep(said([[0, 0, 0]]), always, rules, 1.0, IGNORE)
    assert both_missing.left_out == "2 of 2 classes are missing or of implausible size"
    unsure = keep(said([[0, 1, 0]], [[1, 0.5, 1]]), {1: prior(), 2: prior()}, rules, 1.0, IGNORE)
    assert unsure.left_out == "nothing of any class is kept"
    empty = keep(said([[0, 0, 0]]), {1: prior(), 2: prior()}, rules, 1.0, IGNORE)
    assert not empty.left_out  # the source may have such cases
