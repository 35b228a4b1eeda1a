from __future__ import annotations

import itertools
import math

import pytest
import torch

from nnuda.training.class_relations import class_distances, mean_cosine, separation

K, A = 4, 3
ROWS = torch.randn(K, A, generator=torch.Generator().manual_seed(0))
SOME = torch.tensor([True, False, True, True])


def pairs(valid: torch.Tensor) -> list[tuple[list[float], list[float]]]:
    return list(itertools.combinations(ROWS[valid].tolist(), 2))


@pytest.mark.parametrize("valid", [torch.ones(K, dtype=torch.bool), SOME], ids=["all", "some"])
def test_means_over_pairs_equal_a_loop(valid):
    cosines = [sum(x * y for x, y in zip(a, b)) / (math.hypot(*a) * math.hypot(*b)) for a, b in pairs(valid)]
    distances = [math.dist(a, b) / math.sqrt(A) for a, b in pairs(valid)]
    for function, values in ((mean_cosine, cosines), (separation, distances)):
        value, counted = function(ROWS, valid)
        assert counted and value.item() == pytest.approx(sum(values) / len(values), rel=1e-5)


@pytest.mark.parametrize("function", [mean_cosine, separation])
def test_one_class_has_no_pairs(function):
    rows = torch.where(torch.arange(K)[:, None] == 1, ROWS, torch.nan)  # what is not there may be anything
    value, counted = function(rows, torch.arange(K) == 1)
    assert not counted and value.isfinite()


def test_distances_between_domains():
    other = ROWS + torch.tensor([[0.5], [1], [torch.inf], [-2]])
    distances, counted = class_distances(ROWS, SOME, other, torch.tensor([True, True, False, True]))
    assert counted.tolist() == [True, False, False, True] and distances.isfinite().all()
    torch.testing.assert_close(distances[counted], torch.tensor([0.5, 2.0]))


def test_no_graph_is_kept():
    rows = ROWS.clone().requires_grad_()
    values = [mean_cosine(rows, SOME)[0], separation(rows, SOME)[0], class_distances(rows, SOME, rows, SOME)[0]]
    assert not any(value.requires_grad for value in values)
