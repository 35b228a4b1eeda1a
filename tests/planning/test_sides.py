from __future__ import annotations

import numpy as np
import pytest

from nnuda.planning.alike import Likeness
from nnuda.planning.rules import find
from nnuda.planning.sides import sides_in

LABELS = {"background": 0, "liver": 1, "right kidney": 2, "left kidney": 3}
SAME = {"median_spacing": [1.0, 1.0, 1.0], "median_shape": [40.0, 64.0, 64.0]}


def ball(label: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float], value: int) -> None:
    places = np.indices(label.shape)
    label[sum(((places[k] - centre[k]) / radii[k]) ** 2 for k in range(3)) <= 1] = value


def kidneys(rng: np.random.Generator, swapped: bool = False) -> np.ndarray:
    """Two on the two sides of axis 2, somewhere in the image, and a liver around the middle of both."""
    label, move = np.zeros((40, 64, 64), int), rng.uniform(-4, 4, 3)
    ball(label, (24 + move[0], 40 + move[1], 32 + move[2]), (8, 14, 14), 1)
    for side, value in ((-1, 3 if swapped else 2), (1, 2 if swapped else 3)):
        ball(label, (26 + move[0], 42 + move[1], 32 + move[2] + 14 * side), (7, 4, 4), value)
    return label


def cases(count: int = 5, **how) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [kidneys(rng, **how) for _ in range(count)]


def found(labels: list[np.ndarray], names: dict = LABELS) -> list[tuple]:
    return [(*sides.names, sides.axis) for sides in sides_in(labels, names)]


def test_two_kidneys_lie_on_two_sides_wherever_the_body_lies_in_the_image():
    assert found(cases()) == [("right kidney", "left kidney", 2)]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_is_the_one_they_lie_on_two_sides_of(axis):
    assert found([np.moveaxis(label, 2, axis) for label in cases()]) == [("right kidney", "left kidney", axis)]


def test_the_first_of_the_names_lies_at_the_lower_index():
    assert found(cases(swapped=True)) == [("left kidney", "right kidney", 2)]


def test_classes_that_change_sides_say_nothing_but_for_one_case_in_twenty():
    """The labels themselves do not know left from right; a single case may be labelled the wrong way round."""
    assert found([*cases(5), *cases(5, swapped=True)]) == []
    assert found([*cases(20), *cases(1, swapped=True)]) == [("right kidney", "left kidney", 2)]
    assert found([*cases(18), *cases(2, swapped=True)]) == []


def test_four_cases_say_nothing():
    assert found(cases(4)) == [] and found([*cases(4), *[np.ones((4, 8, 8), int)] * 6]) == []


def slabs(low: int, high: int) -> list[np.ndarray]:
    """Class 1 from 0 to 12 along the last axis, class 2 in the 12 from `low` on, where they overlap half of each."""
    label = np.zeros((1, 24, 40), int)
    label[0, :12, :12] = 1
    label[0, 12:, low:high] = 2
    return [label] * 5


def test_how_far_apart_in_closed_form():
    """A slab of width w has the standard deviation w / sqrt(12): two that touch lie sqrt(3) apart."""
    touching = {sides.axis: sides for sides in sides_in(slabs(12, 24), {"background": 0, "a": 1, "b": 2})}
    assert touching[2].apart == pytest.approx(3**0.5, rel=0.01) == touching[1].apart
    overlapping = found(slabs(9, 21), {"background": 0, "a": 1, "b": 2})
    assert overlapping == [("a", "b", 1)], "three quarters of the way: 1.3 along axis 2"


def test_the_ignore_label_and_labels_without_a_name():
    assert found(slabs(28, 40), {"background": 0, "a": 1, "ignore": 2}) == []
    assert found(slabs(28, 40), {"background": 0, "whole": [1, 2], "core": 2})[-1] == ("1", "core", 2)


def test_large_label_maps_are_thinned():
    large = [np.kron(label, np.ones((1, 4, 4), int)) for label in cases()]
    assert found(large) == [("right kidney", "left kidney", 2)]


def test_one_class_and_no_class():
    assert found([np.zeros((4, 8, 8), int), np.ones((4, 8, 8), int)] * 5) == []


def test_the_rule_names_them_and_turns_mirroring_off():
    (finding,) = find({"source": SAME, "target": SAME}, None, sides_in(cases(), LABELS))
    assert finding["rule"] == "left and right" and finding["settings"] == {"planning.sided_axes": [2]}
    assert "right kidney before left kidney along array axis 2" in finding["reason"]
    assert finding["measured"]["apart"][0][:3] == ["right kidney", "left kidney", 2]


def test_where_no_shift_is_to_be_seen_mirroring_stays_nnunets():
    findings = find({"source": SAME, "target": SAME}, Likeness([0.9], 0.5), sides_in(cases(), LABELS))
    assert [finding["rule"] for finding in findings] == ["no shift to be seen"]
