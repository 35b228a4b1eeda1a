"""A source, a target and models whose networks have random weights: everything but a training."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans

SOURCE, TARGET = "Dataset501_ToySource", "Dataset502_ToyTarget"
SHAPE = (3, 24, 24)
LABELS = {"background": 0, "left box": 1, "right box": 2}
DATASET_JSON = {"channel_names": {"0": "MR"}, "labels": LABELS, "file_ending": ".nii.gz", "numTraining": 4}
ARCHITECTURE = {
    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
    "arch_kwargs": {
        "n_stages": 2,
        "features_per_stage": [4, 8],
        "conv_op": "torch.nn.modules.conv.Conv2d",
        "kernel_sizes": [[3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2]],
        "n_conv_per_stage": [1, 1],
        "n_conv_per_stage_decoder": [1],
        "conv_bias": True,
        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm2d",
        "norm_op_kwargs": {"eps": 1e-05, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    },
    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
}


def plans(name: str) -> dict:
    """With a 2D network, and the second stage of a cascade."""
    resampling = {"is_seg": False, "order": 1, "order_z": 0, "force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    configuration = {
        "data_identifier": f"{name}_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 2,
        "patch_size": [16, 16],
        "median_image_size_in_voxels": [24.0, 24.0],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "resampling_fn_data": resample,
        "resampling_fn_seg": resample,
        "resampling_fn_data_kwargs": resampling,
        "resampling_fn_seg_kwargs": {**resampling, "is_seg": True},
        "resampling_fn_probabilities": resample,
        "resampling_fn_probabilities_kwargs": resampling,
        "architecture": ARCHITECTURE,
        "batch_dice": True,
    }
    return {
        "dataset_name": SOURCE,
        "plans_name": name,
        "image_reader_writer": "SimpleITKIO",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "label_manager": "LabelManager",
        "configurations": {
            "2d": configuration,
            "3d_cascade_fullres": {"inherits_from": "2d", "previous_stage": "3d_lowres"},
        },
        "foreground_intensity_properties_per_channel": {"0": {}},
    }


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
