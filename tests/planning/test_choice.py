from __future__ import annotations

import json

import pytest
from planning_pairs import SOURCE, TARGET, Folders, edit_json
from whole_plan import whole_plan

from nnuda.errors import NnudaError, PlanningError
from nnuda.plan_key import KEY
from nnuda.plan_network import check_networks
from nnuda.planning.choice import PlanChoice, choose_plan, existing_plans, load_plan


def write_plan(folders: Folders, name: str, target: str | None = None, **more: object) -> None:
    folders.of_source.mkdir(exist_ok=True)
    key = {KEY: {"target": {"name": target}, **more}} if target else {}
    content = {**whole_plan(SOURCE, name), **key}
    content["configurations"]["2d_small"] = {"inherits_from": "2d", "batch_size": 1}
    (folders.of_source / f"{name}.json").write_text(json.dumps(content))


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


def test_a_plan_copied_by_hand(folders):
    """nnU-Net would train it into the folder of the plan that it was copied from."""
    write_plan(folders, "nnUNetPlans")
    (folders.of_source / "nnUNetPlans.json").rename(folders.of_source / "my.json")
    says = f"my.json: expected plans_name my, .*; got nnUNetPlans.* nnUDA_configure -d {SOURCE} --as NAME"
    for given in ({"p": "my"}, {"p": "nnUNetPlans", "new": "my"}):
        with pytest.raises(PlanningError, match=says):
            choose(**given)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"strides": [[1, 1]]}, "strides must have as many entries"),
        ({"network_class_name": "dynamic_network_architectures.architectures.unet.NoSuch"}, "could not be found"),
        ({"conv_op": "torch.nn.Nope"}, "Python finds no torch.nn.Nope"),
        ({"norm_op": "torch.nn.InstanceNorm3d"}, "ValueError"),
    ],
)
def test_a_plan_whose_network_cannot_be_built(folders, change, says):
    write_plan(folders, "nnUNetPlans")
    plans = folders.plan()
    architecture = plans["configurations"]["2d"]["architecture"]
    (architecture if "network_class_name" in change else architecture["arch_kwargs"]).update(change)
    edit_json(folders.of_source / "nnUNetPlans.json", configurations=plans["configurations"])
    with pytest.raises(
        PlanningError, match=f"Plan nnUNetPlans, configuration 2d: The plan's network .*{says}.* as it was"
    ):
        check_networks(load_plan(SOURCE, "nnUNetPlans"), ["2d"])


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
    with pytest.raises(NnudaError, match="-overwrite_plans_name: expected at most 100 characters; got 101"):
        choose(new="a" * 101)
    for name in ("dataset", "dataset_fingerprint", "splits_final", "gt_segmentations", "nnUDA_raw_cases", "a.json"):
        with pytest.raises(NnudaError, match=f"-overwrite_plans_name {name}: .* another name"):
            choose(new=name)


def test_a_fresh_plan_with_options_can_be_asked_for_again(folders):
    made_with = {"planner": "nnUDAPlannerResEncM", "gpu_memory_target": 6.0}
    write_plan(folders, "mine", TARGET, made_with=made_with)
    assert choose(pl="nnUDAPlannerResEncM", gb=6.0, new="mine").base == "mine"
    for pl, gb in (("nnUDAPlannerResEncM", None), ("nnUDAPlannerResEncM", 7.0), (None, 6.0)):
        with pytest.raises(PlanningError, match="Plan mine .* not made with these -pl and -gpu_memory_target"):
            choose(pl=pl, gb=gb, new="mine")


