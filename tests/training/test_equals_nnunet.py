"""With all adaptation weights 0, a trainer is nnU-Net's, bit for bit on the CPU (release gate 1)."""
from __future__ import annotations

import json

import pytest
import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from toy import Toy

from nnuda.settings import load_preset
from nnuda.training.random_state import seed_everything

STEPS = 3


def all_off(preset: str) -> dict:
    return {key: 0 for key in load_preset(preset) if key.endswith(".weight")}


def make(toy: Toy, trainer_class: type, configuration: str, plans_name: str, settings: dict | None = None) -> nnUNetTrainer:
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    plans["plans_name"] = plans_name
    plans["continue_training"] = False
    plans["domain_adaptation"]["settings"] = settings or {}
    dataset_json = json.loads((toy.preprocessed / "dataset.json").read_text())
    return trainer_class(plans, configuration, "all", dataset_json, torch.device("cpu"))


def train_steps(trainer: nnUNetTrainer, steps: int = STEPS) -> dict[str, torch.Tensor]:
    seed_everything(7)
    trainer.num_epochs = 5
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    for _ in range(steps):
        trainer.train_step(next(trainer.dataloader_train))
    return trainer.network.state_dict()


def assert_equal(state: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert state.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(state[name], value), name


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_source_only_equals_nnunet_trainer(toy_environment, configuration):
    source_only = recursive_find_trainer_class_by_name("nnUDATrainerSourceOnly")
    expected = train_steps(make(toy_environment, nnUNetTrainer, configuration, "gate1_stock"))
    trainer = make(toy_environment, source_only, configuration, "gate1_source_only")
    assert_equal(train_steps(trainer), expected)
    assert trainer.teacher is None and len(trainer.modules_beside) == 0


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_uuds_without_its_terms_equals_nnunet_trainer_on_its_network(toy_environment, configuration):
    uuds = recursive_find_trainer_class_by_name("nnUDATrainerUUDS")
    trainer = make(toy_environment, uuds, configuration, "gate1_uuds", all_off("uuds"))

    class Bare(nnUNetTrainer):
        @staticmethod
        def build_network_architecture(plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True):
            return uuds.build_network_architecture(trainer.plans_manager, configuration_manager, num_input_channels, num_output_channels,
                                                   enable_deep_supervision)

    expected = train_steps(make(toy_environment, Bare, configuration, "gate1_bare"))
    assert_equal(train_steps(trainer), expected)
    assert len(trainer.modules_beside) == 0


def test_the_comparison_can_fail(toy_environment):
    """The same steps with the teacher's term on must not give nnU-Net's parameters."""
    source_only = recursive_find_trainer_class_by_name("nnUDATrainerSourceOnly")
    expected = train_steps(make(toy_environment, nnUNetTrainer, "2d_toy", "gate1_stock"))
    trainer = make(toy_environment, source_only, "2d_toy", "gate1_teacher", {"teacher.weight": 1, "teacher.start": 0, "teacher.ramp": 0,
                                                                          "teacher.confidence": 0.0})
    with pytest.raises(AssertionError):
        assert_equal(train_steps(trainer), expected)
