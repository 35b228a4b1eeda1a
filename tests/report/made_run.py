"""A fold folder made by hand: what a training of two epochs leaves, without the training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from skimage import io

from nnuda.settings import effective_settings
from nnuda.statistics.prototype_dictionary import PrototypeDictionary

SOURCE, TARGET = "Dataset501_One", "Dataset502_Other"
CLASSES = ["disc", "ring"]
LABELS = {"background": 0, "disc": 1, "ring": 2}
DATASET_JSON = {"channel_names": {"0": "T1"}, "labels": LABELS, "file_ending": ".png", "numTraining": 4}
CHANGED = {"training.num_epochs": 2, "prototypes.similarity.weight": 0.5}


def intensity(mean: float) -> dict:
    return {
        "mean": mean,
        "median": mean,
        "std": 1.0,
        "min": 0.0,
        "max": 9.0,
        "percentile_99_5": 8.5,
        "percentile_00_5": 0.5,
    }


def plans() -> dict:
    """A frozen plan for PNG slices."""
    configuration = {
        "data_identifier": "nnUNetPlans_2d",
        "preprocessor_name": "DefaultPreprocessor",
        "batch_size": 4,
        "patch_size": [64, 80],
        "spacing": [1.0, 1.0],
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "architecture": {"network_class_name": "PlainConvUNet", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    normalization = {
        "normalization_schemes": ["ZScoreNormalization"],
        "use_mask_for_norm": [False],
        "foreground_intensity_properties_per_channel": {"0": intensity(3.0)},
        "statistics_from": "target images, non-zero voxels",
    }
    flat = {"median_spacing": [999.0, 1.0, 1.0], "median_shape": [1, 64, 80], "low_resolution_axis": 0}
    key = {
        "schema_version": 1,
        "planned_by": "nnuda 0.1.0",
        "plan": "extended",
        "source": SOURCE,
        "target": {
            "name": TARGET,
            "folder": f"{SOURCE}/nnUDA_target_{TARGET}",
            "channel_names": {"0": "T2 <fat & water>"},
            "file_ending": ".png",
            "num_cases": 7,
            "normalization": normalization,
        },
        "geometry": {"source": flat, "target": {**flat, "median_spacing": [999.0, 2.0, 2.0]}},
        "settings": CHANGED,
        "memory": {"target_gb": 8, "step": "nnUDATrainer", "expected_gb_per_configuration": {"2d": 5.1}},
        "effective_settings": effective_settings("prototypes", CHANGED),
        "foreground_classes": CLASSES,
    }
    return {
        "dataset_name": SOURCE,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": "NaturalImage2DIO",
        "configurations": {"2d": configuration},
        "foreground_intensity_properties_per_channel": {"0": intensity(5.0)},
        "domain_adaptation": key,
    }


def checkpoint(logged: dict | None = None) -> dict[str, Any]:
    """What the trainer saves, with a network of 12 parameters."""
    dictionaries = {domain: PrototypeDictionary(3, 4, 2) for domain in ("source", "target")}
    for angle, dictionary in zip((0.0, 0.1), dictionaries.values()):
        at = torch.tensor([0.0, 2.0, 4.0]) + angle
        dictionary.update(
            torch.stack((at.cos(), at.sin()), 1)[None].repeat(2, 1, 1),
            torch.tensor([[True, True, True], [True, True, False]]),
        )
    statistics = {
        f"{domain}.{name}": value
        for domain, module in dictionaries.items()
        for name, value in module.state_dict().items()
    }
    logging = {
        "train_losses": [1.0, 0.5],
        "val_losses": [1.1, 0.7],
        "lrs": [0.01, 0.005],
        "mean_fg_dice": [np.float32(0.6), np.float32(0.8)],
        "ema_fg_dice": [0.6, 0.62],
        "dice_per_class_or_region": [[0.5, 0.7], [0.75, 0.85]],
        "epoch_start_timestamps": [100.0, 160.0],
        "epoch_end_timestamps": [160.0, 190.0],
        "nnUDA/source": [0.9, 0.4],
        "nnUDA/similarity": [0.5, 0.3],
        "nnUDA/contrast": [0.7, float("nan")],
        "nnUDA_cost/step_seconds": [0.3, 0.1],
        "nnUDA_cost/memory_gb": [float("nan")] * 2,
    }
    return {
        "network_weights": {"a": torch.zeros(3, 4)},
        "optimizer_state": {},
        "logging": {**logging, **(logged or {})},
        "current_epoch": 2,
        "trainer_name": "nnUDATrainerPrototypes",
        "init_args": {"configuration": "2d", "fold": 0},
        "nnuda": {"statistics": statistics},
    }


def epoch(number: int, entropy: float, share: float = 0.1, **other: object) -> dict:
    """A record of selection.json."""
    return {
        "epoch": number,
        "entropy": entropy,
        "class_prior": 0.2,
        "agreement": 0.9,
        "agreement_kind": "teacher",
        "density": 0.5,
        "source_dice": 0.8,
        "class_shares": [share, 0.1],
        "vetoed": [],
        "selected": True,
        "alarm": [],
        **other,
    }


def selection() -> dict:
    """A collapse of the disc in the second epoch."""
    rule = {
        "scores": ["entropy"],
        "source_dice": 0.9,
        "class_share": 0.1,
        "classes": CLASSES,
        "source_shares": [0.1, 0.1],
        "watched": [True, True],
        "regions": False,
    }
    vetoed = ["disc has 0.000 of its share of the source"]
    return {
        "rule": rule,
        "epochs": [epoch(0, 0.4), epoch(1, 0.1, 0.0, vetoed=vetoed, selected=False, alarm=["disc has vanished"])],
        "selected_epoch": 0,
    }


def make_run(
    root: Path, name: str = "checkpoint_final.pth", with_selection: bool = True, logged: dict | None = None
) -> Path:
    """Writes it below a folder; returns the fold folder."""
    folder = root / SOURCE / "nnUDATrainerPrototypes__nnUNetPlans__2d" / "fold_0"
    folder.mkdir(parents=True)
    for file in ("plans.json", "plans_source.json"):
        (folder.parent / file).write_text(json.dumps(plans()))
    (folder.parent / "dataset.json").write_text(json.dumps(DATASET_JSON))
    fingerprint = {
        "spacings": [[999, 1, 1]] * 4,
        "shapes_after_crop": [[1, 64, 80]] * 3 + [[1, 64, 96]],
        "foreground_intensity_properties_per_channel": {"0": intensity(5.0)},
    }
    (folder.parent / "dataset_fingerprint.json").write_text(json.dumps(fingerprint))
    torch.save(checkpoint(logged), folder / name)
    (folder / "debug.json").write_text(
        json.dumps({"device": "cpu", "batch_size": "4", "batch_size_target": "4", "torch_version": "2"})
    )
    if with_selection:
        (folder / "selection.json").write_text(json.dumps(selection()))
    (folder / "translations").mkdir()
    io.imsave(folder / "translations" / "epoch_0001.png", np.full((40, 700), 200, np.uint8), check_contrast=False)
    return folder


def labels(shift: int = 0, ring: bool = True) -> np.ndarray:
    """(64, 80) with a disc in a ring."""
    drawn = np.zeros((64, 80), np.uint8)
    drawn[20 + shift : 40 + shift, 30:50] = 2 if ring else 0
    drawn[25 + shift : 35 + shift, 35:45] = 1
    return drawn


def write_predictions(
    folder: Path, shifts: dict[str, int], sure: dict[str, float] | None = None, ring: bool = True
) -> Path:
    """Label files; with `sure`, the probability of each case's label, probabilities beside them."""
    folder.mkdir(parents=True)
    for case, shift in shifts.items():
        drawn = labels(shift, ring)
        io.imsave(folder / f"{case}.png", drawn, check_contrast=False)
        if sure:
            p = np.full((3, 1, 64, 80), (1 - sure[case]) / 2, np.float32)
            np.put_along_axis(p, drawn[None, None].astype(int), sure[case], axis=0)
            np.savez(folder / f"{case}.npz", probabilities=p)
    return folder


