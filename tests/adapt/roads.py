"""A road without any data, for tests that look at its commands and files."""

from __future__ import annotations

from pathlib import Path

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
