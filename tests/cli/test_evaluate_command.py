"""nnUDA_evaluate as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from nnuda.cli.evaluate import OUTPUT_NAME, main

DATASET_JSON = {"labels": {"background": 0, "disc": 1}, "file_ending": ".png"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:11, 5:11] = 1
    for folder in ("reference", "prediction"):
        (tmp_path / folder).mkdir()
        io.imsave(tmp_path / folder / "a.png", labels, check_contrast=False)
    (tmp_path / "prediction" / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return tmp_path / "reference", tmp_path / "prediction"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nnUDA_evaluate", *map(str, arguments)])
    main()


def test_table_and_json(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    io.imsave(folders[1] / "extra.png", np.zeros((20, 20), np.uint8), check_contrast=False)
    run(monkeypatch, *folders)
    text = capsys.readouterr().out
    assert "disc" in text and "1.000" in text and "pixels" in text
    assert "1 predictions without a reference, not scored: extra" in text
    assert json.loads((folders[1] / OUTPUT_NAME).read_text())["per_class"]["disc"]["Dice"]["mean"] == 1
    assert len((folders[1] / OUTPUT_NAME.replace("json", "csv")).read_text().splitlines()) == 2


def test_preset_and_tolerance(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run(monkeypatch, *folders, "--preset", "crossmoda", "--nsd-tolerance", "2", "disc=0.5")
    text = capsys.readouterr().out
    assert "ASSD" in text and "HD95" not in text and "NSD" not in text
    assert json.loads((folders[1] / OUTPUT_NAME).read_text())["rules"]["disc"]["tolerance"] == 0.5
    for word in ("disc=wide", "-1", "nan"):
        with pytest.raises(SystemExit, match="number of mm"):
            run(monkeypatch, *folders, f"--nsd-tolerance={word}")


def test_errors_are_one_clear_line(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    (folders[1] / "dataset.json").unlink()
    with pytest.raises(SystemExit, match="-djfile"):
        run(monkeypatch, *folders)
    with pytest.raises(SystemExit, match="nowhere.json does not exist"):
        run(monkeypatch, *folders, "-djfile", "nowhere.json")
    with pytest.raises(SystemExit, match="ends with .json"):
        run(monkeypatch, *folders, "-o", "scores.csv")
    assert not (folders[1] / OUTPUT_NAME).exists()
