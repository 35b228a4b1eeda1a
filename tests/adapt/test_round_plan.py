"""The plan of a round is of the adaptation's kind, by what nnU-Net itself offers."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

import pytest
from nnunetv2.experiment_planning.plan_and_preprocess_entrypoints import plan_experiment_entry
from planning_pairs import SOURCE, Folders, write_dataset
from roads import make_road

from nnuda.stages import round_plan
from nnuda.stages.road import Road
from nnuda.stages.round_plan import RoundPlan, plan_like

DEFAULT, LARGE = "ExperimentPlanner", "nnUNetPlannerResEncL"
KINDS = [
    ("nnUDAPlanner", DEFAULT, None, RoundPlan("nnUNetPlans", [])),
    ("nnUDAPlannerResEncL", LARGE, None, RoundPlan("nnUNetResEncUNetLPlans", ["-pl", LARGE])),
    (
        "nnUDAPlanner",
        DEFAULT,
        0.5,
        RoundPlan("nnUNetPlans_0.5G", ["-gpu_memory_target", "0.5", "-overwrite_plans_name", "nnUNetPlans_0.5G"]),
    ),
    (
        "nnUDAPlannerResEncL",
        LARGE,
        30.0,
        RoundPlan(
            "nnUNetResEncUNetLPlans_30G",
            ["-pl", LARGE, "-gpu_memory_target", "30", "-overwrite_plans_name", "nnUNetResEncUNetLPlans_30G"],
        ),
    ),
]


@pytest.fixture
def road(tmp_path, monkeypatch) -> Road:
    Folders(tmp_path).use(monkeypatch)
    return make_road(tmp_path)


def there(monkeypatch: pytest.MonkeyPatch, **plans: dict) -> None:
    """Plans that are there, by name."""
    monkeypatch.setattr(round_plan, "plan_file", lambda source, name: __file__ if name in plans else "nothing")
    monkeypatch.setattr(round_plan, "load_plan", lambda source, name: plans[name])


def fresh(planner: str, gb: float | None) -> dict:
    return {"experiment_planner_used": planner, "domain_adaptation": {"made_with": {"gpu_memory_target": gb}}}


@pytest.mark.parametrize(("planner", "stock", "gb", "expected"), KINDS)
def test_a_round_is_planned_as_the_adaptation_before_and_after_its_planning(
    road, monkeypatch, planner, stock, gb, expected
):
    words = ["-pl", planner, *([] if gb is None else ["-gpu_memory_target", str(gb)]), "--text-model", "ngrams"]
    assert plan_like(replace(road, plans="mine", planning=words)) == expected
    there(monkeypatch, mine=fresh(stock, gb), nnUNetPlans=fresh("nnUNetPlannerResEncM", None))
    assert plan_like(replace(road, plans="mine", planning=words)) == expected
    assert plan_like(replace(road, plans="mine")) == expected


def test_what_is_not_there_yet_is_taken_from_its_base_or_planned_afresh(road, monkeypatch):
    there(monkeypatch, nnUNetPlans=fresh(LARGE, None), theirs=fresh("nnUNetPlannerResEncM", None))
    assert plan_like(replace(road, plans="new")).options == ["-pl", LARGE]
    assert plan_like(replace(road, plans="new", base="theirs")).options == ["-pl", "nnUNetPlannerResEncM"]
    assert plan_like(replace(road, plans="new", planning=["-pl", "nnUDAPlanner"])).options == []


@pytest.mark.parametrize(
    ("plan", "name", "remark"),
    [
        ({"experiment_planner_used": LARGE}, "nnUNetResEncUNetLPlans", "nnUNetPlans does not say for how much"),
        ({}, "nnUNetPlans", "nnUNetPlans does not say for how much"),
        (fresh("TheirPlanner", 30.0), "nnUNetPlans", "default plan: it has no planner TheirPlanner"),
        (fresh("join", 30.0), "nnUNetPlans", "default plan: it has no planner join"),
    ],
)
def test_where_the_kind_is_not_known_it_is_said(road, monkeypatch, plan, name, remark):
    there(monkeypatch, nnUNetPlans=plan)
    found = plan_like(road)
    assert found.name == name and remark in found.remark


@pytest.mark.parametrize(("planner", "stock", "gb", "expected"), KINDS)
@pytest.mark.slow
def test_nnunet_writes_this_plan_by_these_options(tmp_path, monkeypatch, planner, stock, gb, expected):
    folders = Folders(tmp_path).use(monkeypatch)
    write_dataset(folders.raw, SOURCE, labelled=True, cases=2)
    folders.of_source.mkdir()
    content = {"spacings": [[3, 1, 1]] * 2, "shapes_after_crop": [[16, 64, 64]] * 2}
    content |= {"median_relative_size_after_cropping": 1.0, "foreground_intensity_properties_per_channel": {}}
    (folders.of_source / "dataset_fingerprint.json").write_text(json.dumps(content))
    monkeypatch.setattr(sys, "argv", ["nnUNetv2_plan_experiment", "-d", SOURCE[7:10], *expected.options])
    plan_experiment_entry()
    assert folders.plan(expected.name)["experiment_planner_used"] == stock
    network = folders.plan(expected.name)["configurations"]["2d"]["architecture"]["network_class_name"]
    assert network.endswith("ResidualEncoderUNet" if stock == LARGE else "PlainConvUNet")
