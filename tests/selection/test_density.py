from __future__ import annotations

import math

import pytest
import torch

from nnuda.selection.density import alike_of_each_class, soft_neighbourhood_density


def naive(p: list[list[float]], tau: float) -> float:
    unit = [[x / math.sqrt(sum(y * y for y in row)) for x in row] for row in p]
    total = 0
    for i in range(len(unit)):
        weights = [math.exp(sum(a * b for a, b in zip(unit[i], unit[j])) / tau) for j in range(len(unit)) if j != i]
        total -= sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)
    return total / len(unit) / math.log(len(unit) - 1)


@pytest.mark.parametrize("tau", [0.05, 0.5])
def test_equals_the_equation(tau):
    p = torch.rand(30, 4, generator=torch.Generator().manual_seed(0)).softmax(1)
    assert soft_neighbourhood_density(p, tau) == pytest.approx(naive(p.tolist(), tau), abs=1e-5)


def test_one_cluster_is_the_largest_and_more_are_less():
    one = torch.eye(4)[:1].expand(40, 4)
    two, four = (torch.eye(4)[torch.arange(40) % k] for k in (2, 4))
    assert soft_neighbourhood_density(one) == pytest.approx(1, abs=1e-6)
    assert soft_neighbourhood_density(two) == pytest.approx(math.log(19) / math.log(39), abs=1e-4)
    assert soft_neighbourhood_density(four) == pytest.approx(math.log(9) / math.log(39), abs=1e-4)


def test_two_voxels_have_no_density():
    assert math.isnan(soft_neighbourhood_density(torch.rand(2, 3)))


def test_each_class_gives_as_many_voxels():
    rare = torch.tensor([[False, False]] * 50 + [[True, False]] * 20 + [[False, True]] * 3)
    chosen = alike_of_each_class(rare, 30)
    groups = [tuple(rare[i].tolist()) for i in chosen.tolist()]
    assert [groups.count(group) for group in ((False, False), (True, False), (False, True))] == [10, 10, 3]
    assert len(set(chosen.tolist())) == len(chosen)
    assert sorted(chosen.tolist())[:10] == list(range(10))  # the first ones: the order is the caller's draw
