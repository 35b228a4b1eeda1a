"""A source, a target and models whose networks have random weights: everything but a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from whole_plan import ARCHITECTURE, whole_plan

SOURCE, TARGET = "Dataset501_ToySource", "Dataset502_ToyTarget"
SHAPE = (3, 24, 24)
LABELS = {"background": 0, "left box": 1, "right box": 2}
DATASET_JSON = {"channel_names": {"0": "MR"}, "labels": LABELS, "file_ending": ".nii.gz", "numTraining": 4}


def plans(name: str) -> dict:
    """With a 2D network, and the second stage of a cascade."""
    return whole_plan(SOURCE, name)


def write_image(array: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = sitk.GetImageFromArray(array)
    picture.SetSpacing((1.0, 1.0, 3.0))
    sitk.WriteImage(picture, str(file))


def write_domain(folder: Path, labels: Path, cases: int, seed: int) -> None:
    """Images with two boxes in nnU-Net's raw format; their labels elsewhere."""
    rng = np.random.default_rng(seed)
    for i in range(cases):
        label = np.zeros(SHAPE, np.uint8)
        label[:, 4:12, 3:9], label[:, 10:18, 13:20] = 1, 2
        label = np.roll(label, rng.integers(0, 4, 2), (1, 2))
        write_image((label * 100 + rng.normal(0, 20, SHAPE)).astype(np.float32), folder / f"imagesTr/c{i}_0000.nii.gz")
        write_image(label, labels / f"c{i}.nii.gz")
    (folder / "dataset.json").write_text(json.dumps({**DATASET_JSON, "numTraining": cases}))


class Made:
    """Both domains and nnU-Net's three folders.

    Attributes:
        root: above them.
        labels: of the target's cases, outside of its dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root, self.labels = root, root / "target_labels"
        self.folders = {f"nnUNet_{name}": str(root / name) for name in ("raw", "preprocessed", "results")}
        self.results = root / "results" / SOURCE
        self.results.mkdir(parents=True)
        write_domain(root / "raw" / SOURCE, root / "raw" / SOURCE / "labelsTr", 4, 0)
        write_domain(root / "raw" / TARGET, self.labels, 3, 1)

    def model(
        self,
        plans_name: str = "nnUNetPlans",
        folds: dict[str, dict[str, int]] | None = None,
        configuration: str = "2d",
        seed: int = 0,
        **changes: dict,
    ) -> Path:
        """A results folder.

        Args:
            plans_name: of its plan.
            folds: fold -> checkpoint -> epoch.
            configuration: of the plan.
            seed: of the weights, changed by fold and epoch.
            changes: of plans.json.
        """
        folder = self.results / f"nnUNetTrainer__{plans_name}__{configuration}"
        for fold, checkpoints in (folds or {"0": {"checkpoint_final.pth": 2}}).items():
            (folder / f"fold_{fold}").mkdir(parents=True)
            for name, epoch in checkpoints.items():
                torch.manual_seed(100 * seed + 10 * epoch + len(fold) + int(fold.replace("all", "9")))
                network = get_network_from_plans(
                    ARCHITECTURE["network_class_name"],
                    ARCHITECTURE["arch_kwargs"],
                    ARCHITECTURE["_kw_requires_import"],
                    1,
                    len(LABELS),
                    deep_supervision=False,
                )
                saved = {
                    "network_weights": network.state_dict(),
                    "current_epoch": epoch,
                    "trainer_name": "nnUNetTrainer",
                    "init_args": {"configuration": configuration},
                    "inference_allowed_mirroring_axes": (0, 1),
                }
                torch.save(saved, folder / f"fold_{fold}" / name)
        (folder / "plans.json").write_text(json.dumps({**plans(plans_name), **changes}))
        (folder / "dataset.json").write_text(json.dumps(DATASET_JSON))
        return folder

    def words(self, *more: str) -> list[str]:
        """Arguments of the command."""
        common = ["-d", "501", "-t", "502", "-o", str(self.root / "out"), "-device", "cpu", "--disable_tta"]
        return [*common, *more]
