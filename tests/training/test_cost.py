"""Time and memory of training steps."""
from __future__ import annotations

import math
from time import sleep

import pytest
import torch
from harness import make_trainer, run_epochs

from nnuda.training.cost import MEMORY_GB, STEP_SECONDS, StepCost


def test_seconds_a_step_and_no_memory_on_the_cpu() -> None:
    cost = StepCost(torch.device("cpu"))
    sleep(0.05)
    cost.start()
    sleep(0.02)
    found = cost.compute(4)
    assert 0.005 <= found[STEP_SECONDS] < 0.0125 and math.isnan(found[MEMORY_GB])


def test_memory_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    peak = {"cuda:1": 5e9}
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peak.update({str(device): 3.5e9}))
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: peak[str(device)])
    cost = StepCost(torch.device("cuda", 1))
    cost.start()
    assert cost.compute(1)[MEMORY_GB] == 3.5


def test_it_is_made_before_cuda_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """nnU-Net makes the trainer before anything is moved to the GPU."""
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: pytest.fail("CUDA was asked"))
    StepCost(torch.device("cuda", 0))


def test_one_value_an_epoch_also_after_a_start_without_them(toy_environment) -> None:
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "cost")
    run_epochs(trainer, 1)
    logged = trainer.logger.local_logger.my_fantastic_logging
    assert len(logged[STEP_SECONDS]) == len(logged[MEMORY_GB]) == 1 and logged[STEP_SECONDS][0] > 0
    for name in (STEP_SECONDS, MEMORY_GB):  # as in the checkpoint of a training that began before they were logged
        del logged[name]
    run_epochs(trainer, 1)
    assert math.isnan(logged[STEP_SECONDS][0]) and logged[STEP_SECONDS][1] > 0 and len(logged["train_losses"]) == 2
