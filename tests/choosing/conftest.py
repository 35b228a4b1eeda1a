from __future__ import annotations

from pathlib import Path

import pytest
from made_models import Made


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Both domains, without a model."""
    made = Made(tmp_path)
    for name, value in made.folders.items():
        monkeypatch.setenv(name, value)
    return made
