"""All scores of a network at once, in batches, against each score of all voxels."""

from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.entropy import entropy
from nnuda.selection.agreement import agreement, overlap
from nnuda.selection.class_prior import class_prior_distance, foreground
from nnuda.selection.density import alike_of_each_class, soft_neighbourhood_density
from nnuda.selection.patches import SourceShares, TargetPatches
from nnuda.selection.score import score_target

CPU = torch.device("cpu")
SOURCE = SourceShares([0.2, 0.3, 0.1], [True, False, True])


def patches(shape: tuple[int, ...], sampled: int = 90) -> TargetPatches:
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(5, 1, *shape, generator=generator)
    inside = torch.rand(5, *shape, generator=generator) > 0.3
    voxels = torch.randperm(inside.numel(), generator=generator)[:sampled]
    return TargetPatches(image, inside, voxels[inside.flatten()[voxels]])


def network(channels: int, seed: int, dim: int):
    torch.manual_seed(seed)
    layer = (torch.nn.Conv2d if dim == 2 else torch.nn.Conv3d)(1, channels, 3, padding=1)
    return lambda image: 3 * layer(image)


@pytest.mark.parametrize("shape", [(8, 9), (4, 5, 6)])
@pytest.mark.parametrize("regions", [False, True])
def test_batches_give_what_all_voxels_at_once_give(shape, regions):
    made, channels = patches(shape), 3 if regions else 4
    predict, second = (network(channels, seed, len(shape)) for seed in (1, 2))
    scores = score_target(made, SOURCE, predict, second, 2, regions, 60, 0.05, CPU)

    def probabilities(model):
        logits = model(made.image).detach().movedim(1, -1)
        return logits.sigmoid() if regions else logits.softmax(-1)

    p, q = probabilities(predict), probabilities(second)
    a, b = foreground(p[made.inside], regions), foreground(q[made.inside], regions)
    shares = a.float().mean(0).tolist()
    assert scores["entropy"] == pytest.approx(entropy(p[made.inside], regions).mean().item(), abs=1e-6)
    assert scores["class_shares"] == pytest.approx(shares, abs=1e-7)
    watched = class_prior_distance(shares[::2], [0.2, 0.1], int(made.inside.sum()))
    assert scores["class_prior"] == pytest.approx(watched, abs=1e-5)
    assert scores["agreement"] == agreement(overlap(a, b))
    size, order = made.inside[0].numel(), []  # batch by batch, within one in the order of the draw
    for start in (0, 2, 4):
        order += [v for v in made.sampled.tolist() if start * size <= v < (start + 2) * size]
    density = p.reshape(-1, channels)[order]
    density = density[alike_of_each_class(foreground(density, regions), 60)]
    density = torch.cat((density, 1 - density), 1) if regions else density
    assert scores["density"] == pytest.approx(soft_neighbourhood_density(density), abs=1e-6)


def test_what_cannot_be_computed_is_none():
    made = patches((8, 9))
    scores = score_target(made, SourceShares([0.2] * 3, [False] * 3), network(4, 1, 2), None, 2, False, 60, 0.05, CPU)
    assert scores["agreement"] is None and scores["class_prior"] is None and scores["entropy"] > 0

    def nowhere(image):
        return image.expand(-1, 4, -1, -1) * math.nan

    broken = score_target(made, SOURCE, nowhere, None, 2, False, 60, 0.05, CPU)
    assert broken["entropy"] is None and broken["density"] is None


def test_no_gradient_and_no_random_number():
    made, predict = patches((8, 9)), network(4, 1, 2)
    before, seen = torch.get_rng_state(), []
    score_target(made, SOURCE, lambda image: seen.append(predict(image)) or seen[-1], None, 2, False, 60, 0.05, CPU)
    assert torch.equal(before, torch.get_rng_state()) and not any(logits.requires_grad for logits in seen)
