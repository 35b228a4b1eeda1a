from __future__ import annotations

import json
import re
from copy import deepcopy

import pytest

from nnuda.files import write_json
from nnuda.plan_key import KEY, SCHEMA_VERSION, PlanKeyError, plans_with_target_normalization
from nnuda.results import PLANS_SOURCE
from nnuda.settings import SettingsError
from nnuda.training.frozen import (
    FrozenConfigurationError,
    freeze,
    frozen_classes,
    frozen_settings,
    refuse_other_configuration,
)

DATASET = {"labels": {"background": 0, "right": 2, "left": 1, "ignore": 3}}


@pytest.fixture
def plans() -> dict:
    """A plan before `freeze`: 2d, and a configuration that inherits from it."""
    return deepcopy(
        {
            "dataset_name": "Dataset501_S",
            "plans_name": "nnUNetPlans",
            "foreground_intensity_properties_per_channel": {"0": {"mean": 100.0}},
            "configurations": {
                "2d": {
                    "batch_size": 12,
                    "patch_size": [32, 32],
                    "normalization_schemes": ["CTNormalization"],
                    "use_mask_for_norm": [False],
                },
                "2d_large": {"inherits_from": "2d", "batch_size": 24},
                "2d_masked": {"inherits_from": "2d", "use_mask_for_norm": [True]},
            },
            KEY: {
                "schema_version": SCHEMA_VERSION,
                "planned_by": "nnuda 0.1.0",
                "plan": "extended",
                "source": "Dataset501_S",
                "target": {
                    "name": "Dataset502_T",
                    "folder": "Dataset501_S/nnUDA_target_Dataset502_T",
                    "channel_names": {"0": "MR"},
                    "file_ending": ".nii.gz",
                    "num_cases": 3,
                    "normalization": {
                        "normalization_schemes": ["ZScoreNormalization"],
                        "use_mask_for_norm": [True],
                        "foreground_intensity_properties_per_channel": {"0": {"mean": 7.0}},
                        "statistics_from": "target images, non-zero voxels",
                    },
                },
                "geometry": dict.fromkeys(
                    ("source", "target"), {"median_spacing": [1.0, 1.0, 1.0], "median_shape": [9, 9, 9]}
                ),
                "settings": {"training.num_epochs": 5},
            },
        }
    )


@pytest.fixture
def frozen(plans) -> dict:
    freeze(plans, "uuds", DATASET)
    return plans


def test_freezing_writes_settings_and_classes_into_the_plan(plans):
    settings = freeze(plans, "uuds", DATASET)
    assert settings["training.num_epochs"] == 5 and settings["uuds.dam"] == "gate"
    reloaded = json.loads(json.dumps(plans))
    assert frozen_settings(reloaded) == settings and frozen_classes(reloaded) == ["left", "right"]


def test_freezing_checks_key_and_settings(plans):
    plans[KEY]["settings"]["training.num_epoch"] = 5
    with pytest.raises(SettingsError, match="Did you mean training.num_epochs"):
        freeze(plans, "uuds", DATASET)
    del plans[KEY]
    with pytest.raises(PlanKeyError):
        freeze(plans, "uuds", DATASET)


def test_a_training_of_an_earlier_version_keeps_what_it_began_with(plans, tmp_path):
    """Neither today's defaults nor settings that it could not know change a folder that was begun before them."""
    fresh = deepcopy(plans)
    freeze(plans, "uuds", DATASET)
    old = plans[KEY]["effective_settings"]
    for key in ("training.recipe", "augmentation.curve", "teacher.threshold"):
        del old[key]
    old["teacher.weight"], old["teacher.start"] = 0.0, 0.1
    write_json(plans, str(tmp_path / PLANS_SOURCE))
    settings = freeze(fresh, "uuds", DATASET, str(tmp_path))
    assert settings == {**old, "training.recipe": "paper", "augmentation.curve": "bezier", "teacher.threshold": "fixed"}
    refuse_other_configuration(fresh, "2d", str(tmp_path))
    write_json(fresh, str(tmp_path / PLANS_SOURCE))  # as every start does
    again = deepcopy(fresh)
    assert freeze(again, "uuds", DATASET, str(tmp_path)) == settings
    refuse_other_configuration(again, "2d", str(tmp_path))
    fresh[KEY]["settings"] = {"training.num_epochs": 6}
    assert freeze(fresh, "uuds", DATASET, str(tmp_path))["teacher.weight"] == 1


def test_an_untouched_folder_takes_any_configuration(frozen, tmp_path):
    refuse_other_configuration(frozen, "2d", str(tmp_path))
    refuse_other_configuration(frozen, "2d", str(tmp_path / "not there"))


