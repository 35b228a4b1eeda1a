"""Time and memory of training steps."""

from __future__ import annotations

import json
import math
from time import sleep

import pytest
import torch
from harness import make_trainer, run_epochs
from methods import methods, settings_of

from nnuda.cli.measure_memory import measure
from nnuda.find_trainer import find_trainer
from nnuda.settings import effective_settings
from nnuda.training.cost import MEMORY_GB, STEP_SECONDS, StepCost
from nnuda.training.kept_bytes import KeptBytes

METHODS = methods("cost")


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


def test_kept_bytes_of_a_known_step() -> None:
    """y = relu(x w): x for w's gradient and relu's result for its own, in float32; w is a parameter."""
    layer = torch.nn.Linear(8, 4, bias=False)
    x = torch.randn(16, 8)
    with KeptBytes(layer) as kept:
        hidden = layer(x)
        (hidden.relu() + hidden.relu()).sum()
    assert kept.total == 4 * (16 * 8 + 2 * 16 * 4)


@pytest.mark.parametrize("name", METHODS)
def test_the_memory_that_planning_expects_is_what_a_step_takes(toy_environment, name) -> None:
    """On a network as wide as nnU-Net's: beside the toy's eight channels, a head of fixed width would weigh most."""
    method = METHODS[name]
    settings = {key: value for key, value in settings_of(method).items() if not key.startswith("teacher.")}
    plans, dataset_json = (
        json.loads((toy_environment.preprocessed / f"{file}.json").read_text()) for file in ("nnUNetPlans", "dataset")
    )
    plans["configurations"][method.configuration]["architecture"]["arch_kwargs"] |= {
        "features_per_stage": [64, 128, 128],
        "n_conv_per_stage": [2] * 3,
        "n_conv_per_stage_decoder": [2] * 2,
    }
    ours, stock = measure(plans, dataset_json, method.configuration, method.trainer, settings)
    trainer = find_trainer(method.trainer)
    planned = trainer.memory_factor(effective_settings(trainer.preset, settings))
    assert 0.75 * planned <= ours / stock <= 1.33 * planned, (
        f"{method.trainer}: a step keeps {ours / stock:.1f} times what nnU-Net's keeps, planning.memory_factor is "
        f"{planned}. Measure it on a real plan with python -m nnuda.cli.measure_memory, and correct the preset."
    )
