"""The adaptation begins when the network knows every class on the source, at 60 % of the training at the latest."""

from __future__ import annotations

from copy import deepcopy

import pytest
from harness import make_trainer

from nnuda.training.waiting import begins_within, not_learnt

NAN = float("nan")
SETTINGS = {
    "training.recipe": "recommended",
    "training.num_epochs": 8,
    "training.num_iterations_per_epoch": 2,
    "training.wait_below": 0.2,
}


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Sixteen steps are a training of their own: its quarter is not too early."""
    monkeypatch.setattr("nnuda.settings.STEPS_BEFORE_ADAPTATION", 2)


def test_a_class_that_no_patch_held_says_nothing():
    assert not_learnt([0.1, 0.2, NAN, 0.0], 0.2) == [0, 3] and not_learnt([0.0, NAN], 0.0) == []


@pytest.mark.parametrize("num_epochs", [5, 8, 10, 1000])
@pytest.mark.parametrize("start", [0.0, 0.1, 0.25, 0.33, 0.6, 0.9])
def test_it_waits_epoch_by_epoch_to_60_percent(num_epochs, start):
    """Against epochs that are counted: nothing is ever learnt, and the last epoch that may begin has begun by 60 %."""
    waited, asked = 0.0, []
    for epoch in range(1, num_epochs):
        if begins_within([start, 0.0, 0.95], waited, epoch, num_epochs):
            asked.append(epoch)
            waited += 1 / num_epochs
    first = int(start * num_epochs + 1e-9)
    last = [
        epoch for epoch in range(first, num_epochs) if epoch + start * num_epochs % 1 + 1 <= 0.6 * num_epochs + 1e-6
    ]
    assert asked == (last if first > 0 else []), "what begins in the first epoch has begun before anything is known"
    assert not begins_within([0.0], 0.0, 1, num_epochs) and not begins_within([], 0.0, 1, num_epochs)


def run(trainer, dice: list[list[float]]) -> tuple[list[float], list[int]]:
    """Every epoch's weight of the teacher's term at its end, and the steps at which the teacher was restarted."""
    weights, restarts = [], []
    for epoch, values in enumerate(dice):
        trainer.current_epoch = epoch
        for step in range(2):
            trainer.step_in_epoch = step
            if trainer.teacher_begins:
                restarts.append(2 * epoch + step)
        weights.append(round(trainer.weight("teacher"), 3))
        trainer.logger.log("dice_per_class_or_region", values, epoch)
        trainer.wait_for_classes()
    return weights, restarts


@pytest.mark.slow
def test_the_teacher_waits_for_the_last_class(toy_environment):
    """Eight epochs of two steps: it would begin at step 4, and grow over 0.1 of the training."""
    known, unknown = [0.9, 0.8], [0.9, 0.1]
    for dice, weights, restart in (
        ([known] * 8, [0, 0, 0.625, 1, 1, 1, 1, 1], 4),
        ([unknown] * 2 + [known] * 6, [0, 0, 0, 0.625, 1, 1, 1, 1], 6),
        ([unknown, known, unknown, *[known] * 5], [0, 0, 0.625, 1, 1, 1, 1, 1], 4),
        ([unknown] * 8, [0, 0, 0, 0, 0.625, 1, 1, 1], 8),
    ):
        trainer = make_trainer(toy_environment, "nnUDATrainerAdapt", "2d_toy", "waits", SETTINGS)
        trainer.initialize()
        assert run(trainer, dice) == (weights, [restart])
        fresh = make_trainer(toy_environment, "nnUDATrainerAdapt", "2d_toy", "waits", SETTINGS)
        fresh.initialize()
        fresh.load_adaptation_state(deepcopy(trainer.adaptation_state()))
        assert fresh.waited == trainer.waited == (restart - 4) / 16


@pytest.mark.slow
def test_without_the_setting_nothing_waits(toy_environment):
    settings = {name: value for name, value in SETTINGS.items() if name != "training.wait_below"}
    made = make_trainer(toy_environment, "nnUDATrainerAdapt", "2d_toy", "never", settings)
    made.initialize()
    assert run(made, [[0.0, 0.0]] * 8)[1] == [4] and made.waited == 0
