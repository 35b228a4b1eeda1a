"""Threads on the CPU, after nnUNetv2_train has taken one for each core."""

from __future__ import annotations

import pytest
import torch
from harness import make_trainer

from nnuda.errors import NnudaError


@pytest.mark.parametrize(("variable", "threads"), [("1", 1), ("2,1", 2), ("", 3)])
def test_a_training_takes_as_many_as_the_variable_says(toy_environment, monkeypatch, variable, threads):
    before = torch.get_num_threads()
    monkeypatch.setenv("OMP_NUM_THREADS", variable)
    torch.set_num_threads(3)
    try:
        make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "threads")
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize(
    "name, value", [("OMP_NUM_THREADS", "many"), ("OMP_NUM_THREADS", "0"), ("nnUNet_n_proc_DA", "x")]
)
def test_numbers_that_are_none_are_said(toy_environment, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(NnudaError, match=f"Environment variable {name}: expected a whole number .*got '{value}'"):
        make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "threads")


def test_an_empty_results_folder_is_none(toy_environment, monkeypatch):
    monkeypatch.setenv("nnUNet_results", "")
    with pytest.raises(NnudaError, match="nnUNet_results is empty"):
        make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "threads")
