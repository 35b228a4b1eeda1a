"""Statistics per class."""

from __future__ import annotations

import math

import pytest

from nnuda.evaluation.summary import foreground_mean, statistics, summarize


def scores(dice: float, distance: float, empty: str = "none") -> dict:
    return {"Dice": dice, "ASSD": distance, "HD95": 2 * distance, "empty": empty}


def test_statistics_of_known_values() -> None:
    result = statistics([1.0, math.nan, 2.0, 6.0])
    assert result == {"mean": 3.0, "std": pytest.approx(math.sqrt(7)), "median": 2.0, "n": 3}


def test_too_few_values_are_nan() -> None:
    nothing = statistics([math.nan])
    assert nothing["n"] == 0 and all(math.isnan(nothing[name]) for name in ("mean", "std", "median"))
    assert math.isnan(statistics([1.0])["std"])


def test_counts_and_means_per_class() -> None:
    per_case = {
        "a": {"organ": scores(0.8, 1.0)},
        "b": {"organ": scores(0.0, math.nan, "prediction")},
        "c": {"organ": scores(math.nan, math.nan, "both")},
        "d": {"organ": scores(0.0, math.nan, "reference")},
    }
    organ = summarize(per_case)["per_class"]["organ"]
    assert organ["Dice"]["mean"] == pytest.approx(0.8 / 3)
    assert (organ["Dice"]["n"], organ["ASSD"]["n"], organ["ASSD"]["mean"], organ["HD95"]["mean"]) == (3, 1, 1.0, 2.0)
    assert (organ["n_empty_prediction"], organ["n_empty_reference"], organ["n_both_empty"]) == (1, 1, 1)


def test_foreground_mean_leaves_out_absent_classes_but_not_missed_ones() -> None:
    present, absent = scores(0.8, 1.0), scores(math.nan, math.nan, "both")
    missed = scores(0.0, math.nan, "prediction")
    assert summarize({"a": {"x": present, "y": absent}})["foreground_mean"]["ASSD"] == 1.0
    result = summarize({"a": {"x": present, "y": missed}})["foreground_mean"]
    assert result["Dice"] == pytest.approx(0.4) and math.isnan(result["ASSD"])
    assert math.isnan(foreground_mean(summarize({"a": {"y": absent}})["per_class"])["Dice"])
