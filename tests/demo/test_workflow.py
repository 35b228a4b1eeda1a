"""The demo's steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.demo.workflow import CONFIGURATION, SETTINGS, SMALL, STRONG, add_small_configuration, in_words, variables
from nnuda.settings import validate_overrides


def test_the_small_configuration_is_one_that_nnunet_reads(tmp_path: Path) -> None:
    file = tmp_path / "nnUNetPlans.json"
    large = {
        "data_identifier": "nnUNetPlans_2d",
        "patch_size": [64, 64],
        "batch_size": 999,
        "spacing": [1.0, 1.0],
        "architecture": {"network_class_name": "a.b.C", "arch_kwargs": {}, "_kw_requires_import": []},
    }
    file.write_text(
        json.dumps(
            {
                "plans_name": "nnUNetPlans",
                "dataset_name": "Dataset901_DemoSource",
                "image_reader_writer": "NaturalImage2DIO",
                "configurations": {"2d": large},
            }
        )
    )
    add_small_configuration(file)
    plans = json.loads(file.read_text())
    assert plans["configurations"]["2d"] == large
    small = PlansManager(plans).get_configuration(CONFIGURATION)
    assert small.data_identifier == "nnUNetPlans_2d"  # what was preprocessed for 2d serves it
    assert (small.batch_size, small.patch_size) == (SMALL["batch_size"], [64, 64])
    network = get_network_from_plans(
        small.network_arch_class_name, small.network_arch_init_kwargs, small.network_arch_init_kwargs_req_import, 1, 3
    )
    assert sum(parameter.numel() for parameter in network.parameters()) < 1_000_000


@pytest.mark.parametrize(
    ("adapted", "said"),
    [
        (0.72, "adds +0.12 to it, of one seed"),
        (0.61, "adds +0.01 to it, within the noise of one seed"),
        (0.4, "adds -0.20 to it, of one seed"),
    ],
)
def test_what_it_was_worth_is_said_as_it_came_out(adapted: float, said: str) -> None:
    dice = {"source-only": 0.25, "strong": 0.6, "adapted": adapted, "one-piece": adapted + 0.05, "oracle": 0.9}
    words = in_words({row: {"foreground_mean": {"Dice": value}} for row, value in dice.items()})
    assert "Strong augmentation is worth +0.35 Dice over source-only" in words and said in words
    assert "as the source's labels show it, +0.05 more" in words


def test_the_settings_exist() -> None:
    validate_overrides({**SETTINGS, **STRONG})


@pytest.mark.parametrize("name", ["nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"])
def test_everything_stays_below_the_folder(tmp_path: Path, name: str) -> None:
    assert Path(variables(tmp_path)[name]).parent == tmp_path
