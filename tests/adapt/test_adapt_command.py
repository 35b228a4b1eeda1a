"""nnUDA_adapt on toy data: end to end, again, and after it was ended on the way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
from command_server import commands
from toy import Toy, run

from nnuda.cli.adapt import build_parser, main, model_to_start_from


def words(output: Path, *more: str) -> list[str]:
    return ["nnUDA_adapt", "-d", "501", "-t", "502", "-c", "2d_toy", "-f", "all", "--device", "cpu", "-np", "1"] + [
        *("-o", str(output)),
        *more,
    ]


def test_ended_in_training_gone_on_to_the_end_and_nothing_twice(toy: Toy, tmp_path: Path) -> None:
    settings = ["-overwrite_plans_name", "nnUNetPlans_road", "--epochs", "4"]  # other tests train nnUNetPlans
    for setting in ("num_iterations_per_epoch=2", "num_val_iterations_per_epoch=1", "save_every=1", "seed=0"):
        settings += ["--set", f"training.{setting}"]
    command = words(tmp_path / "out", *settings)
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / command[0]), *command[1:]],
        env=toy.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    printed = ""
    for line in process.stdout:
        printed += line
        if "epoch 1 of 4" in line:
            fold = toy.results / "nnUDATrainerAdapt__nnUNetPlans_road__2d_toy" / "fold_all"
            while process.poll() is None and not (fold / "checkpoint_latest.pth").exists():
                time.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            break
    printed += process.stdout.read()
    assert process.wait(60) == 143, printed
    other = run([*command, "--set", "training.initial_lr=0.5"], toy.environment, expect=1)
    assert "was begun with other settings" in other and "training.initial_lr: was 0.01, now 0.5" in other
    output = run(command, toy.environment)
    assert "[1/7] plan and preprocess: there already" in output
    assert "[2/7] train: goes on from its last checkpoint" in output and "epoch 4 of 4" in output
    assert output.count("nnUNetv2_train") >= 3
    assert "expected Dice" in output and "An estimate, not a score" in output
    for name in (
        "predictions/case0.nii.gz",
        "predictions/nnuda_estimate.json",
        "report.html",
        "postprocessed/case0.nii.gz",
        "logs/2_nnUNetv2_train.log",
    ):
        assert (tmp_path / "out" / name).is_file()
    estimate = json.loads((tmp_path / "out" / "predictions" / "nnuda_estimate.json").read_text())
    assert set(estimate["per_class"]) == {"left box", "right box"} and len(estimate["per_case"]) == 4
    assert "trained on" in " ".join(estimate["reasons"]) or estimate["verdict"] == "do not use"  # fold all
    again = run(command, toy.environment)
    assert again.count("there already") >= 6 and "$ nn" not in again
    a_round_after_it(toy, tmp_path, command)


PLAIN = """
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer


class nnUNetTrainerBrief(nnUNetTrainer):
    def __init__(self, plans, configuration, fold, dataset_json, device):
        super().__init__(plans, configuration, fold, dataset_json, device)
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch, self.save_every = 8, 1, 1, 1
"""


def a_round_after_it(toy: Toy, tmp_path: Path, command: list[str]) -> None:
    """A self-training round after this very training: ended in its own training, gone on to the end, nothing twice."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "nnUNetTrainerBrief.py").write_text(PLAIN)
    environment = {**toy.environment, "nnUNet_extTrainer": str(tmp_path / "trainers")}
    assert environment["nnUNet_n_proc_DA"] == "0"  # with which nnU-Net's planner alone fails
    command = [*command, "--rounds", "1", "--round-configuration", "2d", "--round-trainer", "nnUNetTrainerBrief"]
    command += ["--confidence", "0", "--size-spread", "0"]  # hardly trained, it is sure of nothing
    process = subprocess.Popen(
        [str(commands().folder / command[0]), *command[1:]],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    name = "Dataset601_ToySource_pseudo_ToyTarget"
    fold = toy.results.parent / name / "nnUNetTrainerBrief__nnUNetPlans__2d" / "fold_all"
    while process.poll() is None and not zipfile.is_zipfile(fold / "checkpoint_latest.pth"):
        time.sleep(0.1)  # nnU-Net's own trainer writes it in place
    process.send_signal(signal.SIGTERM)
    printed = process.communicate(timeout=60)[0]
    assert process.returncode == 143 and "[7/7] postprocess: there already" in printed, printed
    output = run(command, environment)
    assert "[round 1, 1/7] pseudo-labels: there already" in output
    assert "[round 1, 2/7] plan and preprocess: there already" in output
    assert "[round 1, 3/7] train: goes on from its last checkpoint" in output
    assert f"{fold.parent}, fold all, checkpoint_final.pth" in output and "round 1: " in output
    last = tmp_path / "out" / "round_1"
    estimate = json.loads((last / "predictions" / "nnuda_estimate.json").read_text())
    assert sorted(estimate["calibration"]["cases"]) == [f"case{i}" for i in range(4)]  # the source's alone
    assert len(estimate["per_case"]) == 4 and estimate["second"] == [str(tmp_path / "out" / "predictions")]
    page = (last / "report.html").read_text()
    assert "; round 1; " in page and "; adapted<" in page and "not with this run" not in page
    again = run(command, environment)
    assert again.count("there already") >= 6 + 7 and "$ nn" not in again


def test_the_model_to_start_from(tmp_path: Path) -> None:
    model = tmp_path / "nnUNetTrainer__myPlans__2d"
    (model / "fold_0").mkdir(parents=True)
    (model / "fold_0" / "checkpoint_final.pth").touch()
    plans = {"dataset_name": "Dataset501_ToySource", "plans_name": "myPlans", "image_reader_writer": "SimpleITKIO"}
    (model / "plans.json").write_text(json.dumps({**plans, "configurations": {"2d": {}}}))
    assert model_to_start_from(str(model), "0") == (str(model / "fold_0"), "myPlans")
    file = str(model / "fold_0" / "checkpoint_final.pth")
    assert model_to_start_from(file, "0") == (file, "myPlans")


def test_variables_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(SystemExit, match="nnUNet_raw"):
        main(["-d", "1", "-t", "2", "-c", "2d"])
    assert build_parser().parse_args(["-d", "1", "-t", "2", "-c", "2d"]).tr == "nnUDATrainerAdapt"
