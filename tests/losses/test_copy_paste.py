from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.copy_paste import copy_paste_loss

EPS = 1e-5


def naive_part(z: torch.Tensor, label: torch.Tensor, mask: torch.Tensor, regions: bool) -> float:
    """Voxel by voxel over one part of the mixed image."""
    channels, entropy, count = z.shape[1], 0.0, 0
    sums = [[0.0, 0.0, 0.0] for _ in range(channels)]
    for index in mask.nonzero().tolist():
        voxel = z[(index[0], slice(None), *index[1:])].tolist()
        if regions:
            p = [1 / (1 + math.exp(-v)) for v in voxel]
            y = label[(index[0], slice(None), *index[1:])].tolist()
            entropy -= sum(math.log(q if on else 1 - q) for q, on in zip(p, y)) / channels
        else:
            total = sum(math.exp(v) for v in voxel)
            p = [math.exp(v) / total for v in voxel]
            y = [label[tuple(index)].item() == c for c in range(channels)]
            entropy -= math.log(p[y.index(True)])
        count += 1
        for s, q, on in zip(sums, p, y):
            s[0] += q * on
            s[1] += q
            s[2] += on
    dice = [1 - (2 * i + EPS) / (p + y + EPS) for i, p, y in sums[0 if regions else 1 :] if y > 0]
    return ((entropy / count if count else 0) + (sum(dice) / len(dice) if dice else 0)) / 2


def case(shape: tuple[int, ...], regions: bool):
    torch.manual_seed(0)
    z = torch.randn(shape, dtype=torch.float64)
    labels = [torch.rand(shape) > 0.5 if regions else torch.randint(shape[1], (shape[0], *shape[2:])) for _ in range(2)]
    from_source, kept = (torch.rand(shape[0], *shape[2:]) > share for share in (0.4, 0.2))
    return z, *labels, from_source, kept


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (2, 2, 3, 2, 3)])
def test_equals_the_naive_loop(shape, regions):
    z, label_s, label_t, from_source, kept = case(shape, regions)
    loss = copy_paste_loss(z, label_s, label_t, from_source, kept, 0.5, regions)
    expected = naive_part(z, label_s, from_source & kept, regions) + 0.5 * naive_part(z, label_t, ~from_source, regions)
    assert loss.item() == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("regions", [False, True])
def test_gradcheck(regions):
    z, label_s, label_t, from_source, kept = case((2, 3, 2, 3), regions)
    assert torch.autograd.gradcheck(
        lambda v: copy_paste_loss(v, label_s, label_t, from_source, kept, 0.5, regions), z.requires_grad_()
    )


@pytest.mark.parametrize("regions", [False, True])
def test_each_voxel_learns_from_its_own_label_and_an_ignored_one_from_none(regions):
    z, label_s, label_t, from_source, kept = case((2, 3, 4, 5), regions)
    z.requires_grad_()
    copy_paste_loss(z, label_s, label_t, from_source, kept, 0.0, regions).backward()
    learns = z.grad.abs().sum(1) > 0
    assert torch.equal(learns, from_source & kept)
    other = torch.where((from_source[:, None] if regions else from_source), 0, label_t.long()).to(label_t.dtype)
    assert copy_paste_loss(z, label_s, other, from_source, kept, 0.5, regions) == copy_paste_loss(
        z, label_s, label_t, from_source, kept, 0.5, regions
    )


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_finite_where_a_part_is_empty(regions, dtype):
    z = torch.full((1, 2, 1, 1), 60000.0 if dtype == torch.float16 else 2.0, dtype=dtype, requires_grad=True)
    label = torch.ones((1, 2, 1, 1) if regions else (1, 1, 1), dtype=torch.long)
    for from_source in (True, False):
        loss = copy_paste_loss(
            z, label, label, torch.full((1, 1, 1), from_source), torch.zeros(1, 1, 1, dtype=torch.bool), 0.5, regions
        )
        loss.backward()
        assert loss.isfinite() and z.grad.isfinite().all()
