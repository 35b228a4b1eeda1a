"""The demo's data as nnU-Net datasets."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage import io

from nnuda.demo.images import LABELS, SOURCE, TARGET, Contrast, draw_case
from nnuda.files import write_json

SEED = 20260101
CASES_TRAINING = 40  # of each domain
CASES_TEST = 20  # of the target


@dataclass(frozen=True)
class DemoData:
    """Where the demo's data lies.

    Attributes:
        source: labelled.
        target: unlabelled; imagesTs are its test images.
        oracle: the target's training images with their labels, for the oracle alone.
        test_labels: labels of the target's test images, for scoring alone.
    """

    source: Path
    target: Path
    oracle: Path
    test_labels: Path


def _write_cases(
    contrast: Contrast, count: int, rng: np.random.Generator, images: list[Path], labels: list[Path]
) -> None:
    for folder in (*images, *labels):
        folder.mkdir(parents=True)
    for number in range(count):
        image, label_map = draw_case(contrast, rng)
        for folder in images:
            io.imsave(folder / f"case{number:02d}_0000.png", image, check_contrast=False)
        for folder in labels:
            io.imsave(folder / f"case{number:02d}.png", label_map, check_contrast=False)


def _write_dataset_json(folder: Path, channel: str) -> None:
    content = {"channel_names": {"0": channel}, "labels": LABELS, "numTraining": CASES_TRAINING, "file_ending": ".png"}
    write_json(content, str(folder / "dataset.json"))


def make_data(raw: Path, test_labels: Path) -> DemoData:
    """Draws the data set; the same one each time.

    Args:
        raw: nnUNet_raw.
        test_labels: folder for the labels of the target's test images.
    """
    rng = np.random.default_rng(SEED)
    data = DemoData(
        source=raw / "Dataset901_DemoSource",
        target=raw / "Dataset902_DemoTarget",
        oracle=raw / "Dataset903_DemoOracle",
        test_labels=test_labels,
    )
    _write_cases(SOURCE, CASES_TRAINING, rng, [data.source / "imagesTr"], [data.source / "labelsTr"])
    _write_cases(
        TARGET, CASES_TRAINING, rng, [data.target / "imagesTr", data.oracle / "imagesTr"], [data.oracle / "labelsTr"]
    )
    _write_cases(TARGET, CASES_TEST, rng, [data.target / "imagesTs"], [data.test_labels])
    for folder, channel in ((data.source, "scanner A"), (data.target, "scanner B"), (data.oracle, "scanner B")):
        _write_dataset_json(folder, channel)
    return data
