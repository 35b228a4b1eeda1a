from __future__ import annotations

import math

import pytest
import torch

from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss, deeply_supervised

EPS = 1e-5


def probabilities(z: list[float], regions: bool) -> list[float]:
    if regions:
        return [1 / (1 + math.exp(-v)) for v in z]
    return [math.exp(v) / sum(math.exp(w) for w in z) for v in z]


def naive(student: torch.Tensor, teacher: torch.Tensor, confidence: float, regions: bool) -> float:
    """Voxel by voxel: cross-entropy over confident voxels, Dice over the classes that the teacher is confident of."""
    channels = student.shape[1]
    voxels = [x.movedim(1, -1).reshape(-1, channels).tolist() for x in (student, teacher)]
    cross_entropy, confident = 0.0, 0
    sums = [[0.0, 0.0, 0.0] for _ in range(channels)]
    for z_student, z_teacher in zip(*voxels):
        p, q = probabilities(z_student, regions), probabilities(z_teacher, regions)
        for c in range(channels):
            y = q[c] > 0.5 if regions else q[c] == max(q)
            if (max(q[c], 1 - q[c]) if regions else max(q)) <= confidence:
                continue
            sums[c][0] += y * p[c]
            sums[c][1] += p[c]
            sums[c][2] += y
            if regions:
                cross_entropy -= math.log(p[c] if y else 1 - p[c])
                confident += 1
            elif y:
                cross_entropy -= math.log(p[c])
                confident += 1
    dice = [1 - (2 * i + EPS) / (p + y + EPS) for i, p, y in sums[0 if regions else 1 :] if y > 0]
    return (cross_entropy / confident if confident else 0.0) + (sum(dice) / len(dice) if dice else 0.0)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(3, 4, 3, 4), (2, 2, 2, 3, 2)])
def test_equals_the_naive_loop(regions, shape):
    torch.manual_seed(0)
    student, teacher = (3 * torch.randn(shape, dtype=torch.float64) for _ in range(2))
    for confidence in (0.0, 0.8, 0.99):
        loss = confident_pseudo_label_loss(student, teacher, confidence, regions)
        assert loss.item() == pytest.approx(naive(student, teacher, confidence, regions), rel=1e-9)


@pytest.mark.parametrize("regions", [False, True])
def test_gradcheck(regions):
    torch.manual_seed(0)
    student = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    teacher = 3 * torch.randn(2, 3, 2, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: confident_pseudo_label_loss(x, teacher, 0.8, regions), student)


@pytest.mark.parametrize("regions", [False, True])
def test_gradient_reaches_the_student_where_the_teacher_is_confident_and_never_the_teacher(regions):
    torch.manual_seed(0)
    student = torch.randn(2, 3, 4, 4, requires_grad=True)
    teacher = (3 * torch.randn(2, 3, 4, 4)).requires_grad_()
    confident_pseudo_label_loss(student, teacher, 0.8, regions).backward()
    assert teacher.grad is None
    if regions:
        q = teacher.sigmoid()
        confident = torch.maximum(q, 1 - q) > 0.8
    else:
        confident = (teacher.softmax(1).amax(1, keepdim=True) > 0.8).expand_as(student)
    assert 0 < confident.sum() < confident.numel()
    assert (student.grad[confident] != 0).all() and (student.grad[~confident] == 0).all()


@pytest.mark.parametrize("regions", [False, True])
def test_nothing_confident_is_zero_with_a_graph_and_zero_gradient(regions):
    student, teacher = torch.randn(2, 3, 4, 4, requires_grad=True), torch.zeros(2, 3, 4, 4)
    loss = confident_pseudo_label_loss(student, teacher, 0.9, regions)
    loss.backward()
    assert loss.item() == 0 and torch.equal(student.grad, torch.zeros_like(student))


