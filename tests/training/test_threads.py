"""Threads on the CPU, after nnUNetv2_train has taken one for each core."""

from __future__ import annotations

import pytest
import torch
from harness import make_trainer


@pytest.mark.parametrize(("variable", "threads"), [("1", 1), ("2,1", 2), ("", 3), ("many", 3), ("0", 3)])
def test_a_training_takes_as_many_as_the_variable_says(toy_environment, monkeypatch, variable, threads):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    torch.set_num_threads(3)
    try:
        make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "threads")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