def test_the_same_configuration_may_go_on(frozen, tmp_path):
    frozen["configurations"]["2d"]["patch_size"] = (32, 32)  # a tuple here, a list in the file
    write_json(frozen, str(tmp_path / PLANS_SOURCE))
    refuse_other_configuration(frozen, "2d", str(tmp_path))


def changed_keys(now: dict, configuration: str, folder) -> list[str]:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FrozenConfigurationError, match="nnUDA_configure") as error:
        refuse_other_configuration(now, configuration, str(folder))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    return re.findall(r"^  (.+): was ", str(error.value), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "change, keys",
    [
        (
            lambda plans: plans[KEY]["effective_settings"].update({"teacher.weight": 2, "uuds.dam": "adain"}),
            ["teacher.weight", "uuds.dam"],
        ),
        (lambda plans: plans[KEY]["target"].update(name="Dataset503_U"), ["target"]),
        (
            lambda plans: plans[KEY]["target"]["normalization"].update(use_mask_for_norm=[False]),
            ["target normalization"],
        ),
        (lambda plans: plans[KEY].update(foreground_classes=["left", "wrong"]), ["foreground classes"]),
        (lambda plans: plans["configurations"]["2d"].update(batch_size=13), ["2d.batch_size"]),
        (lambda plans: plans["configurations"]["2d"].pop("patch_size"), ["2d.patch_size"]),
    ],
)
def test_another_configuration_is_refused_with_its_changed_keys(frozen, tmp_path, change, keys):
    write_json(frozen, str(tmp_path / PLANS_SOURCE))
    now = deepcopy(frozen)
    change(now)
    assert changed_keys(now, "2d", tmp_path) == keys


def test_the_message_names_both_values(frozen, tmp_path):
    write_json(frozen, str(tmp_path / PLANS_SOURCE))
    now = deepcopy(frozen)
    now[KEY]["effective_settings"]["uuds.dam"] = "adain"
    with pytest.raises(FrozenConfigurationError, match="uuds.dam: was 'gate', now 'adain'"):
        refuse_other_configuration(now, "2d", str(tmp_path))


def test_another_configurations_change_concerns_nobody_here(frozen, tmp_path):
    write_json(frozen, str(tmp_path / PLANS_SOURCE))
    now = deepcopy(frozen)
    now["configurations"]["2d_large"]["batch_size"] = 13
    refuse_other_configuration(now, "2d", str(tmp_path))


def test_an_inherited_change_is_seen(frozen, tmp_path):
    write_json(frozen, str(tmp_path / PLANS_SOURCE))
    now = deepcopy(frozen)
    now["configurations"]["2d"].update(patch_size=[64, 64], batch_size=3)
    assert changed_keys(now, "2d_large", tmp_path) == ["2d_large.patch_size"]


def test_the_results_plan_normalises_as_the_target_everywhere(frozen):
    before = deepcopy(frozen)
    made = plans_with_target_normalization(frozen)
    assert frozen == before
    assert made["foreground_intensity_properties_per_channel"] == {"0": {"mean": 7.0}}
    target = {"normalization_schemes": ["ZScoreNormalization"], "use_mask_for_norm": [True]}
    assert made["configurations"] == {
        "2d": {"batch_size": 12, "patch_size": [32, 32], **target},
        "2d_large": before["configurations"]["2d_large"],
        "2d_masked": {"inherits_from": "2d", **target},
    }
    assert {name: made[name] for name in ("dataset_name", "plans_name", KEY)} == {
        name: before[name] for name in ("dataset_name", "plans_name", KEY)
    }


def test_an_inherited_mask_of_the_source_does_not_survive(frozen):
    frozen[KEY]["target"]["normalization"]["use_mask_for_norm"] = [False]
    assert plans_with_target_normalization(frozen)["configurations"]["2d_masked"]["use_mask_for_norm"] == [False]


def test_writing_replaces_and_leaves_nothing_aside(tmp_path):
    for content in ({"a": 1}, {"b": 2}):
        write_json(content, str(tmp_path / "plans.json"))
    assert json.loads((tmp_path / "plans.json").read_text()) == {"b": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["plans.json"]


def test_what_cannot_be_written_leaves_the_old_file(tmp_path):
    write_json({"a": 1}, str(tmp_path / "plans.json"))
    with pytest.raises(TypeError):
        write_json({"a": [1] * 1000, "b": object()}, str(tmp_path / "plans.json"))
    assert json.loads((tmp_path / "plans.json").read_text()) == {"a": 1}
