from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.entropy import entropy, entropy_terms, largest_entropy, self_information


@pytest.mark.parametrize("classes", [2, 5])
def test_equals_the_equation(classes):
    p = torch.rand(7, classes, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 1e-3
    p = p / p.sum(1, keepdim=True)
    for n in range(7):
        assert entropy(p)[n].item() == pytest.approx(-sum(x * math.log(x) for x in p[n].tolist()), abs=1e-12)


def test_regions_are_bernoulli_variables():
    p = torch.rand(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 0.98 + 0.01
    for n in range(7):
        expected = sum(-x * math.log(x) - (1 - x) * math.log(1 - x) for x in p[n].tolist()) / 3
        assert entropy(p, regions=True)[n].item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("regions", [False, True])
def test_from_nothing_to_the_largest(regions):
    certain, unknown = torch.tensor([[1.0, 0.0, 0.0]]), torch.full((1, 3), 0.5 if regions else 1 / 3)
    assert entropy(certain, regions).item() == 0
    assert entropy(unknown, regions).item() == pytest.approx(largest_entropy(3, regions), abs=1e-6)


@pytest.mark.parametrize("regions", [False, True])
def test_of_logits_and_along_another_axis(regions):
    logits = torch.randn(2, 3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    p = logits.sigmoid() if regions else logits.softmax(1)
    terms = self_information(logits, regions)
    torch.testing.assert_close(terms.mean(1) if regions else terms.sum(1), entropy(p, regions))
    torch.testing.assert_close(entropy(p.movedim(1, -1), regions, dim=-1), entropy(p, regions))


def test_a_papers_floor_within_the_logarithm():
    p = torch.tensor([0.0, 0.3, 1.0], dtype=torch.float64)
    expected = [-x * math.log(x + 1e-3) for x in p.tolist()]
    assert entropy_terms(p, 1e-3).tolist() == pytest.approx(expected, abs=1e-12)
    assert entropy_terms(p).tolist() == pytest.approx([0, -0.3 * math.log(0.3), 0], abs=1e-12)