def test_confident_background_alone_is_its_cross_entropy():
    """No foreground class present: no Dice term, which an all-background prediction would fail or pass by eps."""
    student, teacher = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    teacher[:, 0] = 20
    assert confident_pseudo_label_loss(student, teacher, 0.9).item() == pytest.approx(math.log(2), abs=1e-6)


def test_agreement_has_no_loss():
    teacher = 100 * torch.nn.functional.one_hot(torch.randint(0, 3, (2, 6, 6)), 3).movedim(-1, 1).float()
    assert confident_pseudo_label_loss(teacher, teacher, 0.9).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("regions", [False, True])
@pytest.mark.parametrize("shape", [(1, 2, 1, 1), (2, 3, 4, 4, 4)])
def test_fp16_of_any_size_is_finite(regions, shape):
    torch.manual_seed(0)
    student, teacher = ((6e4 * torch.randint(-1, 2, shape)).half() for _ in range(2))
    student.requires_grad_()
    loss = confident_pseudo_label_loss(student, teacher, 0.9, regions)
    loss.backward()
    assert loss.dtype == torch.float32 and loss.isfinite() and student.grad.isfinite().all()


def test_autocast_does_not_change_the_value():
    torch.manual_seed(0)
    student, teacher = torch.randn(2, 3, 8, 8), 3 * torch.randn(2, 3, 8, 8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = confident_pseudo_label_loss(student, teacher, 0.8)
    assert torch.equal(inside, confident_pseudo_label_loss(student, teacher, 0.8))


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"got \(1, 2, 4\) and \(1, 3, 4\)"):
        confident_pseudo_label_loss(torch.zeros(1, 2, 4), torch.zeros(1, 3, 4), 0.9)
    with pytest.raises(ValueError, match="background first"):
        confident_pseudo_label_loss(torch.zeros(1, 1, 4), torch.zeros(1, 1, 4), 0.9)


@pytest.mark.parametrize("regions", [False, True])
def test_a_threshold_for_each_class_is_that_of_the_called_label(regions):
    """Against the loss with one threshold on logits in which only that class's voxels are left to count."""
    torch.manual_seed(3)
    student, teacher = torch.randn(2, 3, 6, 6, dtype=torch.float64), 2 * torch.randn(2, 3, 6, 6, dtype=torch.float64)
    thresholds = torch.tensor([0.9, 0.5, 0.7], dtype=torch.float64)
    value = confident_pseudo_label_loss(student, teacher, thresholds, regions)
    if regions:
        kept = torch.stack([torch.maximum(p, 1 - p) > t for p, t in zip(teacher.sigmoid().unbind(1), thresholds)], 1)
        unsure = torch.where(kept, teacher, torch.zeros_like(teacher))  # probability 0.5: counts nowhere
    else:
        p, label = teacher.softmax(1).max(1)
        kept = p > torch.tensor([thresholds[c] for c in label.flatten()]).view_as(p)
        unsure = torch.where(kept[:, None], teacher.double() * 1e3, torch.zeros_like(teacher))
    floor = 0.5 if regions else 0.34  # three equal classes have 1/3 each
    assert value.item() == pytest.approx(confident_pseudo_label_loss(student, unsure, floor, regions).item(), rel=1e-9)


def test_deep_supervision_is_the_weighted_sum_over_nearest_labels():
    torch.manual_seed(4)
    teacher = 3 * torch.randn(1, 2, 8, 8)
    students = [torch.randn(1, 2, 8, 8), torch.randn(1, 2, 4, 4), torch.randn(1, 2, 2, 2)]
    weights = (0.6, 0.4, 0.0)
    expected = 0.6 * confident_pseudo_label_loss(students[0], teacher, 0.8)
    expected += 0.4 * confident_pseudo_label_loss(students[1], teacher[:, :, 1::2, 1::2], 0.8)
    assert deeply_supervised(students, teacher, weights, 0.8).item() == pytest.approx(expected.item(), rel=1e-6)
