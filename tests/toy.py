"""Toy data and stock commands for the tests that train: two small domains, planned and preprocessed once a session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from command_server import commands

SOURCE, TARGET = "Dataset501_ToySource", "Dataset502_ToyTarget"
CPU = {"nnUNet_n_proc_DA": "0", "nnUNet_def_n_proc": "1", "nnUNet_compile": "f", "OMP_NUM_THREADS": "1"}


def toy_case(
    rng: np.random.Generator, inverted: bool, shape: tuple[int, ...] = (12, 40, 40)
) -> tuple[np.ndarray, np.ndarray]:
    """An image with two boxes, and its labels 1 and 2; (Z, Y, X)."""
    label = np.zeros(shape, np.uint8)
    for value in (1, 2):
        corner = [int(rng.integers(1, size // 2)) for size in shape]
        label[tuple(slice(c, c + max(3, size // 4)) for c, size in zip(corner, shape))] = value
    image = label * 100.0 + rng.normal(0, 10, shape) + 50
    return (400 - image if inverted else image).astype(np.float32), label


def write_dataset(
    folder: Path,
    *,
    labelled: bool,
    inverted: bool,
    cases: int = 4,
    labels: dict | None = None,
    channel: str = "MR",
    shape: tuple[int, ...] = (12, 40, 40),
    extra: dict | None = None,
) -> None:
    """A dataset in nnU-Net's raw format; an unlabelled one has no labelsTr at all."""
    (folder / "imagesTr").mkdir(parents=True)
    rng = np.random.default_rng(1 if inverted else 0)
    for i in range(cases):
        image, label = toy_case(rng, inverted, shape)
        for array, name in ((image, f"imagesTr/case{i}_0000.nii.gz"), (label, f"labelsTr/case{i}.nii.gz")):
            if labelled or name.startswith("imagesTr"):
                picture = sitk.GetImageFromArray(array)
                picture.SetSpacing((1.0, 1.0, 1.5))
                (folder / name).parent.mkdir(exist_ok=True)
                sitk.WriteImage(picture, str(folder / name))
    content = {
        "channel_names": {"0": channel},
        "labels": labels or {"background": 0, "left box": 1, "right box": 2},
        "numTraining": cases,
        "file_ending": ".nii.gz",
        **(extra or {}),
    }
    (folder / "dataset.json").write_text(json.dumps(content))


def small_configurations(plans: dict) -> dict:
    """Add 2d_toy and 3d_toy: the plan's own configurations with small networks."""
    for name, patch in (("2d", [32, 32]), ("3d_fullres", [8, 32, 32])):
        dim = len(patch)
        architecture = json.loads(json.dumps(plans["configurations"][name]["architecture"]))
        strides = [[1] * dim, [1, 2, 2][-dim:], [2] * dim]
        architecture["arch_kwargs"].update(
            n_stages=3,
            features_per_stage=[8, 16, 16],
            kernel_sizes=[[3] * dim] * 3,
            strides=strides,
            n_conv_per_stage=[1] * 3,
            n_conv_per_stage_decoder=[1] * 2,
        )
        plans["configurations"][f"{name[:2]}_toy"] = {
            "inherits_from": name,
            "data_identifier": f"{plans['plans_name']}_{name[:2]}_toy",
            "patch_size": patch,
            "batch_size": 2,
            "architecture": architecture,
        }
    return plans


def run(
    arguments: list[str], environment: dict[str, str], expect: int | None = 0, timeout: int = 600, real: bool = False
) -> str:
    """Run a console script of this environment, `real` as it is installed; returns what it printed."""
    script = (Path(sys.executable).parent if real else commands().folder) / arguments[0]
    result = subprocess.run(
        [str(script), *arguments[1:]], env=environment, capture_output=True, text=True, timeout=timeout
    )
    output = result.stdout + result.stderr
    if expect is not None and result.returncode != expect:
        raise AssertionError(f"{' '.join(arguments)} returned {result.returncode}, not {expect}:\n{output[-6000:]}")
    return output


class Toy:
    """A planned and preprocessed pair of domains under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
        for folder in self.folders.values():
            Path(folder).mkdir(parents=True, exist_ok=True)
        self.environment = {**os.environ, **CPU, **self.folders}

    @property
    def raw(self) -> Path:
        return Path(self.folders["nnUNet_raw"])

    @property
    def preprocessed(self) -> Path:
        return Path(self.folders["nnUNet_preprocessed"]) / SOURCE

    @property
    def results(self) -> Path:
        return Path(self.folders["nnUNet_results"]) / SOURCE

    def plan(self) -> None:
        """Stock plan with the small configurations, then nnuda's key and preprocessing. The methods are as published
        unless a test says `training.recipe=recommended`."""
        planning = {**self.environment, "nnUNet_n_proc_DA": "1"}
        run(["nnUNetv2_plan_and_preprocess", "-d", "501", "--no_pp", "-npfp", "1"], planning)
        file = self.preprocessed / "nnUNetPlans.json"
        file.write_text(json.dumps(small_configurations(json.loads(file.read_text()))))
        run(
            [
                "nnUDA_plan_and_preprocess",
                "-d",
                "501",
                "-t",
                "502",
                "-c",
                "2d_toy",
                "3d_toy",
                "-np",
                "1",
                "--text-model",
                "ngrams",
                "--set",
                "training.recipe=paper",
                "--set",
                "training.num_epochs=2",
                "--set",
                "training.num_iterations_per_epoch=2",
                "--set",
                "training.num_val_iterations_per_epoch=1",
                "--set",
                "training.save_every=1",
                "--set",
                "training.seed=0",
                "--set",
                "selection.batches=2",
            ],
            planning,
        )

    def variant(self, name: str, settings: dict) -> str:
        """A plan of its own name with other settings."""
        arguments = [
            argument for key, value in settings.items() for argument in ("--set", f"{key}={json.dumps(value)}")
        ]
        run(["nnUDA_configure", "-d", "501", "-p", "nnUNetPlans", "--as", name, *arguments], self.environment)
        return name

    def train(
        self, trainer: str, configuration: str, plans: str, *flags: str, expect: int | None = 0, real: bool = False
    ) -> str:
        """nnUNetv2_train on all cases."""
        return run(
            ["nnUNetv2_train", "501", configuration, "all", "-tr", trainer, "-p", plans, "-device", "cpu", *flags],
            self.environment,
            expect,
            real=real,
        )

    def trained(self, trainer: str, configuration: str, plans: str) -> Path:
        """The results folder of such a training, which another test may have made."""
        folder = self.results / f"{trainer}__{plans}__{configuration}"
        if not (folder / "fold_all" / "checkpoint_final.pth").is_file():
            self.train(trainer, configuration, plans)
        return folder


def cached_toy(folder: Path) -> Toy:
    """A planned pair of domains in a folder, made where it is not there; `NNUDA_TEST_TOY` then names it for further runs
    of pytest, which copy it instead of planning anew."""
    made = Toy(folder)
    if not (made.preprocessed / "nnUNetPlans.json").is_file():
        write_dataset(made.raw / SOURCE, labelled=True, inverted=False)
        write_dataset(made.raw / TARGET, labelled=False, inverted=True)
        made.plan()
    os.environ["NNUDA_TEST_TOY"] = str(folder)
    return made
