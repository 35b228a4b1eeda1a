"""Pages in a real browser."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from browser import Browser, faults
from comparison_cases import CASES, result, three_results
from matplotlib.image import imread

from nnuda.evaluation.comparison import compare
from nnuda.report.comparison_report import save_comparison
from nnuda.report.page import Notes, Picture, Pictures, Section, Table, page_html

PHONE, LAPTOP = 390, 1366


@pytest.mark.parametrize("width", [PHONE, LAPTOP])
def test_a_comparison_fits_shows_its_pictures_and_loads_nothing(browser: Browser, tmp_path: Path, width: int) -> None:
    scores = three_results()
    scores["nnUDATrainerOfALongName__with_a_long_variant"] = result([0.0] * CASES)
    save_comparison(compare(scores, "source-only", "oracle"), str(tmp_path))
    assert faults(browser, tmp_path / "comparison.html", width) == []
    assert len(browser.open(tmp_path / "comparison.html", width)["pictures"]) == 3 + 1 + 1 + 1


def test_dark_mode_leaves_nothing_bright_and_charts_readable(browser: Browser, tmp_path: Path) -> None:
    save_comparison(compare(three_results(), "source-only", "oracle"), str(tmp_path))
    height = browser.open(tmp_path / "comparison.html", PHONE, dark=True) and browser.evaluate(
        "document.body.scrollHeight"
    )
    browser.screenshot(tmp_path / "dark.png", height)
    grey = imread(tmp_path / "dark.png")[..., :3].mean(-1)
    assert np.percentile(grey, 90) < 0.2 and 0.005 < (grey > 0.8).mean() < 0.1  # ground; letters and lines


def test_a_table_of_many_classes_is_not_cut_on_paper(browser: Browser, tmp_path: Path) -> None:
    rows = [["", *(f"organ_{index}" for index in range(14))], ["nnUDATrainerOfALongName", *["0.720 ± 0.049"] * 14]]
    (tmp_path / "page.html").write_text(page_html("Page", [Table(rows)], []))
    browser.open(tmp_path / "page.html", 720)  # A4 without its margins, in CSS pixels
    browser.call("Emulation.setEmulatedMedia", media="print")
    width = browser.evaluate("document.querySelector('table').getBoundingClientRect().right")
    browser.call("Emulation.setEmulatedMedia", media="")
    assert 400 < width <= 720


def test_what_is_wrong_is_noticed(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    text = page_html("Page", [Pictures([Picture(b"no picture", "none")])], [])
    page.write_text(
        text.replace("</body>", "<div style='width: 800px'>wide</div><img src='http://127.0.0.1:9/a.png'></body>")
    )
    found = "\n".join(faults(browser, page, PHONE))
    assert "picture 0 does not show" in found and "asked for http://127.0.0.1:9/a.png" in found
    assert "outside of the window: <div style" in found and "wide in 390" in found
    assert "outside" not in "\n".join(faults(browser, page, LAPTOP))


def test_long_words_are_broken_and_text_is_escaped(browser: Browser, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text(
        page_html("x" * 300, [Notes(["<script>alert(1)</script>" + "y" * 300])], [Section("<i>z</i>" * 60, [])], True)
    )
    assert faults(browser, page, PHONE) == []
