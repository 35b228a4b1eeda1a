from __future__ import annotations

from collections import deque

import pytest
import torch
from torch import distributed as dist

from nnuda.losses.prototype_contrast import prototype_contrast
from nnuda.statistics.prototype_dictionary import PrototypeDictionary

K, S, D = 3, 5, 4


def batch(seed: int, images: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(images, K, D, generator=generator), torch.rand(images, K, generator=generator) > 0.4


def queues(*batches) -> list[deque]:
    """The definition: a deque a class."""
    queues = [deque(maxlen=S) for _ in range(K)]
    for prototypes, present in batches:
        for vectors, shown in zip(prototypes, present):
            for k in range(K):
                if shown[k]:
                    queues[k].append(vectors[k] / vectors[k].norm())
    return queues


def in_order(vectors: torch.Tensor) -> torch.Tensor:
    return vectors[vectors[:, 0].argsort()]


def assert_holds(dictionary: PrototypeDictionary, expected: list[deque]) -> None:
    entries, filled = dictionary.compute()
    for k in range(K):
        assert filled[k].sum() == len(expected[k])
        if expected[k]:
            torch.testing.assert_close(in_order(entries[k][filled[k]]), in_order(torch.stack(list(expected[k]))))


@pytest.mark.parametrize("steps, images", [(1, 1), (2, 2), (7, 2), (2, 13)])
def test_equals_a_deque_a_class(steps, images):
    batches = [batch(seed, images) for seed in range(steps)]
    dictionary = PrototypeDictionary(K, S, D)
    for prototypes, present in batches:
        dictionary.update(prototypes, present)
    assert_holds(dictionary, queues(*batches))


def test_oldest_go_first():
    dictionary = PrototypeDictionary(1, S, S + 3)
    for vector in torch.eye(S + 3):
        dictionary.update(vector[None, None], torch.ones(1, 1).bool())
    entries, filled = dictionary.compute()
    assert filled.all() and entries.shape == (1, S, S + 3)
    assert entries[0].sum(0).tolist() == [0] * 3 + [1] * S


def test_missing_class_is_not_pushed():
    dictionary = PrototypeDictionary(K, S, D)
    dictionary.update(torch.ones(1, K, D), torch.tensor([[True, False, True]]))
    entries, filled = dictionary.compute()
    assert filled.sum(1).tolist() == [1, 0, 1] and not entries[1].any()


def test_entries_have_unit_length_and_no_gradient():
    prototypes = torch.randn(2, K, D, dtype=torch.float16, requires_grad=True)
    dictionary = PrototypeDictionary(K, S, D)
    dictionary.update(prototypes, torch.ones(2, K).bool())
    entries, filled = dictionary.compute()
    assert entries.dtype == torch.float32 and not entries.requires_grad
    assert torch.allclose(entries[filled].norm(dim=1), torch.ones(2 * K))


def test_an_update_between_loss_and_backward_does_no_harm():
    (prototypes, present), dictionary = batch(0), PrototypeDictionary(K, S, D)
    dictionary.update(*batch(1))
    gradients = []
    for update_first in (False, True):
        anchors = prototypes.clone().requires_grad_()
        loss = prototype_contrast(anchors, present, *dictionary.compute())
        if update_first:
            dictionary.update(prototypes, present)
        loss.backward()
        gradients.append(anchors.grad)
    assert torch.equal(*gradients) and gradients[0].abs().sum() > 0


def test_loss_before_and_after_the_push_differ():
    (prototypes, present), dictionary = batch(0), PrototypeDictionary(K, S, D)
    dictionary.update(*batch(1, 6))
    before = prototype_contrast(prototypes, present, *dictionary.compute(), k=1)
    dictionary.update(prototypes, present)
    assert prototype_contrast(prototypes, present, *dictionary.compute(), k=1) < before - 0.1


def test_resumes_exactly():
    batches = [batch(seed) for seed in range(9)]
    through, first = PrototypeDictionary(K, S, D), PrototypeDictionary(K, S, D)
    for i, pair in enumerate(batches):
        through.update(*pair)
        if i < 4:
            first.update(*pair)
    resumed = PrototypeDictionary(K, S, D)
    resumed.load_state_dict({name: value.clone() for name, value in first.state_dict().items()}, strict=True)
    for pair in batches[4:]:
        resumed.update(*pair)
    assert through.pushed.max() > S
    assert all(torch.equal(resumed.state_dict()[name], value) for name, value in through.state_dict().items())


def test_reset_forgets():
    dictionary = PrototypeDictionary(K, S, D)
    dictionary.update(*batch(0))
    dictionary.reset()
    entries, filled = dictionary.compute()
    assert not filled.any() and not entries.any()
    dictionary.update(*batch(1))
    assert_holds(dictionary, queues(batch(1)))


@pytest.mark.parametrize("sizes", [(0, 5, 4), (3, 0, 4), (3, 5, 0)])
def test_empty_dictionary_is_refused(sizes):
    with pytest.raises(ValueError, match="positive sizes"):
        PrototypeDictionary(*sizes)


def rank_batches(rank: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Three steps; rank 1 has smaller batches, as nnU-Net gives the last GPU what is left."""
    return [batch(10 * step + rank, images=2 - rank) for step in range(3)]


def one_rank(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    dictionary = PrototypeDictionary(K, S, D)
    for pair in rank_batches(rank):
        dictionary.update(*pair)
    torch.save(dictionary.state_dict(), f"{folder}/rank{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_two_ranks_equal_one_process_with_all_images(tmp_path):
    torch.multiprocessing.spawn(one_rank, (str(tmp_path),), nprocs=2)
    alone = PrototypeDictionary(K, S, D)
    for first, second in zip(rank_batches(0), rank_batches(1)):
        alone.update(*(torch.cat(pair) for pair in zip(first, second)))
    for rank in range(2):
        state = torch.load(tmp_path / f"rank{rank}.pt")
        assert all(torch.equal(state[name], value) for name, value in alone.state_dict().items())
    assert alone.pushed.max() > S


def test_what_overflowed_is_not_pushed():
    dictionary, (prototypes, present) = PrototypeDictionary(K, S, D), batch(0)
    present[:] = True
    prototypes[0, 1, 2], prototypes[1, 2, 0] = torch.inf, torch.nan
    dictionary.update(prototypes, present)
    present[0, 1] = present[1, 2] = False
    assert_holds(dictionary, queues((prototypes, present)))
