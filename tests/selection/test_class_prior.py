from __future__ import annotations

import math

import pytest
import torch

from nnuda.selection.class_prior import class_prior_distance, foreground


def test_equals_the_equation():
    shares, source, voxels = [0.02, 0.3, 0.0], [0.04, 0.1, 0.001], 5000
    expected = 0
    for q, pi in zip(shares, source):
        expected += abs(math.log((voxels * q + 1) / (voxels * pi + 1)))
    assert class_prior_distance(shares, source, voxels) == pytest.approx(expected / 3, abs=1e-12)


def test_a_factor_counts_alike_in_both_directions_and_for_all_sizes():
    for share in (0.1, 0.001):
        doubled, halved = (class_prior_distance([share * factor], [share], 10**9) for factor in (2, 0.5))
        assert doubled == pytest.approx(math.log(2), abs=1e-5) and halved == pytest.approx(math.log(2), abs=1e-5)
    assert class_prior_distance([0.2, 0.3], [0.2, 0.3], 100) == 0


def test_a_vanished_small_class_weighs_more_than_a_large_one_that_is_off():
    vanished, off = (class_prior_distance(shares, [0.1, 0.001], 10**6) for shares in ([0.1, 0.0], [0.2, 0.001]))
    assert vanished > 4 * off and math.isfinite(vanished)


def test_a_share_too_few_is_an_error():
    with pytest.raises(ValueError, match="got 1 and 2"):
        class_prior_distance([0.1], [0.1, 0.2], 10)


def test_foreground_is_nnunets_decision():
    p = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.1, 0.8, 0.1]])
    assert foreground(p).tolist() == [[False, False], [False, True], [True, False]]
    assert foreground(torch.tensor([[0.6, 0.7], [0.5, 0.51]]), regions=True).tolist() == [[True, True], [False, True]]
