"""Tolerances, empty masks and slices of the presets."""

from __future__ import annotations

import math

import pytest

from nnuda.evaluation.conventions import class_rules
from nnuda.evaluation.reading import EvaluationError


def test_one_millimetre_and_nan_without_a_preset() -> None:
    rule = class_rules(["liver"])["liver"]
    assert rule.tolerance == 1 and math.isnan(rule.both_empty) and math.isnan(rule.empty_prediction_assd)
    assert not rule.labelled_slices


def test_a_tolerance_for_all_and_one_for_a_class() -> None:
    rules = class_rules(["liver", "spleen"], tolerances={None: 2.0, "spleen": 0.5})
    assert (rules["liver"].tolerance, rules["spleen"].tolerance) == (2.0, 0.5)
    with pytest.raises(EvaluationError, match="classes of dataset.json .liver.; got one for spleen"):
        class_rules(["liver"], tolerances={"spleen": 2.0})


def test_crossmoda_charges_a_missing_structure() -> None:
    rule = class_rules(["VS", "cochlea"], "crossmoda")["cochlea"]
    assert rule.empty_prediction_assd == 350 and math.isnan(rule.both_empty)


def test_flare_knows_its_organs_by_their_names() -> None:
    rules = class_rules(["Liver", "RK", "left_kidney", "IVC", "Duodenum"], "flare")
    assert [rule.tolerance for rule in rules.values()] == [5, 3, 3, 2, 7]
    assert [rule.labelled_slices for rule in rules.values()] == [False, False, False, True, False]
    assert all(rule.both_empty == 1 for rule in rules.values())


def test_flare_asks_for_the_tolerance_of_another_class() -> None:
    with pytest.raises(EvaluationError, match="--nsd-tolerance 'myocardium=MM'"):
        class_rules(["myocardium"], "flare")
    assert class_rules(["myocardium"], "flare", {"myocardium": 1.5})["myocardium"].tolerance == 1.5
