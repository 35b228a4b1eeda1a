"""The demo: from two synthetic datasets to a table and a picture, through the commands that a user types."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from nnuda.commands import run_lanes
from nnuda.demo.commands import Lane, Shell
from nnuda.demo.data import CASES_TEST, CASES_TRAINING, DemoData, make_data
from nnuda.evaluation.comparison import read_result
from nnuda.evaluation.overlay import draw_overlays
from nnuda.evaluation.table import comparison_table, print_table
from nnuda.files import write_json
from nnuda.plan_key import read_plans
from nnuda.results import read_dataset_json
from nnuda.stages.progress import TrainingProgress

CONFIGURATION = "2d_demo"
# As nnU-Net users add a configuration: small enough for two CPU cores, everything else as in 2d.
SMALL = {
    "inherits_from": "2d",
    "patch_size": [64, 64],
    "batch_size": 8,
    "architecture": {
        "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
        "arch_kwargs": {
            "n_stages": 4,
            "features_per_stage": [16, 32, 64, 128],
            "conv_op": "torch.nn.modules.conv.Conv2d",
            "kernel_sizes": [[3, 3]] * 4,
            "strides": [[1, 1], [2, 2], [2, 2], [2, 2]],
            "n_conv_per_stage": [2] * 4,
            "n_conv_per_stage_decoder": [2] * 3,
            "conv_bias": True,
            "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    },
}
SETTINGS = {
    "training.num_epochs": 5,
    "training.num_iterations_per_epoch": 40,
    "training.num_val_iterations_per_epoch": 2,
    "training.seed": 1,
}
STRONG = {"training.augmentation": "strong"}
STRONG_PLAN = "nnUNetPlans_strong"


@dataclass(frozen=True)
class Row:
    """A row of the table: labelled dataset, trainer, plan."""

    labelled: str
    trainer: str
    plans: str = "nnUNetPlans"


RUNS = {  # the longest first
    "adapted": Row("901", "nnUDATrainerAdapt"),
    "strong": Row("901", "nnUDATrainerSourceOnly", STRONG_PLAN),
    "oracle": Row("903", "nnUDATrainerSourceOnly"),
    "source-only": Row("901", "nnUDATrainerSourceOnly"),
}
AT_ONCE = max(2, min(len(RUNS), os.cpu_count() or 1))  # commands
ONE_PIECE = "one-piece"  # the adapted row's predictions, postprocessed
SCORED = ("source-only", "strong", "adapted", ONE_PIECE, "oracle")
DRAWN = SCORED[:-1]
NOISE = 0.03  # Dice between seeds
PICTURE, REPORT = "overlay.png", "report.html"


def variables(folder: Path) -> dict[str, str]:
    """nnU-Net's three folders below the demo's, and what makes several commands at a time fast on a CPU."""
    paths = {name: str(folder / name) for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")}
    processes = {"OMP_NUM_THREADS": "1", "nnUNet_n_proc_DA": "1", "nnUNet_def_n_proc": "1"}
    return {**paths, **processes, "nnUNet_compile": "f"}


def add_small_configuration(plans_file: Path) -> None:
    """Adds the configuration 2d_demo to a plan; it reads what was preprocessed for 2d."""
    plans = read_plans(str(plans_file))
    plans["configurations"][CONFIGURATION] = SMALL
    write_json(plans, str(plans_file))
    print(f"  added the configuration {CONFIGURATION} to {plans_file.name}: 4 stages, patch 64x64, batch 8", flush=True)


def set_arguments(settings: dict) -> str:
    """`--set` for each setting."""
    return " ".join(f"--set {name}={value}" for name, value in settings.items())


def plan(shell: Shell, data: DemoData, labelled: str, unlabelled: str) -> Lane:
    """Plans and preprocesses a pair of datasets, given by their numbers."""
    yield from shell.lane([f"nnUDA_plan_and_preprocess -d {labelled} -t {unlabelled} -c 2d {set_arguments(SETTINGS)}"])
    dataset = data.source if labelled == "901" else data.oracle
    add_small_configuration(shell.folder / "nnUNet_preprocessed" / dataset.name / "nnUNetPlans.json")


def plan_source(shell: Shell, data: DemoData) -> Lane:
    """Two plans of the source, one with strong augmentation."""
    yield from plan(shell, data, "901", "902")
    yield from shell.lane([f"nnUDA_configure -d 901 -p nnUNetPlans --as {STRONG_PLAN} {set_arguments(STRONG)}"])


def train_and_predict(shell: Shell, data: DemoData, row: str) -> Lane:
    """Trains, and predicts the target's test images."""
    run = RUNS[row]
    images = (data.target / "imagesTs").relative_to(shell.folder)
    model = f"-tr {run.trainer} -p {run.plans} -device cpu"
    commands = (
        f"nnUNetv2_train {run.labelled} {CONFIGURATION} 0 {model}",
        f"nnUNetv2_predict -i {images} -o predictions/{row} -d {run.labelled} -c {CONFIGURATION} -f 0 {model} "
        "--disable_tta -npp 0 -nps 0",
    )

    def say(line: str) -> None:
        print(f"  {row}: {line}", flush=True)

    return shell.lane(commands, row, TrainingProgress(SETTINGS["training.num_epochs"], say, every=0))


