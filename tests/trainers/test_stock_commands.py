"""Every trainer, by discovery, in 2D and 3D, through the stock commands; the target has no labels on disk (release gate
4). The recommended trainer as these commands are installed, the others by tests/command_server.py."""

from __future__ import annotations

import json

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from methods import IN_2D_ALONE, TRAINERS
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from toy import SOURCE, TARGET, run

from nnuda.trainer_files import RECOMMENDED

SETTINGS = {"training.recipe": "recommended", "training.augmentation": "strong", "teacher.weight": 1}


@pytest.fixture(scope="session")
def plans_name(toy) -> str:
    return toy.variant("gate4", SETTINGS)


def predict(toy, trainer, configuration, plans_name, results, output) -> None:
    """By nnUNetv2_predict in 2D; in 3D by its predictor in this process, which needs no three imports of torch."""
    images = str(toy.raw / TARGET / "imagesTr")
    if configuration == "2d_toy":
        words = ["nnUNetv2_predict", "-i", images, "-o", str(output), "-d", "501", "-c", configuration, "-f", "all"]
        words += ["-tr", trainer, "-p", plans_name, "-device", "cpu", "-npp", "1", "-nps", "1", "--disable_tta"]
        run(words, toy.environment, real=trainer == RECOMMENDED)
        return
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(results), ("all",), "checkpoint_final.pth")
    predictor.predict_from_files_sequential(images, str(output))


@pytest.mark.parametrize(
    ("trainer", "configuration"),
    [
        (trainer, configuration)
        for trainer in TRAINERS
        for configuration in ("2d_toy", "3d_toy")
        if configuration == "2d_toy" or trainer not in IN_2D_ALONE
    ],
)
def test_trains_and_predicts(toy, plans_name, trainer, configuration, tmp_path):
    assert not (toy.raw / TARGET / "labelsTr").exists()
    log = toy.train(trainer, configuration, plans_name, real=trainer == RECOMMENDED)
    assert f"labelled source {SOURCE} -> unlabelled target {TARGET}" in log

    results = toy.results / f"{trainer}__{plans_name}__{configuration}"
    assert (results / "fold_all" / "nnuda_progress.png").is_file()
    assert (results / "fold_all" / "checkpoint_final.pth").is_file()
    frozen, source = (json.loads((results / name).read_text()) for name in ("plans.json", "plans_source.json"))
    assert frozen["domain_adaptation"]["effective_settings"]["training.augmentation"] == "strong"
    normalization = frozen["domain_adaptation"]["target"]["normalization"]
    assert (
        frozen["foreground_intensity_properties_per_channel"]
        == normalization["foreground_intensity_properties_per_channel"]
    )
    assert (
        source["foreground_intensity_properties_per_channel"] != frozen["foreground_intensity_properties_per_channel"]
    )

    predict(toy, trainer, configuration, plans_name, results, tmp_path)
    for i in range(4):
        image, label = (
            sitk.ReadImage(str(path))
            for path in (toy.raw / TARGET / "imagesTr" / f"case{i}_0000.nii.gz", tmp_path / f"case{i}.nii.gz")
        )
        assert label.GetSize() == image.GetSize() and label.GetSpacing() == image.GetSpacing()
        assert set(np.unique(sitk.GetArrayFromImage(label))) <= {0, 1, 2}


def test_another_configuration_does_not_touch_the_results(toy, plans_name):
    """Needs the 2D run of the test above; the same plan name with another setting stops at the start."""
    results = toy.results / f"nnUDATrainerSourceOnly__{plans_name}__2d_toy"
    if not results.exists():
        toy.train("nnUDATrainerSourceOnly", "2d_toy", plans_name)
    before = {path: path.stat().st_mtime_ns for path in results.rglob("*")}
    file = toy.preprocessed / f"{plans_name}.json"
    original = file.read_text()
    plans = json.loads(original)
    plans["domain_adaptation"]["settings"]["teacher.decay"] = 0.5
    try:
        file.write_text(json.dumps(plans))
        log = toy.train("nnUDATrainerSourceOnly", "2d_toy", plans_name, expect=1)
    finally:
        file.write_text(original)
    assert "teacher.decay: was 'auto', now 0.5" in log and "nnUDA_configure" in log
    assert {path: path.stat().st_mtime_ns for path in results.rglob("*")} == before


def test_a_plan_without_the_key_names_the_command(toy):
    file = toy.preprocessed / "nokey.json"
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    del plans["domain_adaptation"]
    file.write_text(json.dumps({**plans, "plans_name": "nokey"}))
    log = toy.train("nnUDATrainerSourceOnly", "2d_toy", "nokey", expect=1)
    assert "nnUDA_plan_and_preprocess -d Dataset501_ToySource -t TARGET -p nokey" in log
    assert not (toy.results / "nnUDATrainerSourceOnly__nokey__2d_toy").exists()


def test_continues_and_validates_through_the_stock_flags(toy):
    name = toy.variant("resumed", {"training.num_epochs": 1})
    toy.train("nnUDATrainerSourceOnly", "2d_toy", name)
    assert "Using device: cpu" in toy.train("nnUDATrainerSourceOnly", "2d_toy", name, "--c")
    assert "Mean Validation Dice" in toy.train("nnUDATrainerSourceOnly", "2d_toy", name, "--val")
