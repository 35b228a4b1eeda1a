"""The documentation's bash blocks, as they stand, one page after another in one shell, on toy data.

Shell functions around the commands make them small: a few steps, on the CPU.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from command_server import commands
from documentation_pages import METHOD_PAGE, ROADS, blocks, write_files
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from toy import Toy, run, write_dataset

SOURCE, TARGET, OTHER = "Dataset501_Source", "Dataset502_Target", "Dataset503_Other"
SMALL = " ".join(
    f"--set training.{name}"
    for name in ("num_epochs=1", "num_iterations_per_epoch=2", "num_val_iterations_per_epoch=1")
)
FUNCTIONS = f"""
set -eu
nnUDA_plan_and_preprocess() {{ command nnUDA_plan_and_preprocess "$@" -np 1 {SMALL}; }}
nnUDA_evaluate() {{ command nnUDA_evaluate "$@" -np 1; }}
nnUDA_postprocess() {{ command nnUDA_postprocess "$@" -np 1; }}
nnUDA_export() {{ command nnUDA_export "$@" -device cpu; }}
nnUNetv2_train() {{ command nnUNetv2_train "$@" -device cpu; }}
nnUNetv2_predict() {{ command nnUNetv2_predict "$@" -device cpu -npp 1 -nps 1 --disable_tta; }}
nnUNetv2_predict_from_modelfolder() {{ command nnUNetv2_predict_from_modelfolder "$@" -device cpu -npp 1 -nps 1 --disable_tta; }}
"""


def make_data(folder: Path) -> Toy:
    """Source, targets, and beside them what the pages call imagesTs, labelsTs and source_images."""
    toy = Toy(folder)
    write_dataset(toy.raw / SOURCE, labelled=True, inverted=False, cases=5)
    write_dataset(toy.raw / TARGET, labelled=True, inverted=True, cases=5)
    (toy.raw / TARGET / "labelsTr").rename(folder / "labels")
    shutil.copytree(toy.raw / TARGET, toy.raw / OTHER)
    for name, source, file in (
        ("imagesTs", toy.raw / TARGET / "imagesTr", "case0_0000.nii.gz"),
        ("labelsTs", folder / "labels", "case0.nii.gz"),
        ("source_images", toy.raw / SOURCE / "imagesTr", "case0_0000.nii.gz"),
    ):
        (folder / name).mkdir()
        shutil.copy(source / file, folder / name)
    return toy


def walk(toy: Toy, road: str) -> str:
    """Run a road; returns what it printed."""
    script = FUNCTIONS + "".join(
        block.script for page in ROADS[road] for block in blocks() if block.page == page and not block.marker
    )
    path = f"{commands().folder}:{Path(sys.executable).parent}:{toy.environment['PATH']}"
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=toy.root,
        env={**toy.environment, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    assert done.returncode == 0, done.stdout[-6000:]
    return done.stdout


def foreground_properties(file: Path) -> dict:
    return json.loads(file.read_text())["foreground_intensity_properties_per_channel"]


@pytest.mark.slow
def test_the_fresh_road(tmp_path):
    toy = make_data(tmp_path)
    output = walk(toy, "fresh")
    assert "Everything is in place." in output and "made by nnUDAPlanner" in output
    for name in ("predictions", "source_predictions", "predictions_exported", "postprocessed"):
        assert (tmp_path / name / "case0.nii.gz").is_file()
    scores = json.loads((tmp_path / "predictions" / "nnuda_scores.json").read_text())
    assert scores["oracle"] and scores["num_cases"] == 1

    preprocessed, results = (Path(toy.folders[f"nnUNet_{name}"]) / SOURCE for name in ("preprocessed", "results"))
    of_source = foreground_properties(preprocessed / "nnUNetPlans.json")
    assert foreground_properties(tmp_path / "source_predictions" / "plans.json") == of_source
    assert foreground_properties(tmp_path / "predictions" / "plans.json") != of_source
    assert (
        json.loads((preprocessed / "nnUNetPlans_to503.json").read_text())["domain_adaptation"]["target"]["name"]
        == OTHER
    )

    for name in ("fingerprint.json", "nnUNetPlans_2d", "nnUNetPlans_2d.json"):
        assert (preprocessed / f"nnUDA_target_{TARGET}" / name).exists()
    model = results / "nnUDATrainerAdapt__nnUNetPlans__2d"
    for name in (
        "plans.json",
        "plans_source.json",
        "fold_0/nnuda_progress.png",
        "fold_0/checkpoint_final.pth",
        "fold_0/validation",
    ):
        assert (model / name).exists()
    assert (results / "nnUDATrainerSourceOnly__nnUNetPlans_strong__2d" / "fold_0" / "checkpoint_final.pth").is_file()


@pytest.mark.slow
def test_the_road_of_a_new_method(tmp_path):
    toy = make_data(tmp_path)
    write_files(METHOD_PAGE, tmp_path)
    output = walk(toy, "method")
    assert "nnUNetTrainerEntMin" in output and "loss terms: source, teacher, entropy" in output
    assert "planning.memory_factor: " in output and "Exported: " in output
    assert (tmp_path / "predictions" / "case0.nii.gz").is_file()


def stock_deployment(toy: Toy, monkeypatch: pytest.MonkeyPatch) -> dict[Path, bytes]:
    """What stock nnU-Net leaves behind: plan, preprocessed source, a model (untrained: it is its files that count).
    Returns the files that must not change."""
    run(
        ["nnUNetv2_plan_and_preprocess", "-d", "501", "-c", "2d", "-npfp", "1", "-np", "1"],
        {**toy.environment, "nnUNet_n_proc_DA": "1"},
    )
    preprocessed = Path(toy.folders["nnUNet_preprocessed"]) / SOURCE
    for name, value in toy.environment.items():
        monkeypatch.setenv(name, value)
    plans, dataset_json = (
        json.loads((preprocessed / name).read_text()) for name in ("nnUNetPlans.json", "dataset.json")
    )
    trainer = nnUNetTrainer({**plans, "continue_training": False}, "2d", 0, dataset_json, torch.device("cpu"))
    trainer.initialize()
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    kept = [*Path(trainer.output_folder_base).rglob("*"), *preprocessed.rglob("*")]
    return {path: path.read_bytes() for path in kept if path.is_file() and path.name != "nnUNetPlans.json"}


@pytest.mark.slow
def test_the_road_from_an_existing_deployment(tmp_path, monkeypatch):
    toy = make_data(tmp_path)
    before = stock_deployment(toy, monkeypatch)
    output = walk(toy, "existing")
    assert "existing plan, extended" in output and "training.init_from: took" in output
    assert (tmp_path / "predictions" / "case0.nii.gz").is_file()
    assert {path: path.read_bytes() for path in before} == before
