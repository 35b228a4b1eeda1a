from __future__ import annotations

import pytest
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner

from nnuda.planning.memory import REFERENCES, expected_memory, feature_map_elements, memory_factor
from nnuda.settings import load_preset


def plans_of(patch: list[int], batch: int, network: str = "unet.PlainConvUNet", **blocks: list[int]) -> dict:
    dim, n = len(patch), 6
    architecture = {
        "network_class_name": f"dynamic_network_architectures.architectures.{network}",
        "arch_kwargs": {
            "n_stages": n,
            "features_per_stage": [32, 64, 128, 256, 320, 320],
            "conv_op": f"torch.nn.modules.conv.Conv{dim}d",
            "kernel_sizes": [[3] * dim] * n,
            "strides": [[1] * dim, *[[2] * dim] * (n - 1)],
            "n_conv_per_stage_decoder": [2] * (n - 1),
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dim}d",
            "norm_op_kwargs": {},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {},
            **(blocks or {"n_conv_per_stage": [2] * n}),
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }
    return {"configurations": {"c": {"patch_size": patch, "batch_size": batch, "architecture": architecture}}}


DATASET = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "a": 1, "b": 2}}


@pytest.mark.slow
def test_the_network_that_nnunet_calibrates_with():
    """Its planner's own example: this network at 128^3 has 558319104 elements with deep supervision (which it
    plans without), of 680000000 in 8 GB at batch size 2."""
    elements = 558319104 - 3 * (64**3 + 32**3 + 16**3 + 8**3)
    plans = plans_of([128, 128, 128], 2, "unet.ResidualEncoderUNet", n_blocks_per_stage=[1, 3, 4, 6, 6, 6])
    architecture = plans["configurations"]["c"]["architecture"]
    architecture["arch_kwargs"]["n_conv_per_stage_decoder"] = [1] * 5
    assert (
        feature_map_elements(
            (128, 128, 128),
            1,
            3,
            architecture["network_class_name"],
            architecture["arch_kwargs"],
            architecture["_kw_requires_import"],
        )
        == elements
    )
    assert expected_memory(plans, DATASET, "c", 1.0) == pytest.approx(elements / 680e6 * 8, abs=0.01)


def test_batch_and_step_scale_it():
    small, large = (expected_memory(plans_of([64, 64, 64], b), DATASET, "c", f) for b, f in ((2, 1.0), (4, 3.0)))
    assert large == pytest.approx(6 * small, abs=0.5)


def test_unknown_networks_have_no_estimate():
    plans = plans_of([64, 64], 2)
    plans["configurations"]["c"]["architecture"]["network_class_name"] = "somebody.elses.Net"
    assert expected_memory(plans, DATASET, "c", 1.0) is None


def test_the_estimate_is_nnunets(monkeypatch):
    monkeypatch.setenv("nnUNet_n_proc_DA", "1")
    architecture = plans_of([64, 48], 2)["configurations"]["c"]["architecture"]
    arguments = (
        (64, 48),
        1,
        3,
        architecture["network_class_name"],
        architecture["arch_kwargs"],
        architecture["_kw_requires_import"],
    )
    assert feature_map_elements(*arguments) == ExperimentPlanner.static_estimate_VRAM_usage(*arguments)
    assert {network for network, _ in REFERENCES} == {"PlainConvUNet", "ResidualEncoderUNet"}


def test_the_factor_is_the_presets_unless_set():
    assert memory_factor("nnUDATrainer", {}) == load_preset("base")["planning.memory_factor"]["value"] == 2.0
    assert memory_factor("nnUDATrainerUUDS", {}) == load_preset("uuds")["planning.memory_factor"]["value"]
    assert memory_factor("nnUDATrainer", {"planning.memory_factor": 5.0}) == 5.0
    assert memory_factor("nnUDATrainer", {"training.batch": "total"}) == 1.0


def test_the_cycle_of_prototypes_takes_more():
    assert memory_factor("nnUDATrainerPrototypes", {}) == 2.0
    assert memory_factor("nnUDATrainerPrototypes", {"prototypes.form": "cycle"}) == 6.8  # weak and strong source
    plain = {"prototypes.form": "cycle", "training.augmentation": "nnunet"}
    assert memory_factor("nnUDATrainerPrototypes", plain) == 5.8
    assert memory_factor("nnUDATrainerPrototypes", {"prototypes.form": "cycle", "planning.memory_factor": 4.0}) == 4.0
    assert memory_factor("nnUDATrainerPrototypes", {"prototypes.form": "cycle", "training.batch": "total"}) == 3.4
