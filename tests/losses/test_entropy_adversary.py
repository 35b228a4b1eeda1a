from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch.autograd import gradcheck

from nnuda.losses.entropy_adversary import (
    entropy_discriminator,
    entropy_generator,
    entropy_minimisation,
    weighted_self_information,
)


@pytest.mark.parametrize("size", [(2, 3), (2, 3, 2)])
def test_self_information_in_a_loop(size):
    torch.manual_seed(0)
    logits = torch.randn(2, 4, *size, dtype=torch.float64)
    p, maps = logits.softmax(1), weighted_self_information(logits)
    for index in torch.cartesian_prod(*[torch.arange(n) for n in logits.shape]):
        value = p[tuple(index)].item()
        assert maps[tuple(index)].item() == pytest.approx(-value * math.log2(value) / math.log2(4), abs=1e-12)


def test_uniform_and_certain():
    torch.testing.assert_close(weighted_self_information(torch.zeros(1, 5, 2, 2)), torch.full((1, 5, 2, 2), 0.2))
    certain = torch.tensor([[300.0, 0, 0]]).view(1, 3, 1, 1)
    assert (weighted_self_information(certain) == 0).all()
    torch.testing.assert_close(weighted_self_information(torch.zeros(1, 2, 3, 3), regions=True), torch.ones(1, 2, 3, 3))
    assert (weighted_self_information(certain, regions=True)[0, 0] == 0).all()


@pytest.mark.parametrize("regions", [False, True])
def test_gradcheck_and_half_precision(regions):
    torch.manual_seed(0)
    assert gradcheck(
        lambda z: weighted_self_information(z, regions),
        torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True),
    )
    z = torch.full((1, 3, 2, 2), 60_000.0).half()
    z[:, 0] = -60_000
    z.requires_grad_()
    weighted_self_information(z, regions).sum().backward()
    assert z.grad.isfinite().all() and weighted_self_information(z, regions).dtype == torch.float32


def test_losses_are_binary_cross_entropies():
    torch.manual_seed(0)
    s, t = torch.randn(2, 1, 4, 4), torch.randn(3, 1, 4, 4)
    ones, bce = torch.ones_like, F.binary_cross_entropy_with_logits
    torch.testing.assert_close(entropy_generator(t), bce(t, 0 * t))
    torch.testing.assert_close(entropy_discriminator(s, t), (bce(s, 0 * s) + bce(t, ones(t))) / 2)
    zero = torch.zeros(2, 1, 3, 3, 3)
    assert (
        entropy_generator(zero).item()
        == pytest.approx(math.log(2))
        == pytest.approx(entropy_discriminator(zero, zero).item())
    )


def test_the_two_pull_apart():
    scores = torch.randn(2, 1, 4, 4, requires_grad=True)
    (generator,) = torch.autograd.grad(entropy_generator(scores), scores)
    (discriminator,) = torch.autograd.grad(entropy_discriminator(torch.zeros(1), scores), scores)
    assert (generator > 0).all() and (discriminator < 0).all()


def test_one_class_has_no_entropy():
    with pytest.raises(ValueError, match="at least two classes"):
        weighted_self_information(torch.zeros(1, 1, 2, 2))


@pytest.mark.parametrize("size", [(2, 3), (2, 3, 2)])
def test_minimised_entropy_voxel_by_voxel(size):
    """Equation 2 of ADVENT, its mean over the voxels; regions: of binary entropies in bits."""
    torch.manual_seed(0)
    logits = torch.randn(2, 4, *size, dtype=torch.float64)
    voxels = logits.movedim(1, -1).reshape(-1, 4)
    softmax = [[math.exp(v) / sum(math.exp(w) for w in z) for v in z] for z in voxels.tolist()]
    expected = sum(-sum(p * math.log(p) for p in voxel) / math.log(4) for voxel in softmax) / len(softmax)
    assert entropy_minimisation(logits).item() == pytest.approx(expected, rel=1e-12)
    sigmoid = [1 / (1 + math.exp(-v)) for v in voxels.flatten().tolist()]
    expected = sum(-p * math.log2(p) - (1 - p) * math.log2(1 - p) for p in sigmoid) / len(sigmoid)
    assert entropy_minimisation(logits, regions=True).item() == pytest.approx(expected, rel=1e-12)
