"""nnUDA_compare as a user runs it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from nnuda.cli.compare import main, named_paths
from nnuda.evaluation.reading import EvaluationError

DATASET_JSON = {"labels": {"background": 0, "disc": 1}, "file_ending": ".png"}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """References and the predictions of three methods, each nearer to them than the one before."""
    for name, offset in (("labels", 0), ("source", 4), ("method", 2), ("oracle", 0)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "dataset.json").write_text(json.dumps(DATASET_JSON))
        for case in range(2):
            labels = np.zeros((24, 24), np.uint8)
            labels[5 + offset : 13 + offset, 5 + case : 13] = 1
            io.imsave(tmp_path / name / f"{case}.png", labels, check_contrast=False)
    return tmp_path


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nnUDA_compare", *map(str, arguments)])
    main()


def test_scored_on_the_fly(folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    run(
        monkeypatch,
        *(folders / name for name in ("source", "method", "oracle")),
        "-gt",
        folders / "labels",
        "-np",
        1,
        "--source-only",
        "source",
        "--oracle",
        "oracle",
        "-o",
        folders / "out",
    )
    text = capsys.readouterr().out
    assert "method 0.750 ± 0.000 50 %" in " ".join(text.split()) and "p (Holm) against source" in text
    assert "| method | 0.750 ± 0.000 | 50 % |" in (folders / "out" / "comparison.md").read_text()
    assert (folders / "out" / "comparison.html").is_file()
    assert not (folders / "method" / "nnuda_scores.json").exists()


def test_errors_are_one_clear_line(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="Error: Expected scores in .*-gt"):
        run(monkeypatch, folders / "source", folders / "method", "-o", folders / "out")
    with pytest.raises(SystemExit, match="Expected -gt with --preset"):
        run(monkeypatch, folders / "source", folders / "method", "--preset", "crossmoda")
    for words, got in (
        (["--oracle", "source"], "source alone"),
        (["--oracle", "m", "--source-only", "m"], "m for both"),
    ):
        with pytest.raises(SystemExit, match=f"--oracle: expected another result with --source-only.*{got}"):
            run(monkeypatch, folders / "source", folders / "method", *words)
    assert not (folders / "out").exists()


def test_names(tmp_path: Path) -> None:
    assert named_paths(["x/first/", "name=y/second", "z/scores.json"]) == {
        "first": "x/first/",
        "name": "y/second",
        "scores": "z/scores.json",
    }
    with pytest.raises(EvaluationError, match="both called a"):
        named_paths(["x/a", "y/a"])
    with pytest.raises(EvaluationError, match="a and b are both y/../x/a"):
        named_paths(["a=x/a", "b=y/../x/a"])
    (tmp_path / "a").mkdir()
    with pytest.raises(EvaluationError, match="a and nnuda_scores are both"):
        named_paths([str(tmp_path / "a"), str(tmp_path / "a" / "nnuda_scores.json")])
    for word in ("=x/a", "a="):
        with pytest.raises(EvaluationError, match=f"Expected NAME=RESULT or RESULT; got {word}"):
            named_paths([word])


@pytest.mark.parametrize("name", ["comparison.csv", "comparison.md", "comparison.html"])
@pytest.mark.slow
def test_a_users_file_is_not_replaced(folders: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    mine = folders / "out" / name
    mine.parent.mkdir()
    mine.write_text("mine")
    arguments = (folders / "source", folders / "method", "-gt", folders / "labels", "-np", 1, "-o", folders / "out")
    with pytest.raises(SystemExit, match=f"Error: -o: .*{name} is there.*--force"):
        run(monkeypatch, *arguments)
    assert mine.read_text() == "mine" and len(list(mine.parent.iterdir())) == 1
    run(monkeypatch, *arguments, "--force")
    run(monkeypatch, *arguments)  # its own are replaced


def test_a_name_that_a_spreadsheet_would_run_is_quoted(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = (f"@a={folders / 'source'}", f"+b={folders / 'method'}")
    run(monkeypatch, *named, "-gt", folders / "labels", "-np", 1, "-o", folders / "out")
    lines = (folders / "out" / "comparison.csv").read_text().splitlines()[1:]
    assert {line[:2] for line in lines} == {"'@", "'+"}
