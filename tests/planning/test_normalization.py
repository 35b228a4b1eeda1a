from __future__ import annotations

from copy import deepcopy

import numpy as np
import pytest
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.plan_key import KEY, plans_with_target_normalization
from nnuda.planning.normalization import SOURCE_FOREGROUND, target_normalization


def plans_of(*schemes: str) -> dict:
    return {
        "configurations": {
            "2d": {
                "normalization_schemes": list(schemes),
                "use_mask_for_norm": [False] * len(schemes),
                "architecture": {},
                "batch_size": 3,
            },
            "small": {"inherits_from": "2d", "batch_size": 1},
            "own": {"inherits_from": "2d", "normalization_schemes": ["NoNormalization"] * len(schemes)},
        },
        "foreground_intensity_properties_per_channel": {str(c): {"mean": 1000.0 + c} for c in range(len(schemes))},
    }


def fingerprint_of(*origins: str, size: float = 1.0) -> dict:
    return {
        "foreground_intensity_properties_per_channel": {str(c): {"mean": float(c)} for c in range(len(origins))},
        "intensities_from": list(origins),
        "median_relative_size_after_cropping": size,
    }


CT, Z = "CTNormalization", "ZScoreNormalization"


@pytest.mark.parametrize(
    "source, target, mean, origin",
    [
        (CT, "CT", 1000.0, SOURCE_FOREGROUND),
        (Z, "CT", 0.0, "target images, body"),
        (CT, "MR", 0.0, "target images, non-zero voxels"),
        (Z, "MR", 0.0, "target images, non-zero voxels"),
    ],
)
def test_the_sources_foreground_serves_where_both_are_ct(source, target, mean, origin):
    fingerprint = fingerprint_of("body" if target == "CT" else "non-zero voxels")
    normalization = target_normalization(plans_of(source), {"0": target}, fingerprint)
    assert normalization["foreground_intensity_properties_per_channel"]["0"]["mean"] == mean
    assert normalization["statistics_from"] == origin
    assert normalization["normalization_schemes"] == [CT if target == "CT" else Z]


def test_channels_that_differ_are_told_apart():
    normalization = target_normalization(plans_of(CT, Z), {"0": "CT", "1": "CT"}, fingerprint_of("body", "body"))
    assert normalization["statistics_from"] == f"channel 0: {SOURCE_FOREGROUND}; channel 1: target images, body"
    assert [normalization["foreground_intensity_properties_per_channel"][c]["mean"] for c in "01"] == [1000.0, 1.0]


@pytest.mark.parametrize("size, expected", [(0.74, [True, False]), (0.75, [False, False])])
def test_the_mask_is_used_by_nnunets_rule_on_the_targets_own_crop(size, expected):
    fingerprint = fingerprint_of("non-zero voxels", "body", size=size)
    assert target_normalization(plans_of(Z, CT), {"0": "T1", "1": "CT"}, fingerprint)["use_mask_for_norm"] == expected


def with_target(plans: dict) -> dict:
    return {
        **plans,
        KEY: {
            "target": {
                "normalization": {
                    "normalization_schemes": [CT],
                    "use_mask_for_norm": [True],
                    "foreground_intensity_properties_per_channel": {"0": {"mean": -5.0}},
                }
            }
        },
    }


def test_every_configuration_normalises_as_the_target_and_nothing_else_changes():
    plans = with_target(plans_of(Z))
    before = deepcopy(plans)
    target = plans_with_target_normalization(plans)
    assert plans == before
    for name in plans["configurations"]:
        configuration = PlansManager(target).get_configuration(name)
        assert configuration.normalization_schemes == [CT] and configuration.use_mask_for_norm == [True]
        assert configuration.batch_size == PlansManager(plans).get_configuration(name).batch_size
    assert target["configurations"]["small"] == plans["configurations"]["small"]
    assert PlansManager(target).foreground_intensity_properties_per_channel == {"0": {"mean": -5.0}}


def test_an_old_plans_name_of_the_statistics_does_not_win():
    plans = with_target(plans_of(Z))
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    assert (
        target_normalization(plans, {"0": "CT"}, fingerprint_of("body"))["foreground_intensity_properties_per_channel"][
            "0"
        ]["mean"]
        == 0.0
    )
    assert (
        PlansManager(plans_with_target_normalization(plans)).foreground_intensity_properties_per_channel["0"]["mean"]
        == -5.0
    )
    assert not np.isnan(PlansManager(plans).foreground_intensity_properties_per_channel["0"]["mean"])
