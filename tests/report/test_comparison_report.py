"""CSV, Markdown and HTML of a comparison."""

from __future__ import annotations

import base64
import csv
import io
import re
from html.parser import HTMLParser

import pytest
from comparison_cases import CASES, result, three_results
from matplotlib.image import imread

from nnuda.evaluation.comparison import ALL_CLASSES, Comparison, compare
from nnuda.report.comparison_plots import DOTS_PER_INCH, WIDTH_INCHES
from nnuda.report.comparison_report import csv_text, html_text, markdown_text, save_comparison

METRICS = ("Dice", "ASSD", "HD95", "NSD")


def test_every_number_is_in_the_csv() -> None:
    rows = list(csv.DictReader(io.StringIO(csv_text(compare(three_results(), "source-only", "oracle")))))
    assert len(rows) == len(METRICS) * 3 * 3
    row = next(row for row in rows if (row["result"], row["class"], row["metric"]) == ("method", ALL_CLASSES, "Dice"))
    assert float(row["mean"]) == pytest.approx(0.72) and float(row["p_holm"]) == pytest.approx(4 / 2**8)
    assert next(row for row in rows if row["result"] == "source-only")["p"] == ""


def test_markdown_tables() -> None:
    text = markdown_text(compare(three_results(), "source-only", "oracle"))
    line = next(line for line in text.splitlines() if line.startswith("| method |"))
    assert line == "| method | 0.720 ± 0.049 | 0.770 ± 0.049 | 0.670 ± 0.049 | 80 % | 0.016 | 8 |"
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) == len(METRICS)
    assert all(len({row.count("|") for row in table.splitlines()}) == 1 for table in tables)


def test_too_few_cases_are_said() -> None:
    few = compare({"one": result([0.5] * 5), "other": result([0.6] * 5)})
    assert "cannot reach 0.05" in markdown_text(few)
    assert "cannot reach 0.05" not in markdown_text(compare(three_results()))


def test_a_distance_that_is_missing_is_a_dash() -> None:
    scores = three_results()
    scores["nothing"] = result([0.0] * CASES)
    text = markdown_text(compare(scores, "source-only", "oracle"))
    assert "- ± -" in text and "nan" not in text


class Page(HTMLParser):
    """Counts elements and collects what a page would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.loaded = [], []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list) -> None:
        if tag not in ("meta", "img", "wbr"):
            self.open.append(tag)
        self.loaded += [value for name, value in attributes if name in ("src", "href", "srcset")]
        assert tag not in ("script", "link", "iframe")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_loads_nothing_and_its_pictures_fit_a_telephone() -> None:
    scores = three_results()
    scores["<b>bold & long</b>"] = result([0.0] * CASES)
    text = html_text(compare(scores, "source-only", "oracle"))
    page = Page(text)
    assert not page.open and "<b>" not in text and "url(" not in text and "@import" not in text
    assert len(page.loaded) == 3 + 1 + 1 + 1
    for source in page.loaded:
        head, data = source.split(",")
        assert head == "data:image/png;base64"
        assert imread(io.BytesIO(base64.b64decode(data))).shape[1] == WIDTH_INCHES * DOTS_PER_INCH


def first_screen(comparison: Comparison) -> str:
    text = html_text(comparison)
    return re.sub(r"<[^>]+>", "", text[text.index('<div class="facts">') : text.index("<section")])


def test_the_page_begins_with_what_is_best_where_it_is_bad_and_what_next() -> None:
    text = first_screen(compare(three_results(), "source-only", "oracle"))
    for answer in (
        "Which is best?method",
        "Dice 0.720, source-only 0.385; p 0.016 after correction",
        "80 % of the gap to oracle closed",
        "Where is it bad?wall, Dice 0.670",
        "worst cases of method: case0 0.650, case1 0.670, case2 0.690",
        "What next?Look at the worst cases",
    ):
        assert answer in text, answer


def test_what_is_not_shown_or_does_not_help_is_said() -> None:
    few = {"source-only": result([0.5] * 5), "method": result([0.6] * 5)}
    assert "More cases: the difference is not shown" in first_screen(compare(few, "source-only"))
    worse = {"source-only": result([0.6] * CASES), "method": result([0.5] * CASES)}
    assert "Nothing is better than source-only" in first_screen(compare(worse, "source-only"))
    assert "when-it-does-not-help" not in first_screen(compare(worse))
    missing = {name: result([0.0] * CASES) for name in ("source-only", "method")}
    assert "ventricle, Dice 0.000" in first_screen(compare(missing, "source-only"))


def test_three_files_and_nothing_else(tmp_path) -> None:
    paths = save_comparison(compare(three_results()), str(tmp_path / "out"))
    assert (
        sorted(path.name for path in (tmp_path / "out").iterdir())
        == ["comparison.csv", "comparison.html", "comparison.md"]
        and len(paths) == 3
    )