def write_images(folder: Path, cases: list[str]) -> Path:
    """An image a case."""
    folder.mkdir(parents=True)
    for case in cases:
        io.imsave(
            folder / f"{case}_0000.png", (labels() * 60 + np.arange(80)[None]).astype(np.uint8), check_contrast=False
        )
    return folder


def write_estimate(folder: Path, cases: list[str], worst: float = 0.31) -> Path:
    """What nnUDA_estimate leaves beside predictions."""

    def row(value: float, **more: float | None) -> dict:
        known = {"value": value, "low": value - 0.1, "high": value + 0.1, "soft_dice": value + 0.05}
        return {**known, "atc": value - 0.05, "agreement": None, "dice_on_source": 0.9, "impossible_size": 0.0, **more}

    verdict, reason = ("do not use", [f"ring: expected Dice {worst}, below 0.5"]) if worst < 0.5 else ("plausible", [])
    content = {
        "verdict": verdict,
        "reasons": reason,
        "caution": "An estimate, not a score: no label of the target was used.",
        "notes": ["No other training was compared."],
        "mean": row((0.84 + worst) / 2),
        "per_class": {"disc": row(0.84), "ring": row(worst)},
        "per_case": {case: {"classes": {}} for case in cases},
    }
    (folder / "nnuda_estimate.json").write_text(json.dumps(content))
    return folder / "nnuda_estimate.json"
