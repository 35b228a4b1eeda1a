from __future__ import annotations

import numpy as np
import pytest

from nnuda.planning.rules import find
from nnuda.planning.twins import twins_among

LABELS = {"background": 0, "liver": 1, "right kidney": 2, "left kidney": 3}
SAME = {"median_spacing": [1.0, 1.0, 1.0], "median_shape": [40.0, 64.0, 64.0]}


def ball(label: np.ndarray, centre: tuple[float, float, float], radii: tuple[float, float, float], value: int) -> None:
    places = np.indices(label.shape)
    label[sum(((places[k] - centre[k]) / radii[k]) ** 2 for k in range(3)) <= 1] = value


def abdomen(rng: np.random.Generator, swapped: bool = False, size: float = 1.0) -> np.ndarray:
    """Two kidneys on the two sides of axis 2, somewhere in the image, and a large liver on one side."""
    label, move = np.zeros((40, 64, 64), int), rng.uniform(-4, 4, 3)
    ball(label, (12 + move[0], 24 + move[1], 18 + move[2]), (8, 14, 12), 1)
    for side, value in ((-1, 3 if swapped else 2), (1, 2 if swapped else 3)):
        radii = np.multiply((7, 4, 4), size if value == 3 else 1)
        ball(label, (26 + move[0], 42 + move[1], 32 + move[2] + 14 * side), radii, value)
    return label


def found(labels: list[np.ndarray], names: dict = LABELS) -> list[tuple]:
    return [(*twins.names, twins.axis) for twins in twins_among(labels, names)]


def cases(**how) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    return [abdomen(rng, **how) for _ in range(5)]


def test_two_kidneys_are_twins_wherever_the_body_lies_in_the_image():
    assert found(cases()) == [("right kidney", "left kidney", 2)]
    twins = twins_among(cases(), LABELS)[0]
    assert twins.dice > 0.9, "drawn alike, so that the mirror image covers the other but for rounding"


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_axis_is_the_one_they_lie_on_two_sides_of(axis):
    assert found([np.moveaxis(label, 2, axis) for label in cases()]) == [("right kidney", "left kidney", axis)]


def test_classes_that_change_sides_from_case_to_case_are_no_twins():
    """Nothing is lost by mirroring: the labels themselves do not know left from right."""
    assert found([*cases(), *cases(swapped=True)]) == []


def test_a_class_twice_as_large_is_no_twin():
    assert found(cases(size=0.75)) == []  # of the volume 0.42


def test_classes_that_touch_are_no_twins():
    """Two equal slabs: their centres are a width apart, each has a standard deviation of its width over the root of 12."""
    label = np.zeros((1, 40, 40), int)
    label[0, 8:32, 8:20], label[0, 8:32, 20:32] = 1, 2
    assert found([label], {"background": 0, "a": 1, "b": 2}) == []
    label[0, 8:32, 18:22] = 0
    assert found([label], {"background": 0, "a": 1, "b": 2}) == [("a", "b", 2)], "two PNG slices' worth, with a gap"


def test_the_ignore_label_and_labels_without_a_name():
    label = np.zeros((1, 40, 40), int)
    label[0, 8:32, 4:12], label[0, 8:32, 28:36] = 1, 2
    assert found([label], {"background": 0, "a": 1, "ignore": 2}) == []
    assert found([label], {"background": 0, "whole": [1, 2], "core": 2}) == [("1", "core", 2)]


def test_large_label_maps_are_thinned():
    assert found([np.kron(label, np.ones((1, 4, 4), int)) for label in cases()[:2]]) == [
        ("right kidney", "left kidney", 2)
    ]


def test_one_class_and_no_class():
    assert found([np.zeros((4, 8, 8), int), np.ones((4, 8, 8), int)]) == []


def test_the_rule_names_the_twins_and_turns_mirroring_off():
    (finding,) = find({"source": SAME, "target": SAME}, None, twins_among(cases(), LABELS))
    assert finding["rule"] == "left and right" and finding["settings"] == {"planning.twins": True}
    assert "right kidney and left kidney lie on two sides along array axis 2" in finding["reason"]
    assert finding["measured"]["twins"][0][:3] == ["right kidney", "left kidney", 2]
