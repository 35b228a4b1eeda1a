"""Spread over seeds, tests over cases and over seeds, the share of the gap, failures."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from nnuda.benchmark.table import RowResult, _gaps, paired_tests


def row(name: str, per_run: dict, cases: list[float], oracle: bool = False) -> RowResult:
    means = {(seed, "all"): value for seed, value in per_run.items()}
    of_cases = dict.fromkeys(means, np.array(cases))
    return RowResult(name, name, oracle, dict.fromkeys(means), len(means), means, {}, of_cases, (0, 0), 1.0, 1.0)


def test_seeds_and_cases_are_told_apart() -> None:
    """Over cases every case is better; over seeds nothing is sure."""
    cases = [0.5, 0.55, 0.6, 0.4, 0.45, 0.52, 0.61]
    better = [value + 0.01 * (i + 1) for i, value in enumerate(cases)]
    base = row("base", {1: 0.50, 2: 0.60, 3: 0.40}, cases)
    other = row("other", {1: 0.70, 2: 0.45, 3: 0.47}, better)
    found = paired_tests([base, other], "base")["other"]
    assert found["cases"] == pytest.approx(2 / 2**7) and found["cases_n"] == 7  # all signs alike: 2 of 2^7
    assert found["seeds"] == pytest.approx(stats.ttest_rel([0.70, 0.45, 0.47], [0.50, 0.60, 0.40]).pvalue)
    assert found["seeds_n"] == 3


def test_only_runs_of_the_same_seed_are_paired() -> None:
    base, other = row("base", {1: 0.5, 2: 0.6, 4: 0.1}, [0.5, 0.6]), row("other", {1: 0.6, 2: 0.8, 3: 0.9}, [0.6, 0.7])
    found = paired_tests([base, other], "base")["other"]
    assert found["seeds"] == pytest.approx(stats.ttest_rel([0.6, 0.8], [0.5, 0.6]).pvalue) and found["seeds_n"] == 2


def test_cases_are_compared_in_the_runs_that_both_have() -> None:
    base, other = row("base", {1: 0.5}, [0.5] * 6), row("other", {1: 0.6, 2: 0.1}, [0.6] * 6)
    other.cases[2, "all"][:] = 0.1  # a run that has no partner
    other.cases[1, "all"] = np.linspace(0.6, 0.7, 6)
    assert paired_tests([base, other], "base")["other"]["cases"] == pytest.approx(2 / 2**6)


def test_one_seed_has_no_test_over_seeds() -> None:
    base, other = row("base", {1: 0.5}, [0.5, 0.6]), row("other", {1: 0.6}, [0.6, 0.7])
    found = paired_tests([base, other], "base")["other"]
    assert math.isnan(found["seeds"]) and found["seeds_n"] == 1
    assert math.isnan(base.spread)


def test_holm_counts_the_rows() -> None:
    cases = np.linspace(0.3, 0.6, 7)
    rows = [
        row(name, {1: 0.5, 2: 0.5}, list(cases + shift * np.arange(1, 8)))
        for name, shift in zip("abc", (0, 0.01, 0.02))
    ]
    found = paired_tests(rows, "a")
    assert found["b"]["cases"] == found["c"]["cases"] == pytest.approx(2 * 2 / 2**7)


def test_the_gap_lies_between_source_only_and_oracle() -> None:
    rows = [
        row("base", {1: 0.4}, [0.4]),
        row("method", {1: 0.5, 2: 0.7}, [0.6]),
        row("top", {1: 0.8}, [0.8], oracle=True),
    ]
    assert _gaps(rows, "base") == {"base": 0.0, "method": pytest.approx(0.5), "top": pytest.approx(1.0)}
    assert _gaps(rows[:2], "base") == {}


def test_spread_and_worst_class() -> None:
    one = row("one", {1: 0.4, 2: 0.6}, [0.5])
    assert one.mean == pytest.approx(0.5) and one.spread == pytest.approx(math.sqrt(0.02))
    classes = RowResult("r", "r", False, {}, 0, {}, {"a": [0.5, 0.7], "b": [0.9, 0.2]}, {}, (0, 4), 1, 1)
    assert classes.worst == ("b", pytest.approx(0.55))
