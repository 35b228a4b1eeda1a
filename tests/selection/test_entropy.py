from __future__ import annotations

import math

import pytest
import torch

from nnuda.selection.entropy import largest_entropy, voxel_entropy


@pytest.mark.parametrize("classes", [2, 5])
def test_equals_the_equation(classes):
    p = torch.rand(7, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e-3
    p = p / p.sum(1, keepdim=True)
    for n in range(7):
        assert voxel_entropy(p)[n].item() == pytest.approx(-sum(x * math.log(x) for x in p[n].tolist()), abs=1e-12)


def test_regions_are_bernoulli_variables():
    p = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    for n in range(7):
        expected = sum(-x * math.log(x) - (1 - x) * math.log(1 - x) for x in p[n].tolist()) / 3
        assert voxel_entropy(p, regions=True)[n].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("regions", [False, True])
def test_from_nothing_to_the_largest(regions):
    certain, unknown = torch.tensor([[1.0, 0.0, 0.0]]), torch.full((1, 3), 0.5 if regions else 1 / 3)
    assert voxel_entropy(certain, regions).item() == 0
    assert voxel_entropy(unknown, regions).item() == pytest.approx(largest_entropy(3, regions), abs=1e-6)
