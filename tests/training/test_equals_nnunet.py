"""With all adaptation weights 0, a trainer is nnU-Net's, bit for bit on the CPU (release gate 1)."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from harness import differences, make_trainer, train_steps
from methods import TRAINERS, all_off, predicting_network
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring
from numpy.lib.stride_tricks import sliding_window_view

from nnuda.find_trainer import find_trainer
from nnuda.trainer_files import preset_of

STEPS = 3
NO_SEED = {"training.seed": None}  # the test seeds both trainers itself


class Stock(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs = plans["domain_adaptation"]["settings"]["training.num_epochs"]


def bare(build, start=lambda network: None) -> type:
    """Stock nnU-Net on the network that `build` makes."""

    def build_network_architecture(
        plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision=True
    ):
        network = build(configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision)
        start(network)
        return network

    return type("Bare", (Stock,), {"build_network_architecture": staticmethod(build_network_architecture)})


def shapes(state: dict) -> dict:
    return {name: value.shape for name, value in state.items()}


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
@pytest.mark.parametrize("name", TRAINERS)
def test_without_its_terms_a_trainer_equals_nnunets_on_the_same_network(toy_environment, configuration, name):
    trainer = make_trainer(
        toy_environment, name, configuration, f"gate1_{name}", {**NO_SEED, **all_off(preset_of(name))}
    )
    found = train_steps(trainer, STEPS)
    assert trainer.teacher is None and len(trainer.extra_modules) == len(trainer.statistics) == 0

    stock = make_trainer(toy_environment, Stock, configuration, "gate1_stock")
    expected = train_steps(stock, STEPS)
    network = predicting_network(name)
    if network.startswith("its own") if network else shapes(found) != shapes(expected):

        def build(*arguments):
            return trainer.build_network_architecture(trainer.plans_manager, *arguments)

        expected = train_steps(make_trainer(toy_environment, bare(build), configuration, "gate1_bare"), STEPS)
    assert differences(found, expected) == []


def test_the_fusion_without_tcsas_terms_equals_nnunet_trainer_on_its_network(toy_environment):
    tcsa = find_trainer("nnUDATrainerTCSA")
    settings = {**NO_SEED, **all_off("tcsa"), "tcsa.fusion": True}
    trainer = make_trainer(toy_environment, tcsa, "2d_toy", "gate1_tcsa_fusion", settings)

    def build(*arguments):
        return tcsa.build_network_architecture(trainer.plans_manager, *arguments)

    def start(network):
        network.fusion.text.copy_(torch.from_numpy(trainer.class_embeddings.by_domain))

    expected = train_steps(make_trainer(toy_environment, bare(build, start), "2d_toy", "gate1_bare_fusion"), STEPS)
    assert differences(train_steps(trainer, STEPS), expected) == []


@pytest.mark.parametrize("configuration", ["2d_toy", "3d_toy"])
def test_without_mirroring_a_trainer_equals_nnunets_without_mirroring(toy_environment, configuration):
    class StockNoMirroring(nnUNetTrainerNoMirroring, Stock):
        """nnU-Net's own, with the plan's number of epochs."""

    settings = {**NO_SEED, **all_off("source_only"), "augmentation.mirroring": "none"}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", configuration, "gate1_unmirrored", settings)
    stock = make_trainer(toy_environment, StockNoMirroring, configuration, "gate1_stock_unmirrored")
    assert differences(train_steps(trainer, STEPS), train_steps(stock, STEPS)) == []
    assert trainer.inference_allowed_mirroring_axes is stock.inference_allowed_mirroring_axes is None
    mirrored = train_steps(make_trainer(toy_environment, Stock, configuration, "gate1_stock"), STEPS)
    assert differences(trainer.network.state_dict(), mirrored) != []


@pytest.mark.parametrize(
    "name, chosen, mirrors",
    [
        ("nnUDATrainerAdapt", {}, True),
        ("nnUDATrainerAdapt", {"planning.sided_axes": [2]}, False),
        ("nnUDATrainerAdapt", {"planning.sided_axes": [0]}, True),
        ("nnUDATrainerAdapt", {"planning.sided_axes": [2], "augmentation.mirroring": "nnunet"}, True),
        ("nnUDATrainerSourceOnly", {"planning.sided_axes": [2]}, True),
        ("nnUDATrainerSourceOnly", {"planning.sided_axes": [2], "augmentation.mirroring": "planned"}, False),
    ],
)
def test_mirroring_as_planned(toy_environment, name, chosen, mirrors):
    """Nothing is mirrored where an axis of the patch is sided, unless the user says so, or the trainer is the baseline."""
    settings = {"training.recipe": "recommended", **chosen}
    trainer = make_trainer(toy_environment, name, "2d_toy", "mirroring_planned", settings)
    axes = trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()[-1]
    assert axes == trainer.inference_allowed_mirroring_axes == ((0, 1) if mirrors else None)


def test_without_mirroring_target_patches_are_only_turned(toy_environment):
    """Every window of a patch is found in an image that was turned by quarters; none that was mirrored besides."""
    settings = {"training.recipe": "recommended", "augmentation.mirroring": "none"}
    trainer = make_trainer(toy_environment, "nnUDATrainerAdapt", "2d_toy", "unmirrored_target", settings)
    trainer.on_train_start()
    dataset = trainer.target_dataset()
    slices = [layer for case in dataset.identifiers for layer in dataset.load_case(case)[0][0, :]]
    windows = {
        window.tobytes()
        for layer in slices
        for turns in range(4)
        for window in sliding_window_view(np.rot90(layer, turns), (6, 6)).reshape(-1, 6, 6)
    }
    for _ in range(4):
        patches = next(trainer.dataloader_train)["target_domain"]["weak"][:, 0, 12:18, 12:18].numpy()
        assert all(patch.tobytes() in windows for patch in patches)


def test_the_comparison_can_fail(toy_environment):
    """The same steps with the teacher's term on do not give nnU-Net's parameters."""
    expected = train_steps(make_trainer(toy_environment, Stock, "2d_toy", "gate1_stock"), STEPS)
    teacher = {"teacher.weight": 1, "teacher.start": 0, "teacher.ramp": 0, "teacher.confidence": 0.0}
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "gate1_teacher", {**NO_SEED, **teacher})
    assert differences(train_steps(trainer, STEPS), expected) != []
