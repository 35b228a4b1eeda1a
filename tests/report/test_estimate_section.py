"""The estimate on the page: only where one lies beside the predictions, and never called a score."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from browser import Browser, faults
from made_run import make_run, write_estimate, write_predictions

from nnuda.files import FileError, write_text
from nnuda.report.estimate_section import estimate_beside, estimate_section
from nnuda.report.page import page_html
from nnuda.report.predictions import find_predictions
from nnuda.report.run import read_run
from nnuda.report.run_page import Request, report_html

TITLE = "Expected Dice, an estimate without labels"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_predictions(tmp_path / "predictions", {"a": 0, "b": 2})


def page_of(root: Path, folder: Path, references: Path | None = None, whole: bool = False) -> str:
    """The page, or the section alone, which takes no time."""
    run = read_run(str(next(root.rglob("fold_0"), None) or make_run(root / "results")))
    given = find_predictions(run, str(folder), references=None if references is None else str(references))
    if whole:
        return report_html(run, Request(given, histogram_cases=0))
    return page_html("run", [], [estimate_section(run, given, estimate_beside(given))])


def rows(text: str) -> dict[str, list[str]]:
    """Cells of the section's table by the name of the row."""
    section = text[text.index(f"<h2>{TITLE}") :].split("</table>")[0]
    found = {}
    for row in re.findall(r"<tr.*?</tr>", section):
        name, *cells = (re.sub(r"<[^>]+>", "", cell) for cell in re.findall(r"<t[hd].*?</t[hd]>", row))
        found[name] = cells
    return found


def facts(text: str) -> str:
    """The answer to "Did it work?"."""
    return text[text.index('<div class="facts">') :].split("Did it work?")[1].split("Is anything wrong?")[0]


def test_only_where_one_lies_beside_the_predictions(tmp_path: Path, folder: Path) -> None:
    before = page_of(tmp_path, folder, whole=True)
    assert TITLE not in before and "estimate" not in facts(before)
    write_estimate(folder, ["a", "b"])
    after = page_of(tmp_path, folder, whole=True)
    assert TITLE in after and "estimated, not scored: expected Dice 0.57 (0.47 to 0.67)" in facts(after)
    assert "Not known without target labels; the estimate says: do not use" in facts(after)
    assert 'class="fact bad"><h2>Did it work?' in after
    # a score is the answer where there is one
    labels = write_predictions(tmp_path / "labels", {"a": 0, "b": 0})
    scored = page_of(tmp_path, folder, labels, whole=True)
    assert "oracle: true" in facts(scored) and "estimated" not in facts(scored) and TITLE in scored


def test_classes_intervals_and_do_not_use(tmp_path: Path, folder: Path) -> None:
    write_estimate(folder, ["a", "b"])
    text = page_of(tmp_path, folder)
    found = rows(text)
    assert found["disc"] == ["0.84", "0.74 to 0.94", "0.89", "0.79", "-", "0.90"]
    assert found["ring"][:2] == ["do not use: 0.31", "0.21 to 0.41"]
    assert found["mean of classes"][0].startswith("do not use: 0.5")
    assert text.count('<tr class="marked"') == 2 and "not a score" in text and "No other training" in text


def test_a_good_one_marks_nothing(tmp_path: Path, folder: Path) -> None:
    write_estimate(folder, ["a", "b"], worst=0.8)
    text = page_of(tmp_path, folder)
    assert '<tr class="marked"' not in text and "do not use" not in text


def test_predictions_that_changed_since_are_said(tmp_path: Path, folder: Path) -> None:
    file = write_estimate(folder, ["a", "b"])
    assert "newer" not in page_of(tmp_path, folder)
    os.utime(file, (1, 1))
    assert "2 predictions are newer than it" in page_of(tmp_path, folder)
    write_estimate(folder, ["a"])
    assert "It is of 1 cases; 1 predicted since are not in it" in page_of(tmp_path, folder)


def test_a_damaged_one_is_named(tmp_path: Path, folder: Path) -> None:
    (folder / "nnuda_estimate.json").write_text('{"verdict": "plausible"}')
    with pytest.raises(FileError, match="nnuda_estimate.json: expected what nnUDA_estimate writes"):
        page_of(tmp_path, folder)


@pytest.mark.parametrize("width", [390, 1366])
def test_it_fits(tmp_path: Path, folder: Path, browser: Browser, width: int) -> None:
    write_estimate(folder, ["a", "b"])
    page = tmp_path / "report.html"
    write_text(page_of(tmp_path, folder), str(page))
    assert faults(browser, page, width) == []
