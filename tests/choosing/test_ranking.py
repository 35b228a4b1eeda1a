"""Order, ties, regret and the printed table, by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nnuda.choosing.candidates import Candidate, Group, pairs
from nnuda.choosing.estimates import compared_with, mean_dice, source_cases
from nnuda.choosing.ranking import judge, legend, rank, table, ties
from nnuda.selftraining.members import Member


def group(plans: str = "p", folds: str = "0", checkpoint: str = "checkpoint_final.pth") -> Group:
    folder = f"/results/nnUDATrainerAdapt__{plans}__3d_fullres"
    return Group(tuple(Member(folder, fold, checkpoint, f"{plans}{fold}{checkpoint}") for fold in folds.split()))


def estimate(value: float | None, low: float = 0.0, high: float = 1.0) -> dict:
    classes = {"a class with a name that is far too long": value, "other": None if value is None else value / 2}
    rows = {name: {"value": of_class, "low": low, "high": high} for name, of_class in classes.items()}
    return {"mean": {"value": value, "low": low, "high": high}, "per_class": rows}


def test_order_letters_and_ties():
    one, two, three = group("one"), group("two"), group("three")
    candidates = [Candidate((one,)), Candidate((two,)), Candidate((three,)), Candidate((one, two))]
    estimates = [estimate(0.7), estimate(0.8, 0.65, 0.9), estimate(None), estimate(0.6)]
    ranked = rank(candidates, estimates)
    assert [item.letters for item in ranked] == ["B", "A", "A + B", "C"]
    assert [item.letters for item in ties(ranked)] == ["A"]  # 0.6 and nothing lie below 0.65
    # of two with the same value the first, which is the simpler one
    assert rank(candidates, [estimate(0.5)] * 4)[0].letters == "A"


def test_more_candidates_than_letters():
    candidates = [Candidate((group(f"p{i}"),)) for i in range(54)]
    letters = [item.letters for item in rank(candidates, [estimate(1 - i / 100) for i in range(54)])]
    assert letters[:2] == ["A", "B"] and letters[25:28] == ["Z", "AA", "AB"] and letters[52:] == ["BA", "BB"]


def test_lines_fit_80_columns():
    groups = [group("nnUNetPlans_of_a_long_name_that_somebody_gave_it", "0 1 2 3 4", "checkpoint_selected.pth")]
    groups += [group(f"p{i}") for i in range(30)]
    candidates = [Candidate((one,)) for one in groups] + [Candidate((groups[-1], groups[-2]))]
    ranked = rank(candidates, [estimate(0.5)] * len(candidates))
    truth = {item.candidate.name: 0.25 for item in ranked}
    lines = [*legend(ranked), *table(ranked, truth), *table(ranked)]
    assert max(map(len, lines)) <= 80
    assert "0.50  0.00  1.00" in table(ranked)[1] and table(ranked, truth)[1].endswith("0.25")
    assert table(ranked)[2].startswith("  2=") and "AE + AD" in "\n".join(table(ranked))


def test_regret_and_rank_correlation_by_hand():
    candidates = [Candidate((group(name),)) for name in "abcd"]
    ranked = rank(
        candidates, [estimate(0.9, 0.8, 1.0), estimate(0.8, 0.7, 0.9), estimate(0.7, 0.1, 0.2), estimate(None)]
    )
    judged = judge(ranked, [0.6, 0.75, 0.4, 0.5])
    assert judged["regret"] == pytest.approx(0.15) and judged["best"] == ranked[1].candidate.name
    # ranks of the three with a value: estimates 3 2 1, truth 2 3 1: 1 - 6 * (1 + 1 + 0) / (3 * 8)
    assert judged["rank_correlation"] == pytest.approx(0.5)
    assert judged["mean_absolute_error"] == pytest.approx((0.3 + 0.05 + 0.3) / 3)
    assert judged["within_interval"] == pytest.approx(1 / 3)
    assert judge(ranked[:2], [0.5, 0.5])["rank_correlation"] is None


def test_pairs_are_of_two_models_each_by_its_best():
    ranked = [group("a", "1"), group("a", "0 1"), group("b"), group("c", checkpoint="checkpoint_best.pth"), group("c")]
    found = pairs(ranked)
    assert [[one.name.split("__", 1)[1] for one in pair.groups] for pair in found] == [
        ["a__3d_fullres__fold_1__final", "b__3d_fullres__fold_0__final"],
        ["a__3d_fullres__fold_1__final", "c__3d_fullres__fold_0__best"],
        ["b__3d_fullres__fold_0__final", "c__3d_fullres__fold_0__best"],
    ]


def test_names_are_short_enough_for_files_and_differ():
    long = [Candidate((group("p" * 90, f"{i}"), group("q" * 90))) for i in range(2)]
    assert all(len(candidate.name) <= 200 for candidate in long) and long[0].name != long[1].name


def test_what_a_candidate_is_compared_with():
    both, selected, other = group("a", "0 1"), group("a", "0", "checkpoint_selected.pth"), group("b")
    groups = [both, selected, other]
    # the trainings that are not in it, each once, whatever the epoch
    found = compared_with(Candidate((selected,)), groups)
    assert [(m.folder.split("__")[1], m.fold) for m in found.members] == [("a", "1"), ("b", "0")] and found.independent
    found = compared_with(Candidate((both, other)), groups)
    assert found.among and len(found.members) == 3
    # one training: its other epoch, which may lower the estimate only
    found = compared_with(Candidate((selected,)), [group("a"), selected])
    assert [member.checkpoint for member in found.members] == ["checkpoint_final.pth"] and not found.independent
    assert compared_with(Candidate((other,)), [other]).members == []


def test_which_source_cases_calibrate():
    folds, whole = group("a", "0 1"), group("b", "all")
    first, second = folds.members
    source = {first: {"c1": "f0", "c2": "f0"}, second: {"c3": "f1"}, whole.members[0]: {"c2": "all", "c3": "all"}}
    assert source_cases(Candidate((folds,)), source) == {"c1": ["f0"], "c2": ["f0"], "c3": ["f1"]}
    assert source_cases(Candidate((folds, whole)), source) == {"c2": ["f0", "all"], "c3": ["f1", "all"]}


def test_mean_dice_is_of_the_classes_means():
    per_case = {"x": {"a": 0.5, "b": math.nan}, "y": {"a": 0.7, "b": 0.2}}
    assert mean_dice(per_case) == pytest.approx(np.mean([0.6, 0.2]))
