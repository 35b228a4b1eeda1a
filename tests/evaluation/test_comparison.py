"""Several results on the same cases: means, shares of the gap, paired tests."""

from __future__ import annotations

import math

import numpy as np
import pytest
from comparison_cases import CASES, result, three_results

from nnuda.evaluation.comparison import ALL_CLASSES, case_values, compare, holm, paired_tests, read_result, summary
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.scores import save_scores
from nnuda.report.comparison_report import notes


def test_holm_of_known_values() -> None:
    """Holm 1979: the smallest times 4, then 3, 2, 1, never falling."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_holm_does_not_count_tests_that_could_not_be_made() -> None:
    adjusted = holm([math.nan, 0.02, 0.03])
    assert math.isnan(adjusted[0]) and adjusted[1:] == pytest.approx([0.04, 0.04])


def test_means_spread_and_gap() -> None:
    comparison = compare(three_results(), "source-only", "oracle")
    expected = 0.70 + 0.02 * np.arange(CASES)
    values = summary(comparison, "method", "Dice", "ventricle")
    assert (values["mean"], values["std"]) == (pytest.approx(expected.mean()), pytest.approx(expected.std(ddof=1)))
    assert summary(comparison, "method", "Dice")["mean"] == pytest.approx(expected.mean() - 0.05)
    low, high = 0.40 + 0.035 - 0.05, 0.80 + 0.0525 - 0.05
    assert summary(comparison, "method", "Dice")["gap"] == pytest.approx((expected.mean() - 0.05 - low) / (high - low))
    assert summary(comparison, "source-only", "ASSD")["gap"] == 0 and summary(comparison, "oracle", "ASSD")["gap"] == 1
    assert math.isnan(summary(compare(three_results()), "method", "Dice")["gap"])


def test_exact_p_values_after_holm() -> None:
    """All eight differences have one sign: p = 2 / 2^8, for two tests twice that."""
    tests = paired_tests(compare(three_results(), "source-only", "oracle"), "Dice")
    assert set(tests) == {"method", "oracle"}
    for test in tests.values():
        assert (test["p"], test["p_holm"]) == (pytest.approx(2 / 2**8), pytest.approx(4 / 2**8))
        assert test["pairs"] == CASES


def test_equal_results_and_results_without_pairs() -> None:
    scores = {"one": result([0.5, 0.6]), "same": result([0.5, 0.6]), "nothing": result([0.0, 0.0])}
    assert paired_tests(compare(scores), "Dice")["same"] == {"p": 1.0, "p_holm": 1.0, "pairs": 2}
    test = paired_tests(compare(scores), "ASSD")["nothing"]
    assert math.isnan(test["p"]) and test["pairs"] == 0


def test_a_missed_class_makes_the_mean_of_a_distance_missing_and_an_absent_one_does_not() -> None:
    scores = result([0.5, 0.1])  # the second case misses the wall
    np.testing.assert_equal(case_values(scores, "ASSD", ALL_CLASSES), [5.5, math.nan])
    assert case_values(scores, "Dice")[1] == pytest.approx(0.05)
    scores["per_case"]["case1"]["wall"].update(dict.fromkeys(("Dice", "ASSD"), math.nan), empty="both")
    assert case_values(scores, "ASSD")[1] == pytest.approx(9.0) and case_values(scores, "Dice")[1] == 0.1


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda other: other["per_case"].pop("case0"), "same cases .* other has 7 and source-only 8, .* case0"),
        (lambda other: other.update(labels={"wall": 1}), "same classes"),
        (lambda other: other.update(unit="pixels"), "same unit"),
        (lambda other: other["per_case"]["case1"]["wall"].update(n_reference=3), "same reference labels .* case1"),
        (lambda other: other.update(rules={"wall": {"tolerance": 2}}), "same rules and NSD tolerances"),
    ],
)
def test_what_cannot_be_compared_is_one_clear_error(change, message: str) -> None:
    scores = three_results()
    scores["other"] = result([0.5] * CASES)
    change(scores["other"])
    with pytest.raises(EvaluationError, match=message):
        compare(scores)


def test_a_metric_that_a_result_lacks_is_left_out_and_said(tmp_path) -> None:
    scores = three_results()
    del scores["method"]["foreground_mean"]["ASSD"]
    for found in [
        *scores["method"]["per_class"].values(),
        *(c for case in scores["method"]["per_case"].values() for c in case.values()),
    ]:
        found.pop("ASSD", None)
    save_scores(scores["method"], str(tmp_path / "nnuda_scores.json"))
    comparison = compare({**scores, "method": read_result(str(tmp_path))}, "source-only", "oracle")
    assert "ASSD" not in comparison.metrics and comparison.left_out["ASSD"] == ["method"]
    assert any("ASSD is not shown: the scores of method lack it" in note for note in notes(comparison))


def test_names_must_be_there() -> None:
    with pytest.raises(EvaluationError, match="got baseline"):
        compare(three_results(), source_only="baseline")
    with pytest.raises(EvaluationError, match="two results"):
        compare({"one": result([0.5])})


def test_results_are_read_from_a_folder_or_a_file(tmp_path) -> None:
    save_scores(result([0.0, 0.6]), str(tmp_path / "nnuda_scores.json"))
    for path in (tmp_path, tmp_path / "nnuda_scores.json"):
        assert math.isnan(read_result(str(path))["per_case"]["case0"]["wall"]["ASSD"])
    with pytest.raises(EvaluationError, match="-gt"):
        read_result(str(tmp_path / "nowhere"))
