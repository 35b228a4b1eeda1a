from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.mean_teacher import mean_teacher_consistency


def naive(student: torch.Tensor, teacher: torch.Tensor, regions: bool) -> float:
    """|| f - f' ||^2 of each voxel over its classes, voxel by voxel."""

    def probabilities(z: list[float]) -> list[float]:
        return [1 / (1 + math.exp(-v)) if regions else math.exp(v) / sum(math.exp(w) for w in z) for v in z]

    channels = student.shape[1]
    voxels = [x.movedim(1, -1).reshape(-1, channels).tolist() for x in (student, teacher)]
    squares = [
        sum((a - b) ** 2 for a, b in zip(probabilities(z), probabilities(y))) / channels for z, y in zip(*voxels)
    ]
    return sum(squares) / len(squares)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_equals_the_naive_loop(size, regions):
    torch.manual_seed(0)
    student, teacher = (2 * torch.randn(2, 3, *size, dtype=torch.float64) for _ in range(2))
    value = mean_teacher_consistency(student, teacher, regions).item()
    assert value == pytest.approx(naive(student, teacher, regions), rel=1e-12)
    assert mean_teacher_consistency(student, student, regions) == 0


def test_gradcheck_and_none_for_the_teacher():
    student, teacher = (torch.randn(1, 3, 2, 2, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda z: mean_teacher_consistency(z, teacher), student)
    mean_teacher_consistency(student, teacher).backward()
    assert student.grad.any() and teacher.grad is None


@pytest.mark.parametrize("regions", [False, True])
def test_half_precision_is_finite(regions):
    z = torch.full((1, 3, 4, 4), 6e4, dtype=torch.float16, requires_grad=True)
    loss = mean_teacher_consistency(z, -z, regions)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and z.grad.isfinite().all()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"got \(1, 2, 4\) and \(1, 3, 4\)"):
        mean_teacher_consistency(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4))
