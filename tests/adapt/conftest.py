from __future__ import annotations

from pathlib import Path

import pytest

from nnuda.datasets import Domain
from nnuda.stages.road import Road

ENDING = ".nii.gz"


def make_road(root: Path, **changes: object) -> Road:
    source, target = (
        Domain(name, str(root / name), {"file_ending": ENDING}, {}) for name in ("Dataset501_S", "Dataset502_T")
    )
    values = {
        "source": source,
        "target": target,
        "source_words": ["-d", "501"],
        "target_words": ["-t", "502"],
        "configuration": "2d",
        "fold": "0",
        "trainer": "nnUDATrainerAdapt",
        "plans": "nnUNetPlans",
        "base": None,
        "settings": None,
        "planning": [],
        "images": str(root / "images"),
        "cases": {"case.0": 1, "case.1": 2, "case.2": 3},
        "output": str(root / "out"),
        "checkpoint": None,
        "device": "cpu",
        "processes": None,
    }
    return Road(**{**values, **changes})


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """A road whose results folder is empty."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    road = make_road(tmp_path)
    Path(road.fold_folder).mkdir(parents=True)
    Path(road.folder).mkdir()
    return road
