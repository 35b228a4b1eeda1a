from __future__ import annotations

from copy import deepcopy

import pytest

from nnuda.plan_key import (
    KEY,
    SCHEMA_VERSION,
    USED_OF_CONFIGURATIONS,
    PlanKeyError,
    configuration_of,
    read_key,
    target_folder,
)

CT = {"normalization_schemes": ["CTNormalization"]}
COMMAND = "nnUDA_plan_and_preprocess -d Dataset501_S -t TARGET -p nnUNetPlans"


@pytest.fixture
def plans() -> dict:
    return deepcopy(
        {
            "dataset_name": "Dataset501_S",
            "plans_name": "nnUNetPlans",
            KEY: {
                "schema_version": SCHEMA_VERSION,
                "planned_by": "nnuda 0.1.0",
                "plan": "extended",
                "source": "Dataset501_S",
                "target": {
                    "name": "Dataset502_T",
                    "folder": "Dataset501_S/nnUDA_target_Dataset502_T",
                    "channel_names": {"0": "T2"},
                    "file_ending": ".nii.gz",
                    "num_cases": 3,
                    "normalization": {
                        "normalization_schemes": ["ZScoreNormalization"],
                        "use_mask_for_norm": [False],
                        "foreground_intensity_properties_per_channel": {
                            "0": {"mean": 1.0, "percentile_00_5": 0.0, "percentile_99_5": 2.0}
                        },
                        "statistics_from": "target images, non-zero voxels",
                    },
                },
                "geometry": dict.fromkeys(
                    ("source", "target"), {"median_spacing": [1.0, 1.0, 1.0], "median_shape": [9, 9, 9]}
                ),
                "settings": {},
            },
        }
    )


def test_a_whole_key_is_returned_as_it_is(plans):
    assert read_key(plans) is plans[KEY]


def test_a_plan_of_stock_nnunet_names_the_command(plans):
    del plans[KEY]
    with pytest.raises(PlanKeyError, match=f"Dataset501_S names no unlabelled target. Run: {COMMAND}"):
        read_key(plans)


def test_a_key_of_another_source(plans):
    plans[KEY]["source"] = "Dataset007_Other"
    with pytest.raises(PlanKeyError, match=f"was made for Dataset007_Other. Run: {COMMAND}"):
        read_key(plans)


def without(*path: str):
    def change(key: dict) -> None:
        for part in path[:-1]:
            key = key[part]
        del key[path[-1]]

    return change


@pytest.mark.parametrize(
    "change, where",
    [
        (lambda key: key.update(schema_version=SCHEMA_VERSION + 1), f"{KEY}.schema_version"),
        (lambda key: key.update(plan="new"), f"{KEY}.plan"),
        (lambda key: key["target"].update(num_cases=0), f"{KEY}.target.num_cases"),
        (lambda key: key["target"].update(folder="a/nnUDA_target_b\n"), f"{KEY}.target.folder"),
        (lambda key: key.update(foreground_classes=[1, 2]), f"{KEY}.foreground_classes"),
        (
            lambda key: key["target"]["normalization"].update(normalization_schemes=[]),
            f"{KEY}.target.normalization.normalization_schemes",
        ),
        (
            lambda key: key["target"]["normalization"].update(use_mask_for_norm=[0]),
            f"{KEY}.target.normalization.use_mask_for_norm.0",
        ),
        (
            lambda key: key["target"]["normalization"].update(use_mask_for_norm=[False, True]),
            f"{KEY}.target.normalization: 1 normalization_schemes, and use_mask_for_norm of 2 channels",
        ),
        (
            lambda key: key["target"]["normalization"].update(foreground_intensity_properties_per_channel={"1": {}}),
            "no foreground_intensity_properties_per_channel.0",
        ),
        (lambda key: key["target"]["normalization"].update(CT), "per_channel.0: 'std' is a required property"),
        (without("settings"), "'settings' is a required property"),
        (without("target", "folder"), "'folder' is a required property"),
        (without("geometry", "target"), "'target' is a required property"),
        (
            without("target", "normalization", "foreground_intensity_properties_per_channel"),
            "'foreground_intensity_properties_per_channel' is a",
        ),
    ],
)
def test_a_malformed_key_says_where_and_what_to_run(plans, change, where):
    change(plans[KEY])
    with pytest.raises(PlanKeyError) as error:
        read_key(plans)
    assert where in str(error.value) and COMMAND in str(error.value)


def test_the_target_lies_under_nnunets_preprocessed_folder(plans, monkeypatch, tmp_path):
    for base in (tmp_path / "a", tmp_path / "b"):  # read at each call, as nnU-Net reads it
        monkeypatch.setenv("nnUNet_preprocessed", str(base))
        assert target_folder(plans[KEY]) == str(base / "Dataset501_S" / "nnUDA_target_Dataset502_T")


def test_a_configuration_has_what_it_inherits():
    plans = {
        "plans_name": "p",
        "configurations": {
            "2d": {"batch_size": 2, "spacing": [1, 1]},
            "wide": {"inherits_from": "2d", "spacing": [3, 3]},
        },
    }
    plans["configurations"]["wider"] = {"inherits_from": "wide", "batch_size": 9}
    assert configuration_of(plans, "wider") == {"inherits_from": "wide", "batch_size": 9, "spacing": [3, 3]}


@pytest.mark.parametrize(
    "configurations, name, message",
    [
        ({"2d": {}}, "3d", "configuration 3d: expected one that is there; got 3d, and the plan has 2d"),
        ({"2d": {"inherits_from": "1d"}}, "2d", "expected one that is there; got 1d"),
        ({"a": {"inherits_from": "b"}, "b": {"inherits_from": "a"}}, "a", "ends what it inherits; got a"),
        ({"2d": {"batch_size": 2}}, "2d", "it has no batch_dice, data_identifier, normalization_schemes, patch_size"),
    ],
)
def test_a_configuration_that_cannot_be_read(configurations, name, message):
    with pytest.raises(PlanKeyError, match=message):
        configuration_of({"plans_name": "p", "configurations": configurations}, name, USED_OF_CONFIGURATIONS)
