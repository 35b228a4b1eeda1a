from __future__ import annotations

import random

import numpy as np
import torch

from nnuda.training.random_state import get_random_state, seed_everything, set_random_state


def draw() -> list:
    return [
        random.random(),
        random.gauss(0, 1),
        np.random.rand(),
        np.random.randn(),
        torch.rand(2).tolist(),
        torch.randn(1).item(),
    ]


def test_a_saved_state_continues_all_generators(tmp_path):
    seed_everything(3)
    draw()  # leaves the second value of a pair of normal numbers behind, in random and in NumPy
    assert np.random.get_state()[3] == 1 and random.getstate()[2] is not None
    torch.save(get_random_state(), tmp_path / "state.pt")
    expected = draw()
    seed_everything(4)
    assert draw() != expected
    set_random_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert draw() == expected


def test_a_seed_sets_all_generators():
    drawn = []
    for seed in (5, 5, 6):
        seed_everything(seed)
        drawn.append(draw())
    assert drawn[0] == drawn[1]
    assert not any(a == b for a, b in zip(drawn[0], drawn[2]))


def test_reading_the_state_draws_nothing():
    seed_everything(7)
    expected = draw()
    seed_everything(7)
    get_random_state()
    assert draw() == expected
