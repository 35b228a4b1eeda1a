"""The demo's data as nnU-Net datasets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from nnuda.demo import data as module
from nnuda.demo.data import make_data
from nnuda.demo.images import LABELS


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> module.DemoData:
    monkeypatch.setattr(module, "CASES_TRAINING", 3)
    monkeypatch.setattr(module, "CASES_TEST", 2)
    return make_data(tmp_path / "nnUNet_raw", tmp_path / "target_labels")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def test_the_target_has_no_labels(data: module.DemoData) -> None:
    assert names(data.target) == ["dataset.json", "imagesTr", "imagesTs"]
    assert names(data.source) == names(data.oracle) == ["dataset.json", "imagesTr", "labelsTr"]
    assert data.target.parent not in data.test_labels.parents


def test_cases_and_labels_belong_together(data: module.DemoData) -> None:
    pairs = {data.source / "imagesTr": data.source / "labelsTr", data.target / "imagesTs": data.test_labels}
    for images, labels in pairs.items():
        assert names(images) == [name.replace(".png", "_0000.png") for name in names(labels)]
    for number in range(3):
        image = f"imagesTr/case{number:02d}_0000.png"
        np.testing.assert_array_equal(io.imread(data.target / image), io.imread(data.oracle / image))
        assert set(np.unique(io.imread(data.oracle / "labelsTr" / f"case{number:02d}.png"))) == set(LABELS.values())


def test_dataset_json_is_nnunet_s(data: module.DemoData) -> None:
    content = json.loads((data.target / "dataset.json").read_text())
    assert content == {"channel_names": {"0": "scanner B"}, "labels": LABELS, "numTraining": 3, "file_ending": ".png"}


def test_training_and_test_images_of_the_target_differ(data: module.DemoData) -> None:
    training = [io.imread(file) for file in sorted((data.target / "imagesTr").iterdir())]
    for file in (data.target / "imagesTs").iterdir():
        assert all((io.imread(file) != image).any() for image in training)
