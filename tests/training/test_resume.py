"""Train 2n steps == train n, stop, --c, train n; bit for bit on the CPU (release gate 2)."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from harness import differences, make_trainer, run_epochs
from methods import Method, methods, settings_of

from nnuda.training.random_state import get_random_state

METHODS = methods("resume")
EVERYTHING = {"training.num_epochs": 4, "training.augmentation": "strong"}


def state(trainer) -> dict:
    return {
        "network": trainer.network.state_dict(),
        "adaptation": trainer.adaptation_state(),
        "optimizer": trainer.optimizer.state_dict(),
        "rates": [group["lr"] for group in trainer.optimizer.param_groups],
        "random": get_random_state(),
        "epoch": trainer.current_epoch,
    }


@pytest.mark.parametrize("variant", METHODS)
def test_resumed_training_equals_an_uninterrupted_one(toy_environment, variant):
    trainer, configuration = METHODS[variant].trainer, METHODS[variant].configuration
    settings = {**settings_of(METHODS[variant]), **EVERYTHING}
    whole = make_trainer(toy_environment, trainer, configuration, f"gate2_whole_{variant}", settings)
    run_epochs(whole, 4)

    name = f"gate2_halves_{variant}"
    first = make_trainer(toy_environment, trainer, configuration, name, settings)
    run_epochs(first, 2)
    assert differences(state(first), state(whole)) != []
    torch.rand(3)  # a new process has another random state
    second = make_trainer(toy_environment, trainer, configuration, name, settings, continue_training=True)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    run_epochs(second, 2)

    assert differences(state(second), state(whole)) == []
    curves = [t.logger.local_logger.my_fantastic_logging for t in (second, whole)]
    for name in whole.logged_names():
        assert np.array_equal(*(curve[f"nnUDA/{name}"] for curve in curves), equal_nan=True), name
        of_a_class = name.startswith("distance/")  # none where the target was never predicted to show it
        assert of_a_class or not math.isnan(curves[0][f"nnUDA/{name}"][-1]), name


def test_checkpoint_holds_tensors_and_builtins_besides_nnunets_own(toy_environment):
    trainer = make_trainer(
        toy_environment,
        "nnUDATrainerUUDS",
        "2d_toy",
        "gate2_content",
        {**settings_of(Method("nnUDATrainerUUDS")), **EVERYTHING},
    )
    run_epochs(trainer, 1)
    checkpoint = torch.load(f"{trainer.output_folder}/checkpoint_latest.pth", weights_only=False)

    def foreign(value) -> list:
        if isinstance(value, dict):
            return [f for item in value.items() for part in item for f in foreign(part)]
        if isinstance(value, (list, tuple)):
            return [f for part in value for f in foreign(part)]
        return [] if isinstance(value, (torch.Tensor, str, int, float, bool, type(None))) else [type(value)]

    assert foreign(checkpoint["nnuda"]) == []
    assert foreign(checkpoint["network_weights"]) == []


def test_a_stock_checkpoint_is_not_continued(toy_environment):
    trainer = make_trainer(
        toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "gate2_stock", {"training.num_epochs": 2}
    )
    run_epochs(trainer, 1)
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["nnuda"]
    torch.save(checkpoint, path)
    again = make_trainer(
        toy_environment,
        "nnUDATrainerSourceOnly",
        "2d_toy",
        "gate2_stock",
        {"training.num_epochs": 2},
        continue_training=True,
    )
    with pytest.raises(RuntimeError, match="training.init_from"):
        again.load_checkpoint(path)
