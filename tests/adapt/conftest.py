from __future__ import annotations

from pathlib import Path

import pytest
from roads import make_road

from nnuda.stages.road import Road


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """A road whose results folder is empty."""
    monkeypatch.setenv("nnUNet_results", str(tmp_path / "results"))
    road = make_road(tmp_path)
    Path(road.fold_folder).mkdir(parents=True)
    Path(road.folder).mkdir()
    return road
