"""With all adaptation weights 0, a trainer is nnU-Net's, bit for bit on the CPU (release gate 1)."""
from __future__ import annotations

import pytest
import torch
from harness import differences, make_trainer, train_steps
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnuda.settings import load_preset

STEPS = 3
NO_SEED = {"training.seed": None}  # the test seeds both trainers itself


class Stock(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = plans["domain_adaptation"]["settings"]["training.num_epochs"]


def all_off(preset: str) -> dict:
    return {key: 0 for key in load_preset(preset) if key.endswith(".weight")}


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_source_only_equals_nnunet_trainer(toy_environment, configuration):
    expected = train_steps(make_trainer(toy_environment, Stock, configuration, "gate1_stock"), STEPS)
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", configuration, "gate1_source_only", NO_SEED)
    assert differences(train_steps(trainer, STEPS), expected) == []
    assert trainer.teacher is None and len(trainer.extra_modules) == 0


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
@pytest.mark.parametrize("trainer, preset", [("nnUDATrainerTransMedSeg", "transmedseg"),
                                             ("nnUDATrainerPrototypes", "prototypes"), ("nnUDATrainerTCSA", "tcsa")])
def test_a_method_on_nnunets_network_without_its_terms_equals_nnunet_trainer(toy_environment, configuration, trainer,
                                                                             preset):
    expected = train_steps(make_trainer(toy_environment, Stock, configuration, "gate1_stock"), STEPS)
    trainer = make_trainer(toy_environment, trainer, configuration, f"gate1_{preset}", {**NO_SEED, **all_off(preset)})
    assert differences(train_steps(trainer, STEPS), expected) == []
    assert trainer.teacher is None and len(trainer.extra_modules) == len(trainer.statistics) == 0


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_uuds_without_its_terms_equals_nnunet_trainer_on_its_network(toy_environment, configuration):
    uuds = recursive_find_trainer_class_by_name("nnUDATrainerUUDS")
    trainer = make_trainer(toy_environment, uuds, configuration, "gate1_uuds", {**NO_SEED, **all_off("uuds")})

    class Bare(Stock):
        @staticmethod
        def build_network_architecture(plans_manager, configuration_manager, num_input_channels, num_output_channels,
                                       enable_deep_supervision=True):
            return uuds.build_network_architecture(trainer.plans_manager, configuration_manager, num_input_channels,
                                                   num_output_channels, enable_deep_supervision)

    expected = train_steps(make_trainer(toy_environment, Bare, configuration, "gate1_bare"), STEPS)
    assert differences(train_steps(trainer, STEPS), expected) == []
    assert len(trainer.extra_modules) == 0


def test_the_fusion_without_tcsas_terms_equals_nnunet_trainer_on_its_network(toy_environment):
    tcsa = recursive_find_trainer_class_by_name("nnUDATrainerTCSA")
    settings = {**NO_SEED, **all_off("tcsa"), "tcsa.fusion": True}
    trainer = make_trainer(toy_environment, tcsa, "2d_toy", "gate1_tcsa_fusion", settings)

    class Bare(Stock):
        @staticmethod
        def build_network_architecture(plans_manager, configuration_manager, num_input_channels, num_output_channels,
                                       enable_deep_supervision=True):
            network = tcsa.build_network_architecture(trainer.plans_manager, configuration_manager, num_input_channels,
                                                      num_output_channels, enable_deep_supervision)
            network.fusion.text.copy_(torch.from_numpy(trainer.class_embeddings.by_domain))
            return network

    expected = train_steps(make_trainer(toy_environment, Bare, "2d_toy", "gate1_bare_fusion"), STEPS)
    assert differences(train_steps(trainer, STEPS), expected) == []


def test_the_comparison_can_fail(toy_environment):
    """The same steps with the teacher's term on do not give nnU-Net's parameters."""
    expected = train_steps(make_trainer(toy_environment, Stock, "2d_toy", "gate1_stock"), STEPS)
    teacher = {"teacher.weight": 1, "teacher.start": 0, "teacher.ramp": 0, "teacher.confidence": 0.0}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "gate1_teacher", {**NO_SEED, **teacher})
    assert differences(train_steps(trainer, STEPS), expected) != []
