"""Several results on the same cases: means, shares of the gap, paired tests."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from nnuda.evaluation.conventions import DEFAULT_SHOWN, scores_file
from nnuda.evaluation.gap import gap_closed
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.scores import first_names, load_scores
from nnuda.evaluation.summary import statistics
from nnuda.evaluation.table import shown_metrics

HIGHER_IS_BETTER = {"Dice": True, "ASSD": False, "HD95": False, "NSD": True}
ALL_CLASSES = "mean of classes"


@dataclass(frozen=True)
class Comparison:
    """Results of the same cases and classes.

    Attributes:
        scores: name -> what `evaluate_folder` returned.
        source_only, oracle: the names between which the gap lies, where known.
        against: the name that all others are tested against.
    """

    scores: Mapping[str, dict]
    source_only: str | None
    oracle: str | None
    against: str

    @property
    def metrics(self) -> list[str]:
        """Those that every result has and that a table shows."""
        return shown_metrics(self.scores)

    @property
    def left_out(self) -> dict[str, list[str]]:
        """Metrics that no table shows, and the results that lack them."""
        shown = self.scores[self.against].get("shown", DEFAULT_SHOWN)
        lacking = {m: [name for name, found in self.scores.items() if m not in found["foreground_mean"]] for m in shown}
        return {metric: names for metric, names in lacking.items() if names}

    @property
    def classes(self) -> list[str]:
        """Names of the classes and regions."""
        return list(self.scores[self.against]["per_class"])

    @property
    def cases(self) -> list[str]:
        """Names of the cases."""
        return sorted(self.scores[self.against]["per_case"])


def read_result(path: str) -> dict:
    """Scores from a folder of predictions that nnUDA_evaluate has scored, or from its JSON file.

    Raises:
        EvaluationError: no scores there.
        FileError: a damaged file, or one of something else.
    """
    file = scores_file(path)
    if not os.path.isfile(file):
        raise EvaluationError(
            f"Expected scores in {file}, which does not exist. Score the predictions with "
            "nnUDA_evaluate first, or give the folder with reference labels with -gt."
        )
    return load_scores(file)


def _check_same(name: str, result: dict, first_name: str, first: dict) -> None:
    differing = sorted(set(result["per_case"]) ^ set(first["per_case"]))
    if differing:
        raise EvaluationError(
            f"Expected the same cases in all results; {name} has {len(result['per_case'])} and "
            f"{first_name} {len(first['per_case'])}, and {len(differing)} are not in both: "
            f"{first_names(differing)}. Score the same cases in both."
        )
    for key, text in (("labels", "classes"), ("unit", "unit of distances"), ("rules", "rules and NSD tolerances")):
        one, other = result.get(key), first.get(key)
        if str(one) != str(other):  # as text: NaN, for which a rule may stand, differs from itself
            raise EvaluationError(
                f"Expected the same {text} in all results; {name} has {one} and {first_name} "
                f"{other}. Score all of them again with the same options, or with -gt here."
            )
    other = [case for case in result["per_case"] if _reference_sizes(result, case) != _reference_sizes(first, case)]
    if other:
        raise EvaluationError(
            f"Expected the same reference labels in all results; {name} and {first_name} were scored "
            f"with others in {len(other)} cases: {first_names(sorted(other))}. Score all of them "
            "again with -gt here."
        )


def _reference_sizes(result: dict, case: str) -> dict[str, int]:
    return {name: values["n_reference"] for name, values in result["per_case"][case].items()}


def compare(
    scores: Mapping[str, dict], source_only: str | None = None, oracle: str | None = None, against: str | None = None
) -> Comparison:
    """Checks that results can be compared.

    Args:
        scores: name -> what `evaluate_folder` returned; two at least.
        source_only, oracle: names of the results between which the gap lies.
        against: name of the result that the others are tested against. Default: source-only, else the first.

    Raises:
        EvaluationError: fewer than two, a name that is not there, or other cases, classes, units or rules.
    """
    if len(scores) < 2:
        raise EvaluationError(f"Expected two results at least; got {len(scores)}.")
    for name in filter(None, (source_only, oracle, against)):
        if name not in scores:
            raise EvaluationError(f"Expected one of the results ({', '.join(scores)}); got {name}.")
    first = next(iter(scores))
    for name, result in scores.items():
        _check_same(name, result, first, scores[first])
    return Comparison(scores, source_only, oracle, against or source_only or first)


def case_values(result: dict, metric: str, name: str = ALL_CLASSES) -> np.ndarray:
    """One value per case, in the order of the sorted cases.

    The mean of the classes leaves out those that are empty on both sides, and is NaN where another one has no value.
    """
    values = []
    for _, classes in sorted(result["per_case"].items()):
        chosen = classes.values() if name == ALL_CLASSES else [classes[name]]
        known = [scores[metric] for scores in chosen if scores["empty"] != "both" or not math.isnan(scores[metric])]
        values.append(float(np.mean(known)) if known else math.nan)
    return np.array(values)


def summary(comparison: Comparison, result: str, metric: str, name: str = ALL_CLASSES) -> dict[str, float | int]:
    """Mean, standard deviation over the cases, median, number of cases with a value, and share of the gap closed."""

    def mean(which: str) -> float:
        scores = comparison.scores[which]
        if name == ALL_CLASSES:
            return scores["foreground_mean"][metric]
        return scores["per_class"][name][metric]["mean"]

    values = statistics(case_values(comparison.scores[result], metric, name).tolist())
    gap = math.nan
    if comparison.source_only and comparison.oracle:
        gap = gap_closed(mean(comparison.source_only), mean(result), mean(comparison.oracle), HIGHER_IS_BETTER[metric])
    return {**values, "mean": mean(result), "gap": gap}


def holm(p_values: Sequence[float]) -> list[float]:
    """P values after Holm's correction (1979) for their number; NaN stays NaN and does not count."""
    adjusted, largest = [math.nan] * len(p_values), 0.0
    known = sorted((p, index) for index, p in enumerate(p_values) if not math.isnan(p))
    for rank, (p, index) in enumerate(known):
        largest = max(largest, min(1.0, (len(known) - rank) * p))
        adjusted[index] = largest
    return adjusted


def wilcoxon(one: np.ndarray, other: np.ndarray) -> tuple[float, int]:
    """P value of Wilcoxon's signed-rank test, two-sided, and the number of pairs; pairs with a NaN are left out."""
    differences = (one - other)[~np.isnan(one - other)]
    if not differences.size:
        return math.nan, 0
    return float(stats.wilcoxon(differences).pvalue) if differences.any() else 1.0, differences.size


def paired_tests(comparison: Comparison, metric: str) -> dict[str, dict[str, float | int]]:
    """Wilcoxon's signed-rank test, two-sided, of each result against `comparison.against`, on the means of the cases.

    Returns:
        name -> "p", "p_holm" (over the tests of this metric), "pairs" (cases where both have a value).
    """
    base = case_values(comparison.scores[comparison.against], metric)
    others = [name for name in comparison.scores if name != comparison.against]
    p_values, pairs = zip(*(wilcoxon(case_values(comparison.scores[name], metric), base) for name in others))
    return {
        name: {"p": p, "p_holm": corrected, "pairs": n}
        for name, p, corrected, n in zip(others, p_values, holm(p_values), pairs)
    }
