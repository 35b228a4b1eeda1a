"""What the terminal shows."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from nnuda.evaluation.summary import summarize
from nnuda.evaluation.table import comparison_table, parts_of, print_table, score_table


def result(dice: float, distance: float = 2.0, empty: str = "none") -> dict:
    case = {"Dice": dice, "ASSD": distance, "HD95": 3 * distance, "empty": empty}
    return {**summarize({"a": {"left ventricle": case}, "b": {"left ventricle": case}}), "unit": "mm", "num_cases": 2}


def shown(table, capsys: pytest.CaptureFixture) -> str:
    print_table(table)
    return capsys.readouterr().out


def test_scores_and_counts(capsys: pytest.CaptureFixture) -> None:
    text = shown(score_table(result(0.75)), capsys)
    assert "left ventricle" in text and "0.750 ± 0.000" in text and "ASSD (mm)" in text and "6.00 ± 0.00" in text
    text = shown(score_table(result(0.0, math.nan, "prediction")), capsys)
    assert "2 / 0 / 0" in text and "- ± -" in text and "nan" not in text


def test_comparison_names_the_share_of_the_gap(capsys: pytest.CaptureFixture) -> None:
    scores = {"source-only": result(0.4), "adapted": result(0.7), "oracle": result(0.8)}
    lines = shown(comparison_table(scores, "source-only", "oracle"), capsys).splitlines()
    ends = {line.split()[0]: line.split()[-2:] for line in lines if line.split() and line.split()[0] in scores}
    assert ends == {"source-only": ["0", "%"], "adapted": ["75", "%"], "oracle": ["100", "%"]}


@pytest.mark.parametrize("width", [40, 60])
@pytest.mark.parametrize("name", ["oracle", "a very long name of a method " * 3])
def test_no_column_is_lost_on_a_narrow_terminal(width: int, name: str) -> None:
    scores = {key: result(0.4) for key in ("source-only", "adapted", name)}
    table = comparison_table(scores, "source-only", name)
    console = Console(force_terminal=True, width=width, file=io.StringIO(), color_system=None)
    parts = parts_of(table, console)
    for part in parts:
        console.print(part)
    lines = console.file.getvalue().splitlines()
    assert (
        1 < len(parts)
        and (width == 40 or len(parts) < len(table.columns) - 1)
        and max(map(len, lines)) <= width
        and "…" not in "".join(lines)
    )
    heads = " ".join(lines)
    assert [heads.count(column) for column in ("left ventricle", "ASSD (mm)", "HD95 (mm)", "closed")] == [1] * 4
    assert [heads.count(value) for value in ("2.00", "6.00", "adapted")] == [3, 3, len(parts)]


def test_a_table_that_fits_stays_one() -> None:
    table = comparison_table({"a": result(0.4), "b": result(0.5)}, "a", "b")
    assert parts_of(table, Console(width=120)) == [table]


def test_no_column_is_lost_in_a_log_file(capsys: pytest.CaptureFixture) -> None:
    scores = {name: result(0.5) for name in ("a very long name of a method " * 3, "oracle")}
    text = shown(comparison_table(scores, next(iter(scores)), "oracle"), capsys)
    assert "a very long name of a method " * 3 in text and "…" not in text
