from __future__ import annotations

import pytest
import torch
from two_processes import in_two_processes

from nnuda.labels import label_masks
from nnuda.losses.class_prototypes import class_sums
from nnuda.statistics.class_memory import ClassMemory

K, A = 3, 4


def sums_of(features: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return class_sums(features, label_masks(label, K, features.shape[2:]))


def test_first_sight_then_moving_average_and_an_absent_class_stays():
    memory = ClassMemory(2, 1, 0.75)
    for sums, counts, expected in (
        ([[6.0], [0]], [2.0, 0], [[3.0], [0]]),
        ([[7.0], [8.0]], [1.0, 2], [[4.0], [4.0]]),
        ([[0], [0.0]], [0, 0.0], [[4.0], [4.0]]),
    ):
        c, valid = memory.blend(torch.tensor(sums), torch.tensor(counts))
        assert c.tolist() == expected
        memory.update(c, valid)
        assert memory.mean.tolist() == expected
    assert memory.seen.all()


def test_blending_changes_nothing_and_survives_the_update():
    memory = ClassMemory(K, A, 0.5)
    memory.update(torch.ones(K, A), torch.ones(K, dtype=torch.bool))
    sums = torch.randn(K, A, requires_grad=True)
    c, valid = memory.blend(sums, torch.full((K,), 2.0))
    assert (memory.mean == 1).all()
    memory.update(c, valid)
    c.square().sum().backward()
    torch.testing.assert_close(sums.grad, 2 * c.detach() * 0.5 / 2)
    assert not memory.mean.requires_grad


def test_state_travels_and_is_forgotten():
    memory, other = ClassMemory(K, A, 0.5), ClassMemory(K, A, 0.5)
    memory.update(torch.randn(K, A), torch.tensor([True, False, True]))
    other.load_state_dict(memory.state_dict())
    mean, seen = other.compute()
    assert torch.equal(mean, memory.mean) and seen.tolist() == [True, False, True]
    memory.reset()
    assert not memory.seen.any() and (memory.mean == 0).all() and torch.equal(mean, other.mean)


def test_what_overflowed_is_not_remembered():
    memory, prototypes = ClassMemory(2, 2, 0), torch.ones(2, 2)
    prototypes[0, 1] = torch.inf
    memory.update(prototypes, torch.ones(2, dtype=torch.bool))
    assert memory.seen.tolist() == [False, True] and memory.mean.isfinite().all()


@pytest.mark.parametrize("wrong", [(0, 4, 0.5), (2, 0, 0.5), (2, 4, 1.0), (2, 4, -0.1)])
def test_refuses(wrong):
    with pytest.raises(ValueError, match="positive sizes and a momentum"):
        ClassMemory(*wrong)


# ---- ranks: class 2 is on one rank only, batches differ in size -----------------------------------------------------

LABELS = [([[0, 0, 1], [1, 1, 1]], [[2, 0, 0]]), ([[0, 0, 0]], [[1, 1, 0]])]


def batches_of(rank: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(rank)
    labels = [torch.tensor(step[rank])[:, None, :, None] for step in LABELS]
    return [(torch.randn(len(y), 2, 3, 1, dtype=torch.float64, generator=generator), y) for y in labels]


def train(batches: list[tuple[torch.Tensor, torch.Tensor]]) -> tuple[dict, torch.Tensor, torch.Tensor]:
    """State, last loss, and the gradient of a shared weight."""
    weight, memory = torch.eye(A, 2, dtype=torch.float64).requires_grad_(), ClassMemory(K, A, 0.3).double()
    for image, label in batches:
        c, valid = memory.blend(*sums_of(torch.einsum("af,bfhw->bahw", weight, image), label))
        loss = (c.sin() * valid[:, None]).square().sum()
        loss.backward()
        memory.update(c, valid)
    return memory.state_dict(), loss.detach(), weight.grad


def train_a_rank(rank: int) -> tuple:
    return train(batches_of(rank))


@pytest.mark.slow
def test_two_ranks_equal_one_process_on_the_union(tmp_path):
    union = [tuple(torch.cat(parts) for parts in zip(*pair)) for pair in zip(batches_of(0), batches_of(1))]
    state, loss, gradient = train(union)
    ranks = in_two_processes(train_a_rank, tmp_path)
    for rank_state, rank_loss, _ in ranks:
        assert all(
            torch.allclose(rank_state[name].double(), value.double(), atol=1e-12) for name, value in state.items()
        )
        torch.testing.assert_close(rank_loss, loss)
    torch.testing.assert_close((ranks[0][2] + ranks[1][2]) / 2, gradient, atol=1e-12, rtol=1e-12)  # as DDP averages