@pytest.mark.parametrize("content", ["5", "[1]", '{"configurations": {', "", "\udcff"])
def test_another_json_file_beside_the_plans_is_left_out_with_a_word(folders, capsys, content):
    write_plan(folders, "mine")
    (folders.of_source / "notes.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert existing_plans(SOURCE) == ["mine"]
    assert "NOTE: left out among the plans: " in (out := capsys.readouterr().out) and "notes.json" in out


def change(**changes: object) -> dict:
    return {"configurations": {"2d": {**whole_plan(SOURCE, "mine")["configurations"]["2d"], **changes}}}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"plans_name": None}, "plans_name"),
        ({"dataset_name": 5}, "dataset_name: 5 is not of type 'string'"),
        ({"plans_name": "../../evil"}, "plans_name: '../../evil' does not match"),
        ({"image_reader_writer": "NoSuchIO"}, "image_reader_writer: nnU-Net has no reader NoSuchIO"),
        ({"configurations": {}}, "configurations"),
        ({"configurations": []}, "configurations"),
        (change(spacing="x"), "configurations.2d.spacing"),
        (change(spacing=[0.0, 1.0]), "configurations.2d.spacing"),
        (change(spacing=[float("nan"), 1.0]), "configurations.2d.spacing.0: expected a finite number, not NaN"),
        (change(spacing=[1.0, float("inf")]), "configurations.2d.spacing.1: expected a finite number"),
        (change(spacing=[1e-9, 1.0]), "configurations.2d.spacing.0: 1e-09 is less than the minimum"),
        (change(patch_size=[32, 10**9]), "configurations.2d.patch_size.1: 1000000000 is greater than the maximum"),
        (change(batch_size=1e3), "configurations.2d.batch_size: 1000.0 is not of type 'integer'"),
        (change(spacing=[1.0, 1.0, 1.0]), "configurations.2d: spacing .* differ"),
        (change(patch_size=[32, -32]), "configurations.2d.patch_size"),
        (change(batch_size=0), "configurations.2d.batch_size"),
        (change(data_identifier="../../victim/data"), "configurations.2d.data_identifier"),
        (change(data_identifier=".."), "configurations.2d.data_identifier"),
        (change(normalization_schemes=["NoSuchNorm"]), "configurations.2d: nnU-Net has no normalisation NoSuchNorm"),
        (change(preprocessor_name="NoSuch"), "configurations.2d: nnU-Net has no preprocessor NoSuch"),
        (change(resampling_fn_data="no_such"), "configurations.2d: resampling_fn_data, which fails .*no_such"),
        (change(resampling_fn_seg=[None]), "configurations.2d.resampling_fn_seg: .* is not of type 'string'"),
        (
            change(architecture={"network_class_name": "X", "arch_kwargs": 5, "_kw_requires_import": []}),
            "architecture.arch_kwargs: 5 is not",
        ),
        ({"configurations": {"2d": {"inherits_from": "nope"}}}, "configuration 2d: .* got nope"),
        ({"configurations": {"2d": {"inherits_from": "2d"}}}, "configuration 2d: .* got 2d"),
        ({KEY: {"target": {"normalization": {"normalization_schemes": ["Odd"]}}}}, "target: nnU-Net has no .* Odd"),
        ({KEY: "x"}, f"{KEY}: 'x' is not of type 'object'"),
        ({KEY: None}, f"{KEY}: None is not of type 'object'"),
        ({KEY: [1]}, f"{KEY}: .* is not of type 'object'"),
        ({KEY: {"target": None}}, f"{KEY}.target: None is not of type 'object'"),
        ({KEY: {"target": {"name": 5}}}, f"{KEY}.target.name: 5 is not of type 'string'"),
        ({KEY: {"target": {"normalization": []}}}, f"{KEY}.target.normalization: "),
        ({KEY: {"target": {"normalization": {"normalization_schemes": 3}}}}, "normalization_schemes: 3 is not"),
        ({KEY: {"settings": [1]}}, f"{KEY}.settings: "),
        ({KEY: {"memory": {"target_gb": "x"}}}, f"{KEY}.memory.target_gb: "),
        ({KEY: {"class_embeddings": "x"}}, f"{KEY}.class_embeddings: "),
        ({KEY: {"class_embeddings": {"file": "x"}}}, f"{KEY}.class_embeddings: 'sha256' is a required property"),
    ],
)
def test_a_plan_that_was_changed_by_hand_is_one_error_that_names_it(folders, changes, says):
    write_plan(folders, "mine")
    assert load_plan(SOURCE, "mine")["plans_name"] == "mine"
    edit_json(folders.of_source / "mine.json", **changes)
    with pytest.raises(NnudaError, match=f"(?s)mine.json: .*{says}"):
        load_plan(SOURCE, "mine")


def test_half_a_plan(folders):
    write_plan(folders, "mine")
    file = folders.of_source / "mine.json"
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(NnudaError, match="mine.json: expected a plan of nnU-Net's; got no JSON"):
        load_plan(SOURCE, "mine")
