from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.masked_consistency import masked_consistency


def naive(student: torch.Tensor, teacher: torch.Tensor, tau: float, regions: bool) -> float:
    """q^T times the mean cross-entropy with the teacher's labels, image by image, voxel by voxel."""
    images = []
    for z, y in zip(student, teacher):
        voxels = list(zip(z.flatten(1).T.tolist(), y.flatten(1).T.tolist()))
        losses, sure = [], []
        for a, b in voxels:
            if regions:
                for v, w in zip(a, b):
                    q, p = 1 / (1 + math.exp(-v)), 1 / (1 + math.exp(-w))
                    losses.append(-math.log(q if p > 0.5 else 1 - q))
                    sure.append(max(p, 1 - p) > tau)
            else:
                label = b.index(max(b))
                losses.append(-math.log(math.exp(a[label]) / sum(map(math.exp, a))))
                sure.append(math.exp(b[label]) / sum(map(math.exp, b)) > tau)
        images.append(sum(sure) / len(sure) * sum(losses) / len(losses))
    return sum(images) / len(images)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_equals_the_naive_loop(size, regions):
    torch.manual_seed(0)
    student, teacher = (2 * torch.randn(3, 3, *size, dtype=torch.float64) for _ in range(2))
    value = masked_consistency(student, teacher, 0.8, regions).item()
    assert value == pytest.approx(naive(student, teacher, 0.8, regions), rel=1e-12) and value > 0


def test_gradcheck_and_none_for_the_teacher():
    student, teacher = (torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda z: masked_consistency(z, teacher, 0.4), student)
    masked_consistency(student, teacher, 0.4).backward()
    assert student.grad.any() and teacher.grad is None


@pytest.mark.parametrize("regions", [False, True])
def test_an_unsure_teacher_teaches_nothing_and_keeps_the_graph(regions):
    student, teacher = torch.randn(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 3, 4, 4)
    loss = masked_consistency(student, teacher, 0.9, regions)
    loss.backward()
    assert loss == 0 and not student.grad.any()


@pytest.mark.parametrize("regions", [False, True])
def test_half_precision_is_finite(regions):
    z = torch.full((1, 3, 4, 4), 6e4, dtype=torch.float16, requires_grad=True)
    loss = masked_consistency(z, -z, 0.5, regions)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and z.grad.isfinite().all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(1, 2, 4\) and \(1, 3, 4\)"):
        masked_consistency(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), 0.9)
