"""Pages of results in whose files somebody wrote: a page or one clear error, never a traceback.

More of them: nnUDA_FUZZ=500.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest
from fuzz import spoil

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from comparison_cases import three_results  # noqa: E402
from made_run import make_run, write_images, write_predictions  # noqa: E402

from nnuda.cli import compare, report  # noqa: E402

SEEDS = range(int(os.environ.get("nnUDA_FUZZ", "3")))
pytestmark = pytest.mark.slow


def page_or_error(command, arguments: list, page: Path, change: str) -> None:
    try:
        command.main([str(argument) for argument in arguments])
    except SystemExit as end:
        assert str(end).startswith("Error: ") and "\n" not in str(end).strip(), f"{change}: {end}"
        assert not page.exists(), change
        return
    except BaseException as error:
        raise AssertionError(f"{change}: {type(error).__name__}: {error}") from error
    assert page.is_file(), change


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", ["selection.json", "plans.json", "dataset.json", "nnuda_scores.json"])
def test_report(tmp_path, name, seed):
    fold = make_run(tmp_path / "results")
    predictions = write_predictions(tmp_path / "predictions", {"a": 0, "b": 3})
    labels, images = write_predictions(tmp_path / "labels", {"a": 0, "b": 1}), write_images(tmp_path / "i", ["a", "b"])
    (predictions / "nnuda_scores.json").write_text(json.dumps(three_results()["method"]))
    file = next(folder / name for folder in (predictions, fold, fold.parent) if (folder / name).is_file())
    arguments = [fold, "--predictions", predictions, "-i", images, "-np", 1]
    change = spoil(file, seed)
    page = tmp_path / "page.html"
    scored = [] if name == "nnuda_scores.json" else ["-gt", labels]
    page_or_error(report, [*arguments, *scored, "--histogram-cases", 0, "--feature-cases", 0, "-o", page], page, change)


@pytest.mark.parametrize("seed", SEEDS)
def test_compare(tmp_path, seed):
    results = three_results()
    for name, content in results.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    change = spoil(tmp_path / "method.json", seed)
    files = [tmp_path / f"{name}.json" for name in results]
    arguments = [*files, "--source-only", "source-only", "--oracle", "oracle", "-o", tmp_path / "out"]
    page_or_error(compare, arguments, tmp_path / "out" / "comparison.html", change)
