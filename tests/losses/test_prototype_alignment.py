from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from nnuda.labels import label_masks
from nnuda.losses.class_prototypes import class_sums
from nnuda.losses.prototype_alignment import prototype_alignment
from nnuda.statistics.class_memory import ClassMemory

K, A = 5, 6
ALL = torch.ones(K, dtype=torch.bool)


def rows(seed: int) -> torch.Tensor:
    return torch.randn(K, A, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("normalized", [False, True])
def test_equals_the_equation_in_a_loop(normalized):
    s, t = rows(0), rows(1)
    valid_s, valid_t = torch.tensor([1, 1, 0, 1, 1]).bool(), torch.tensor([1, 0, 0, 1, 1]).bool()
    expected = 0.0
    for k in (0, 3, 4):
        a, b = ((row / row.norm() if normalized else row).tolist() for row in (s[k], t[k]))
        expected += sum((x - y) ** 2 for x, y in zip(a, b)) / A
    assert prototype_alignment(s, valid_s, t, valid_t, normalized).item() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("normalized", [False, True])
def test_gradcheck(normalized):
    inputs = rows(0).requires_grad_(), rows(1).requires_grad_()
    assert gradcheck(lambda s, t: prototype_alignment(s, ALL, t, ALL, normalized), inputs)


@pytest.mark.parametrize("detach_source", [False, True])
def test_both_sides_move_or_the_target_alone(detach_source):
    s, t = rows(0).requires_grad_(), rows(1).requires_grad_()
    prototype_alignment(s, ALL, t, ALL, detach_source=detach_source).backward()
    assert t.grad.abs().sum() > 0
    assert s.grad is None if detach_source else torch.allclose(s.grad, -t.grad)


@pytest.mark.parametrize("size", [(8, 8), (4, 4, 4)])
def test_a_constant_shift_between_the_domains(size):
    """0.1 in every channel: 0.01 per class. Identical domains: 0."""
    torch.manual_seed(0)
    features = torch.randn(2, A, *size, dtype=torch.float64)
    masks = label_masks(torch.randint(K, (2, 1, *size)), K, size)
    streams = [ClassMemory(K, A, 0).double().blend(*class_sums(f, masks)) for f in (features, features + 0.1)]
    assert prototype_alignment(*streams[0], *streams[1]).item() == pytest.approx(K * 0.01, abs=1e-12)
    assert prototype_alignment(*streams[0], *streams[0]).item() == 0


def test_an_absent_class_counts_with_what_is_remembered_and_gives_no_gradient():
    memories = [ClassMemory(2, A, 0.01).double() for _ in range(2)]
    for memory, seed in zip(memories, (0, 1)):
        memory.update(rows(seed)[:2], ALL[:2])
    sums = [rows(seed)[:2].clone().requires_grad_() for seed in (0, 1)]
    counts = torch.tensor([1.0, 0.0], dtype=torch.float64)
    loss = prototype_alignment(*memories[0].blend(sums[0], counts), *memories[1].blend(sums[1], counts))
    loss.backward()
    assert loss.item() == pytest.approx((rows(0) - rows(1))[:2].square().mean(1).sum().item())
    assert sums[0].grad[0].abs().sum() > 0 and (sums[0].grad[1] == 0).all() and (sums[1].grad[1] == 0).all()


def test_nothing_in_common_is_zero_with_a_graph_and_half_precision_is_full():
    s, t = torch.full((K, A), 300.0).half().requires_grad_(), torch.zeros(K, A).half()
    loss = prototype_alignment(s, ALL, t, ~ALL)
    loss.backward()
    assert loss.item() == 0 and (s.grad == 0).all()
    assert prototype_alignment(s, ALL, t, ALL).item() == K * 90_000
    assert prototype_alignment(s, ALL, t, ALL, True).isfinite()


def test_refuses_other_shapes():
    with pytest.raises(ValueError, match="of both domains"):
        prototype_alignment(rows(0), ALL, rows(0)[:3], ALL)
