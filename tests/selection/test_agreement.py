from __future__ import annotations

import pytest
import torch

from nnuda.selection.agreement import agreement, mirrored, overlap


def masks(seed: int, voxels: int = 60, classes: int = 3) -> torch.Tensor:
    return torch.rand(voxels, classes, generator=torch.Generator().manual_seed(seed)) > 0.6


def test_equals_the_mean_dice_of_a_loop():
    a, b = masks(0), masks(1)
    a[:, 1] = b[:, 1] = False  # nowhere: not in the mean
    expected = []
    for c in (0, 2):
        both = sum(bool(x and y) for x, y in zip(a[:, c], b[:, c]))
        expected.append(2 * both / (a[:, c].sum().item() + b[:, c].sum().item()))
    assert agreement(overlap(a, b)) == pytest.approx(sum(expected) / 2, abs=1e-12)


def test_batches_add_up():
    a, b = masks(0), masks(1)
    assert torch.equal(overlap(a[:20], b[:20]) + overlap(a[20:], b[20:]), overlap(a, b))


def test_one_without_the_other_is_zero_and_so_is_nothing_at_all():
    a, nothing = masks(0), torch.zeros(60, 3, dtype=torch.bool)
    assert agreement(overlap(a, a)) == 1
    assert agreement(overlap(a, nothing)) == 0
    assert agreement(overlap(nothing, nothing)) == 0


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 1)])
def test_a_prediction_that_knows_no_direction_agrees_with_its_mirror_image(axes):
    image = torch.rand(2, 1, 4, 6)
    assert torch.equal(mirrored(lambda x: 2 * x, axes)(image), 2 * image)
    ramp = torch.arange(4.0).view(4, 1) * 10 + torch.arange(6.0)
    told = mirrored(lambda x: x + ramp, axes)(image) - image
    expected = ramp.flip(axes)
    torch.testing.assert_close(told, expected.expand_as(told))
