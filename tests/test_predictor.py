"""A plan, a checkpoint and a dataset.json that together make no network are one error that names the folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from nnuda.errors import NnudaError
from nnuda.plan_key import read_plans
from nnuda.predictor import PredictorError, load_predictor

CPU, IO = torch.device("cpu"), Path("/proc/self/io")
TRAINER = "nnUDATrainerSourceOnly"


def bytes_read() -> int:
    """By this process, so far."""
    return int(IO.read_text().split()[1])


def kernels(arch):
    arch["kernel_sizes"] = [[3, 3]]


def strides(arch):
    arch["strides"] = "none at all"


def stride_of_zero(arch):
    arch["strides"][1] = [0, 0]


def no_stages(arch):
    arch["n_stages"] = 0


def negative_features(arch):
    arch["features_per_stage"] = [-8, -16, -16]


def another_convolution(arch):
    arch["conv_op"] = "torch.nn.modules.conv.Conv7d"


def unknown_argument(arch):
    arch["n_stagez"] = 3


@pytest.fixture
def model(toy_environment):
    return toy_environment.trained(TRAINER, "2d_toy", "nnUNetPlans")


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [kernels, strides, stride_of_zero, no_stages, negative_features, another_convolution, unknown_argument]
)
def test_a_plan_that_makes_no_network(model, tmp_path, change):
    folder = shutil.copytree(model, tmp_path / model.name)
    plans = json.loads((folder / "plans.json").read_text())
    change(plans["configurations"]["2d_toy"]["architecture"]["arch_kwargs"])
    (folder / "plans.json").write_text(json.dumps(plans))
    with pytest.raises(PredictorError, match=rf"{folder}: expected a model that nnU-Net can load .* it cannot: \w+"):
        load_predictor(str(folder), ["all"], "checkpoint_final.pth", CPU)


@pytest.mark.slow
def test_the_labels_of_another_dataset(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / model.name)
    dataset = json.loads((folder / "dataset.json").read_text())
    dataset["labels"] |= {"one more": 9, "and more": 10}
    (folder / "dataset.json").write_text(json.dumps(dataset))
    with pytest.raises(PredictorError, match="it cannot: RuntimeError"):
        load_predictor(str(folder), ["all"], "checkpoint_final.pth", CPU)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plans.json", "dataset.json", "fold_all/checkpoint_final.pth"])
def test_a_damaged_file_is_named(model, tmp_path, name):
    folder = shutil.copytree(model, tmp_path / model.name)
    (folder / name).write_bytes(b"{")
    with pytest.raises(NnudaError, match=name):
        load_predictor(str(folder), ["all"], "checkpoint_final.pth", CPU)


def test_a_plan_lacks_what_prediction_reads(tmp_path):
    (tmp_path / "dataset.json").write_text("{}")
    shown = {"data_identifier": "a_2d", "patch_size": [8, 8]}
    plans = {
        "dataset_name": "Dataset001_A",
        "plans_name": "a",
        "image_reader_writer": "x",
        "configurations": {"2d": shown},
    }
    (tmp_path / "plans.json").write_text(json.dumps(plans))
    read_plans(str(tmp_path / "plans.json"))  # a page may be made of it
    with pytest.raises(NnudaError, match=r"plans\.json: .*transpose_forward"):
        load_predictor(str(tmp_path), ["all"], "checkpoint_final.pth", CPU)


@pytest.mark.slow
@pytest.mark.skipif(not IO.exists(), reason="the system does not count what a process reads")
def test_a_checkpoint_is_read_once(model, tmp_path):
    folder = shutil.copytree(model, tmp_path / model.name)
    file = folder / "fold_all" / "checkpoint_final.pth"
    content = torch.load(file, weights_only=False)
    torch.save({**content, "optimizer_state": {"momentum": torch.zeros(16, 1024, 1024)}}, file)
    load_predictor(str(model), ["all"], "checkpoint_final.pth", CPU)  # reads what is imported too
    before = bytes_read()
    load_predictor(str(folder), ["all"], "checkpoint_final.pth", CPU)
    assert 0.9 < (bytes_read() - before) / file.stat().st_size < 1.5


@pytest.mark.slow
def test_a_good_one_predicts(model):
    predictor = load_predictor(str(model), ["all"], "checkpoint_final.pth", CPU)
    assert predictor.network is not None and predictor.configuration_manager.patch_size == [32, 32]
