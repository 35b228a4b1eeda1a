"""The run of `made_run` with volumes: a ball in a shell, seen in noise."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from made_run import DATASET_JSON, make_run, plans

SHAPE, SPACING = (38, 96, 96), (1.0, 1.0, 3.0)  # z, y, x; x, y, z
CENTRE = (18, 46, 50)


def make_volume_run(root: Path) -> Path:
    """A fold folder of a training on NIfTI volumes."""
    folder = make_run(root)
    for file in ("plans.json", "plans_source.json"):
        (folder.parent / file).write_text(json.dumps({**plans(), "image_reader_writer": "SimpleITKIO"}))
    (folder.parent / "dataset.json").write_text(json.dumps({**DATASET_JSON, "file_ending": ".nii.gz"}))
    return folder


def ball(shift: int = 0) -> np.ndarray:
    """Labels of a ball in a shell, moved along x by some voxels: 25 of the slices, 6 to 30, hold some."""
    z, y, x = np.indices(SHAPE)
    distance = np.sqrt((3 * (z - CENTRE[0])) ** 2 + (y - CENTRE[1]) ** 2 + (x - CENTRE[2] - shift) ** 2)  # mm
    return ((distance < 37) * 2 - (distance < 20)).astype(np.uint8)


def write_volume(file: Path, array: np.ndarray) -> Path:
    """A NIfTI file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    volume = sitk.GetImageFromArray(array)
    volume.SetSpacing(SPACING)
    sitk.WriteImage(volume, str(file))
    return file


def write_balls(folder: Path, shifts: dict[str, int]) -> Path:
    """A label file a case."""
    for case, shift in shifts.items():
        write_volume(folder / f"{case}.nii.gz", ball(shift))
    return folder


def write_noisy_images(folder: Path, cases: list[str]) -> Path:
    """An image a case, of the ball that is not moved."""
    for seed, case in enumerate(cases):
        noise = np.random.default_rng(seed).normal(0, 12, SHAPE)
        write_volume(folder / f"{case}_0000.nii.gz", (ball() * 50 + 60 + noise).astype(np.float32))
    return folder
