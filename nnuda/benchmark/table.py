"""From the scores of all runs to one table a pair: seeds and cases told apart."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from nnuda.benchmark.description import TARGET, Benchmark, Pair, Run
from nnuda.benchmark.places import FINISHED, SCORES, read_state, run_folder
from nnuda.evaluation.comparison import case_values, compare, holm, wilcoxon
from nnuda.evaluation.gap import gap_closed
from nnuda.evaluation.scores import load_scores

METRIC = "Dice"
FAILURE = 0.1  # a class with a smaller mean Dice than this was not found


@dataclass(frozen=True)
class RowResult:
    """A row on a pair.

    Attributes:
        name, title: of the row.
        oracle: whether it was trained on labelled target cases.
        runs: finished ones, by (seed, fold).
        wanted: number of runs that there should be.
        means: (seed, fold) -> mean Dice over cases and classes.
        classes: class -> mean Dice over cases, one a run.
        cases: (seed, fold) -> mean Dice of each case over classes, in the order of the sorted cases.
        failures: (class, run) with a mean below FAILURE, of how many.
        seconds, memory: of a training, mean and largest; NaN where unknown.
    """

    name: str
    title: str
    oracle: bool
    runs: Mapping[tuple[int, str], Run]
    wanted: int
    means: Mapping[tuple[int, str], float]
    classes: Mapping[str, Sequence[float]]
    cases: Mapping[tuple[int, str], np.ndarray]
    failures: tuple[int, int]
    seconds: float
    memory: float

    @property
    def mean(self) -> float:
        """Over all runs."""
        return float(np.mean(list(self.means.values()))) if self.means else math.nan

    @property
    def spread(self) -> float:
        """Standard deviation over the runs (n - 1); NaN for one."""
        return float(np.std(list(self.means.values()), ddof=1)) if len(self.means) > 1 else math.nan

    @property
    def worst(self) -> tuple[str, float]:
        """The class with the lowest mean."""
        if not self.classes:
            return "-", math.nan
        means = {name: float(np.mean(values)) for name, values in self.classes.items()}
        name = min(means, key=means.__getitem__)
        return name, means[name]


@dataclass(frozen=True)
class PairTable:
    """All rows of a pair. `tests`: row -> "cases", "cases_n", "seeds", "seeds_n" (p after Holm's correction, and of how
    many). `gap`: row -> share closed. `provenance`: what the runs were made with, each kind once."""

    pair: Pair
    rows: Sequence[RowResult]
    against: str
    tests: Mapping[str, Mapping[str, float]]
    gap: Mapping[str, float]
    provenance: Mapping[str, Sequence[str]]


def pair_table(folder: str, benchmark: Benchmark, pair: Pair) -> PairTable:
    """The finished runs of a pair.

    Raises:
        EvaluationError: scores of other cases, classes or references in one of them.
    """
    runs = [run for run in benchmark.runs if run.pair is pair]
    states = {run.name: read_state(folder, run) for run in runs}
    done = [run for run in runs if states[run.name]["status"] == FINISHED]
    scores = {run.name: load_scores(os.path.join(run_folder(folder, run), SCORES)) for run in done}
    if len(scores) > 1:
        compare(scores)
    rows = []
    for row in benchmark.rows:
        of_row = [run for run in runs if run.row is row]
        if of_row:
            rows.append(_row(of_row, scores, states))
    against = benchmark.against
    return PairTable(pair, rows, against, paired_tests(rows, against), _gaps(rows, against), _made_with(done, states))


def _row(runs: Sequence[Run], scores: Mapping[str, dict], states: Mapping[str, dict]) -> RowResult:
    done = {(run.seed, run.fold): run for run in runs if run.name in scores}
    found = [scores[run.name] for run in done.values()]
    classes = {
        name: [one["per_class"][name][METRIC]["mean"] for one in found]
        for name in (found[0]["per_class"] if found else ())
    }
    values = [value for of_class in classes.values() for value in of_class if not math.isnan(value)]
    costs = [states[run.name]["cost"] for run in done.values()]
    memory = [cost["memory_gb"] for cost in costs if cost["memory_gb"] is not None]
    return RowResult(
        name=runs[0].row.name,
        title=runs[0].row.title,
        oracle=runs[0].row.on == TARGET,
        runs=done,
        wanted=len(runs),
        means={key: scores[run.name]["foreground_mean"][METRIC] for key, run in done.items()},
        classes=classes,
        cases={key: case_values(scores[run.name], METRIC) for key, run in done.items()},
        failures=(sum(value < FAILURE for value in values), len(values)),
        seconds=float(np.mean([cost["training_seconds"] for cost in costs])) if costs else math.nan,
        memory=max(memory, default=math.nan),
    )


def paired_tests(rows: Sequence[RowResult], against: str) -> dict[str, dict[str, float]]:
    """Each row against one: over cases (Wilcoxon's signed-rank test on the case's mean over the runs that both have: would other patients
    say so too?) and over seeds (paired t test on the runs' means: would other trainings?). Holm's correction for the
    number of rows, each kind by itself.

    Args:
        rows: of one pair.
        against: name of the row.

    Returns:
        row -> "cases", "cases_n", "seeds", "seeds_n"; runs and cases that both rows have.
    """
    base = next(row for row in rows if row.name == against)
    others = [row for row in rows if row.name != against and row.means and base.means]
    by_cases = [_over_cases(row, base) for row in others]
    by_seeds = [_over_seeds(row, base) for row in others]
    corrected = [holm([p for p, _ in found]) for found in (by_cases, by_seeds)]
    return {
        row.name: {"cases": p_cases, "cases_n": n_cases, "seeds": p_seeds, "seeds_n": n_seeds}
        for row, p_cases, (_, n_cases), p_seeds, (_, n_seeds) in zip(
            others, corrected[0], by_cases, corrected[1], by_seeds
        )
    }


def _over_cases(row: RowResult, base: RowResult) -> tuple[float, int]:
    common = sorted(row.cases.keys() & base.cases.keys())
    if not common:
        return math.nan, 0
    return wilcoxon(*(np.mean([one.cases[key] for key in common], axis=0) for one in (row, base)))


def _over_seeds(row: RowResult, base: RowResult) -> tuple[float, int]:
    common = sorted(row.means.keys() & base.means.keys())
    differences = np.array([row.means[key] - base.means[key] for key in common])
    if len(common) < 2:
        return math.nan, len(common)
    if np.ptp(differences) == 0:
        return (1.0 if differences[0] == 0 else math.nan), len(common)
    return float(stats.ttest_1samp(differences, 0).pvalue), len(common)


def _gaps(rows: Sequence[RowResult], against: str) -> dict[str, float]:
    """Share of the gap between the row `against` (0) and the oracle (1)."""
    oracle = next((row for row in rows if row.oracle and row.means), None)
    base = next(row for row in rows if row.name == against)
    return {} if oracle is None else {row.name: gap_closed(base.mean, row.mean, oracle.mean) for row in rows}


def _made_with(runs: Sequence[Run], states: Mapping[str, dict]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for start in (start for run in runs for start in states[run.name]["starts"]):
        for kind, value in _facts(start).items():
            if value not in found.setdefault(kind, []):
                found[kind].append(value)
    return found


def _facts(start: Mapping[str, Any]) -> dict[str, str]:
    facts = {name: str(value) for name, value in start["versions"].items()}
    machine = start["machine"]
    return facts | {"commit": str(start["commit"] or "not known"), "machine": f"{machine['host']}, {machine['device']}"}
