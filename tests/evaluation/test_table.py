"""What the terminal shows."""

from __future__ import annotations

import math

import pytest

from nnuda.evaluation.summary import summarize
from nnuda.evaluation.table import comparison_table, print_table, score_table


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


def test_no_column_is_lost_in_a_log_file(capsys: pytest.CaptureFixture) -> None:
    scores = {name: result(0.5) for name in ("a very long name of a method " * 3, "oracle")}
    text = shown(comparison_table(scores, next(iter(scores)), "oracle"), capsys)
    assert "a very long name of a method " * 3 in text and "…" not in text