def postprocess_and_score(shell: Shell, data: DemoData) -> Lane:
    """By the source's labels each organ is in one piece. Then the scores of each row."""
    predictions = " ".join(f"predictions/{row}" for row in SCORED)
    return shell.lane(
        [
            f"nnUDA_postprocess -d 901 -i predictions/adapted -o predictions/{ONE_PIECE} -np 1",
            f"nnUDA_evaluate {data.test_labels.name} {predictions} -np 1",
        ]
    )


def report(shell: Shell, data: DemoData) -> Lane:
    """The page of the adapted training, with its scores against those of source-only."""
    fold = f"nnUNet_results/{data.source.name}/nnUDATrainerAdapt__nnUNetPlans__{CONFIGURATION}/fold_0"
    return shell.lane(
        [
            f"nnUDA_report {fold} -o {REPORT} --predictions predictions/adapted -gt {data.test_labels.name} "
            "--before-predictions predictions/source-only"
        ]
    )


def draw(folder: Path, data: DemoData, scores: dict[str, dict]) -> None:
    """Target cases with the outlines of reference, source-only and adapted, and the mean Dice of each."""
    cases = [f"case{number:02d}" for number in range(CASES_TEST)]
    folders = {"reference": data.test_labels, **{row: folder / "predictions" / row for row in DRAWN}}
    contours = {title: {case: str(files / f"{case}.png") for case in cases} for title, files in folders.items()}
    dataset_json = read_dataset_json(str(data.target / "dataset.json"))
    draw_overlays(
        {case: str(data.target / "imagesTs" / f"{case}_0000.png") for case in cases},
        contours,
        str(folder / PICTURE),
        dataset_json,
        captions={row: {case: _mean_dice(scores[row], case) for case in cases} for row in DRAWN},
    )


def _mean_dice(scores: dict, case: str) -> str:
    return f"Dice {np.nanmean([scores['per_case'][case][name]['Dice'] for name in scores['per_class']]):.2f}"


def in_words(scores: dict[str, dict]) -> str:
    """What each step was worth, as it came out."""
    dice = {row: scores[row]["foreground_mean"]["Dice"] for row in SCORED}
    adaptation = dice["adapted"] - dice["strong"]
    noise = ", within the noise of one seed" if abs(adaptation) < NOISE else ", of one seed"
    return (
        f"Strong augmentation is worth {dice['strong'] - dice['source-only']:+.2f} Dice over source-only; "
        f"adaptation adds {adaptation:+.2f} to it{noise}; "
        f"one piece of each organ, as the source's labels show it, {dice[ONE_PIECE] - dice['adapted']:+.2f} more."
    )


def run_demo(folder: Path) -> None:
    """Runs everything below a new folder.

    Args:
        folder: does not exist, or is empty.

    Raises:
        CommandFailed: a command ended with an error.
    """
    start = time.perf_counter()
    folder = folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    print(
        f"Labelled source:   Dataset901_DemoSource, {CASES_TRAINING} synthetic slices of scanner A\n"
        f"Unlabelled target: Dataset902_DemoTarget, {CASES_TRAINING} of scanner B, and {CASES_TEST} to test on\n"
        "Oracle:            Dataset903_DemoOracle, the same slices of scanner B with their labels\n"
    )
    os.environ.update(variables(folder))  # read where torch and nnU-Net are imported, for all commands at once
    shell = Shell(folder, variables(folder))
    data = make_data(folder / "nnUNet_raw", folder / "target_labels")
    run_lanes([plan_source(shell, data), plan(shell, data, "903", "901")], AT_ONCE)
    print(f"\nFour trainings, {AT_ONCE} at a time with one thread each", flush=True)
    run_lanes([train_and_predict(shell, data, row) for row in RUNS], AT_ONCE)
    run_lanes([postprocess_and_score(shell, data), report(shell, data)], AT_ONCE)
    scores = {row: read_result(str(folder / "predictions" / row)) for row in SCORED}
    draw(folder, data, scores)
    print()
    print_table(comparison_table(scores, "source-only", "oracle", title=f"{CASES_TEST} test images of the target"))
    print(
        "strong: source-only with strong augmentation, no target image. adapted: nnUDATrainerAdapt.\n"
        "one-piece: the same predictions after nnUDA_postprocess.\n"
        f"{in_words(scores)}\nFor real images see documentation/explanation/adapt.md"
    )
    print(
        f"Picture: {folder / PICTURE}\nReport:  {folder / REPORT}\nAll of it took {time.perf_counter() - start:.0f} s.\n"
        "Your own data: nnUDA_adapt -d SOURCE -t TARGET -c 2d"
    )
