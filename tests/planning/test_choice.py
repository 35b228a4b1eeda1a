from __future__ import annotations

import json

import pytest
from planning_pairs import SOURCE, TARGET, Folders

from nnuda.errors import NnudaError, PlanningError
from nnuda.plan_key import KEY
from nnuda.planning.choice import PlanChoice, choose_plan, existing_plans, load_plan


def write_plan(folders: Folders, name: str, target: str | None = None) -> None:
    folders.of_source.mkdir(exist_ok=True)
    key = {KEY: {"target": {"name": target}}} if target else {}
    (folders.of_source / f"{name}.json").write_text(json.dumps({"configurations": {}, "plans_name": name, **key}))


def choose(p=None, pl=None, gb=None, new=None) -> PlanChoice:
    return choose_plan(SOURCE, TARGET, p, pl, gb, new)


FRESH = "nnUDAPlanner"


@pytest.mark.parametrize(
    "options, choice",
    [
        ({}, PlanChoice("nnUNetPlans", None, FRESH, None)),
        ({"p": "nnUNetPlans"}, PlanChoice("nnUNetPlans", None, FRESH, None)),
        ({"new": "mine"}, PlanChoice("mine", None, FRESH, None)),
        ({"pl": "nnUDAPlannerResEncM"}, PlanChoice("nnUNetResEncUNetMPlans", None, "nnUDAPlannerResEncM", None)),
        (
            {"pl": "nnUDAPlannerResEncXL", "gb": 20.0, "new": "mine"},
            PlanChoice("mine", None, "nnUDAPlannerResEncXL", 20.0),
        ),
    ],
)
def test_without_a_plan_a_fresh_one(folders, options, choice):
    assert choose(**options) == choice


@pytest.mark.parametrize(
    "options, choice",
    [
        ({}, PlanChoice("nnUNetPlans", "nnUNetPlans", FRESH, None)),
        ({"new": "second"}, PlanChoice("second", "nnUNetPlans", FRESH, None)),
        ({"p": "mine"}, PlanChoice("mine", "mine", FRESH, None)),
        ({"p": "mine", "new": "second"}, PlanChoice("second", "mine", FRESH, None)),
        ({"gb": 4.0, "new": "small"}, PlanChoice("small", None, FRESH, 4.0)),
        ({"pl": "nnUDAPlannerResEncM"}, PlanChoice("nnUNetResEncUNetMPlans", None, "nnUDAPlannerResEncM", None)),
    ],
)
def test_an_existing_plan_is_taken_over(folders, options, choice):
    write_plan(folders, "nnUNetPlans")
    write_plan(folders, "mine")
    assert choose(**options) == choice


@pytest.mark.parametrize(
    "options",
    [
        {"pl": FRESH},
        {"gb": 4.0},
        {"pl": "nnUDAPlannerResEncM", "p": "nnUNetPlans"},
        {"pl": FRESH, "new": "nnUNetPlans"},
    ],
)
def test_an_existing_plan_is_never_replanned(folders, options):
    write_plan(folders, "nnUNetPlans")
    with pytest.raises(PlanningError, match="Plan nnUNetPlans .* never re-planned.*-overwrite_plans_name NAME"):
        choose(**options)


def test_the_same_command_twice(folders):
    write_plan(folders, "nnUNetPlans", TARGET)
    assert choose() == PlanChoice("nnUNetPlans", "nnUNetPlans", FRESH, None)
    write_plan(folders, "second", TARGET)
    assert choose(new="second") == PlanChoice("second", "second", FRESH, None)


def test_a_second_target_needs_its_own_plan(folders):
    write_plan(folders, "nnUNetPlans", "Dataset709_First")
    with pytest.raises(
        PlanningError, match=f"already names the target Dataset709_First.*-overwrite_plans_name nnUNetPlans_{TARGET}"
    ):
        choose()
    name = f"nnUNetPlans_{TARGET}"
    assert choose(new=name) == PlanChoice(name, "nnUNetPlans", FRESH, None)
    write_plan(folders, "taken", "Dataset709_First")
    with pytest.raises(PlanningError, match="Plan taken .* already names the target Dataset709_First"):
        choose(new="taken")


def test_a_plan_that_is_not_there_lists_those_that_are(folders):
    write_plan(folders, "nnUNetPlans")
    write_plan(folders, "mine")
    (folders.of_source / "dataset.json").write_text("{}")
    with pytest.raises(PlanningError, match="No plan mime .*There are: mine, nnUNetPlans"):
        choose(p="mime")
    with pytest.raises(PlanningError, match="No plan mime"):
        load_plan(SOURCE, "mime")
    assert existing_plans(SOURCE) == ["mine", "nnUNetPlans"]
    assert existing_plans("Dataset799_Gone") == []


def test_data_of_a_plan_that_is_gone_is_not_written_over(folders):
    write_plan(folders, "nnUNetResEncUNetMPlans")  # stock ResEnc plans use the data folders of nnUNetPlans
    (folders.of_source / "nnUNetPlans_2d").mkdir()
    with pytest.raises(
        PlanningError, match=r"preprocessed data of that name .nnUNetPlans_2d., .*there are: nnUNetResEncUNetMPlans"
    ):
        choose()
    assert choose(new="mine") == PlanChoice("mine", None, FRESH, None)


def test_names_and_planners_are_checked(folders):
    with pytest.raises(PlanningError, match="-pl: expected one of nnUDAPlanner, .*; got nnUDAPlaner"):
        choose(pl="nnUDAPlaner")
    with pytest.raises(NnudaError, match="-overwrite_plans_name"):
        choose(new="a__b")
