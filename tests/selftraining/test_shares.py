"""Shares and warnings from counts that are known."""

from __future__ import annotations

import numpy as np

from nnuda.selftraining.keeping import ClassPrior, Kept
from nnuda.selftraining.shares import summary

NAMES = {0: "background", 1: "a", 2: "b c", 3: "d"}
PRIORS = {value: ClassPrior(name, False, False, None) for value, name in NAMES.items() if value}


def kept(*steps: dict[int, int], **changes) -> Kept:
    return Kept(np.empty(0), dict(zip(("predicted", "voxel", "component", "kept"), steps)), **changes)


def test_shares_and_warnings():
    made = summary(
        {
            "x": kept({0: 10, 1: 10, 2: 10}, {0: 9, 1: 8, 2: 8}, {0: 9, 1: 8, 2: 1}, {0: 9, 1: 8, 2: 1}),
            "y": kept({0: 10, 1: 10}, {0: 10}, {0: 10}, {0: 10}, left_out="why", outside={3: "missing"}),
        },
        NAMES,
        PRIORS,
    )
    assert made["per_class"]["a"] == {"predicted": 20, "voxel": 8, "component": 8, "kept": 8, "share_kept": 0.4}
    assert made["per_class"]["background"]["share_kept"] == 0.45  # what a case that is left out had is not kept
    assert made["per_case"]["x"]["share_kept"] == {"background": 0.9, "a": 0.8, "b c": 0.1, "d": None}
    assert made["per_case"]["y"]["outside"] == {"d": "missing"} and made["left_out"] == {"y": "why"}
    of_a, of_b, of_d = made["warnings"]
    assert of_a.startswith("a loses most of its voxels: 40% are kept, most are lost to confidence or agreement")
    assert of_b.startswith("b c loses most of its voxels: 10% are kept, most are lost to components")
    assert "--confidence 'b c=0.7'" in of_b and of_d.startswith("d is predicted in no case")


def test_most_cases_left_out():
    one = kept({1: 1}, {}, {}, {}, left_out="why")
    assert summary({"x": one}, NAMES, PRIORS)["warnings"][-1] == "1 of 1 target cases are left out."
