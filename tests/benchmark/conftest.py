from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from planning_pairs import _planned_once, folders, planned  # noqa: F401
from toy import SOURCE, TARGET, write_dataset

BUDGET = {"configuration": "2d", "settings": {"training.num_epochs": 2}}


@pytest.fixture
def described(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Writes a description of a toy pair, with entries of the caller's; two rows, two seeds."""
    raw = tmp_path / "raw"
    write_dataset(raw / SOURCE, labelled=True, inverted=False, cases=2, shape=(4, 12, 12))
    write_dataset(raw / TARGET, labelled=False, inverted=True, cases=3, shape=(4, 12, 12))
    labels = tmp_path / "labels"
    labels.mkdir()
    for case in ("case0", "case1"):
        (labels / f"{case}.nii.gz").write_bytes((raw / SOURCE / "labelsTr" / f"{case}.nii.gz").read_bytes())
    monkeypatch.setenv("nnUNet_raw", str(raw))

    def write(**changes: object) -> str:
        content = {
            "pairs": [{"name": "toy", "source": 501, "target": TARGET, "labels": "labels"}],
            "rows": [
                {"name": "plain", "trainer": "nnUDATrainerSourceOnly"},
                {
                    "name": "strong",
                    "trainer": "nnUDATrainerSourceOnly",
                    "settings": {"training.augmentation": "strong"},
                },
            ],
            "budget": BUDGET,
            "seeds": [1, 2],
            "device": "cpu",
            **changes,
        }
        file = tmp_path / "benchmark.json"
        file.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))
        return str(file)

    return write
