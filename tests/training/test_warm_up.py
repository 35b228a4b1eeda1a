"""Before any term is active, a step is nnU-Net's on the source: every method adapts a network that knows the source."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from harness import differences, make_trainer
from methods import TRAINERS
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

RECOMMENDED = {"training.recipe": "recommended", "training.num_epochs": 4, "training.num_iterations_per_epoch": 2}
METHODS = [name for name in TRAINERS if name != "nnUDATrainerSourceOnly"]


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """Eight steps are a training of their own: its quarter is not too early."""
    monkeypatch.setattr("nnuda.settings.STEPS_BEFORE_ADAPTATION", 2)


def begun(toy, trainer, name: str, settings: dict):
    made = make_trainer(toy, trainer, "2d_toy", name, settings)
    made.on_train_start()
    made.on_epoch_start()
    made.on_train_epoch_start()
    return made


@pytest.mark.parametrize("method", METHODS)
def test_the_first_quarter_is_nnunets(toy_environment, method):
    trainer = begun(toy_environment, method, f"warm_{method}", RECOMMENDED)
    batch = next(trainer.dataloader_train)
    stock = make_trainer(toy_environment, nnUNetTrainer, "2d_toy", f"warm_stock_{method}")
    stock.num_epochs = 4
    stock.on_train_start()
    network = trainer.network
    names = stock.network.state_dict().keys()
    stock.network.load_state_dict({name: deepcopy(network.state_dict()[name]) for name in names})
    for _ in range(2):  # of 8 iterations; the teacher starts at a quarter
        assert not trainer.reads_target
        ours, theirs = trainer.train_step(deepcopy(batch)), stock.train_step(deepcopy(batch))
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
    for name in names:
        assert torch.allclose(network.state_dict()[name], stock.network.state_dict()[name], rtol=1e-4, atol=1e-6), name
    trainer.current_epoch, trainer.step_in_epoch = 1, 0
    assert trainer.teacher_begins
    trainer.step_in_epoch = 1  # in the first step of its ramp a term still weighs 0
    assert trainer.reads_target and not trainer.teacher_begins
    trainer.train_step(deepcopy(batch))
    assert differences(network.state_dict(), {**network.state_dict(), **stock.network.state_dict()}) != []


def test_the_teacher_restarts_once_with_its_term(toy_environment, monkeypatch):
    trainer, restarts = begun(toy_environment, "nnUDATrainerAdapt", "restart", RECOMMENDED), []
    monkeypatch.setattr(trainer.teacher, "restart", lambda student: restarts.append(trainer.progress))
    batch = next(trainer.dataloader_train)
    for epoch in range(4):
        trainer.current_epoch, trainer.step_in_epoch = epoch, 0
        for _ in range(2):
            trainer.train_step(deepcopy(batch))
    assert restarts == [0.25]


def test_the_terms_weights_follow_their_schedule(toy_environment):
    trainer = begun(toy_environment, "nnUDATrainerAdapt", "schedule", RECOMMENDED)
    weights = []
    for epoch in range(4):
        trainer.current_epoch = epoch
        weights.append(trainer.loss_terms["teacher"].weight_at(trainer.progress))
    assert weights == [0.0, 0.0, 1.0, 1.0] and trainer.teacher.decay == 0.9


def test_strong_augmentation_ends_with_its_share_of_the_epochs(toy_environment):
    trainer = begun(toy_environment, "nnUDATrainerAdapt", "until", {**RECOMMENDED, "augmentation.until": 0.5})
    shares = []
    for epoch in range(4):
        trainer.current_epoch = epoch
        trainer.on_train_epoch_start()
        shares.append(trainer.strength.share)
    assert shares == [1, 1, 0, 0]


def test_target_patches_are_only_turned_and_mirrored(toy_environment):
    """Every voxel of a weak view is one of the preprocessed image: nothing was interpolated."""
    trainer = begun(toy_environment, "nnUDATrainerAdapt", "sharp", RECOMMENDED)
    dataset = trainer.target_dataset()
    known = torch.cat(
        [torch.as_tensor(dataset.load_case(case)[0][:]).float().flatten() for case in dataset.identifiers]
    )
    weak = next(trainer.dataloader_train)["target_domain"]["weak"]
    assert torch.isin(weak, torch.cat([known, torch.zeros(1)])).all()
