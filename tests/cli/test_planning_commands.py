"""The planning commands as a user meets them: what they say first, what they refuse, what they leave on disk."""

from __future__ import annotations

import json
import shutil

import pytest
from planning_pairs import RAS, SOURCE, TARGET, checksums, edit_json, run_stock, write_dataset, write_images

from nnuda.cli import check, configure, extract_fingerprint, plan_and_preprocess, plan_experiment, preprocess
from nnuda.files import FileError
from nnuda.plan_key import KEY

PAIR = ["-d", "701", "-t", "702", "-np", "1"]


def refused(command, arguments: list[str]) -> str:
    """The one line that a command ends with."""
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert isinstance(stop.value.code, str) and stop.value.code.startswith("Error: ")
    return stop.value.code


@pytest.mark.parametrize(
    "command, arguments",
    [
        (plan_and_preprocess, [*PAIR, "-c", "2d"]),
        (plan_experiment, PAIR),
        (extract_fingerprint, PAIR),
        (preprocess, ["-d", "701", "-np", "1"]),
        (configure, ["-d", "701", "--as", "seed1", "--set", "training.seed=1"]),
    ],
)
def test_the_first_lines_say_which_domain_is_which(planned, capsys, command, arguments):
    command.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"Labelled source:   {SOURCE}") and lines[1].startswith(f"Unlabelled target: {TARGET}")


@pytest.mark.parametrize(
    "command, arguments, next_one",
    [
        (plan_and_preprocess, [*PAIR, "-c", "2d"], "nnUNetv2_train 701 2d 0 -tr nnUDATrainerAdapt"),
        (
            plan_and_preprocess,
            [*PAIR, "-c", "2d", "-overwrite_plans_name", "B", "-tr", "nnUDATrainerUUDS"],
            "nnUNetv2_train 701 2d 0 -tr nnUDATrainerUUDS -p B",
        ),
        (plan_experiment, PAIR, "nnUDA_preprocess -d 701 -p nnUNetPlans"),
        (extract_fingerprint, PAIR, "nnUDA_plan_experiment -d 701 -t 702"),
        (preprocess, ["-d", "701", "-np", "1"], "nnUNetv2_train 701 2d 0 -tr nnUDATrainerAdapt"),
        (configure, ["-d", "701", "--as", "seed1"], "nnUNetv2_train 701 2d 0 -tr nnUDATrainerAdapt -p seed1"),
    ],
)
def test_the_last_line_is_the_next_command(planned, capsys, command, arguments, next_one):
    command.main(arguments)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("Next: ") and lines[-1] == f"  {next_one}"


def test_the_parts_do_what_the_whole_does(pair, planned, tmp_path):
    whole = checksums(planned.of_target)
    shutil.rmtree(planned.preprocessed)
    extract_fingerprint.main(PAIR)
    assert not (planned.of_source / "nnUNetPlans.json").exists()
    plan_experiment.main(PAIR)
    assert not (planned.of_target / "nnUNetPlans_2d").exists()
    preprocess.main(["-d", "701", "-c", "2d", "-np", "1"])
    parts = checksums(planned.of_target)
    assert parts.keys() == whole.keys()
    assert {name for name in whole if whole[name] != parts[name] and not name.endswith(".b2nd")} == set(), (
        "blosc2 stamps its files"
    )


def test_an_existing_deployment(stock, capsys):
    """Stock plan, stock data: reused as they are; only the key, a record and the target's folder are new."""
    before = checksums(stock.preprocessed)
    plan_and_preprocess.main(PAIR)
    after = checksums(stock.preprocessed)
    plan = f"{SOURCE}/nnUNetPlans.json"
    assert {name for name in before if before[name] != after[name]} == {plan}
    new = after.keys() - before.keys() - {f"{SOURCE}/nnUNetPlans_2d.nnUDA.json"}
    assert all(name.startswith(f"{SOURCE}/nnUDA_target_{TARGET}/") for name in new)
    assert len(list((stock.of_target / "nnUNetPlans_2d").glob("*.pkl"))) == 4
    assert "existing plan, extended" in capsys.readouterr().out


@pytest.mark.slow
def test_stock_nnunet_on_the_labelled_target_before_and_after(stock):
    """A stock deployment of the target under its own name: untouched by ours, and the same when made afterwards."""
    for case in (stock.raw / TARGET / "imagesTr").iterdir():
        (stock.raw / TARGET / "labelsTr").mkdir(exist_ok=True)
        shutil.copy(
            stock.raw / SOURCE / "labelsTr" / "case0.nii.gz",
            stock.raw / TARGET / "labelsTr" / case.name.replace("_0000", ""),
        )
    shutil.rmtree(stock.raw / TARGET / "imagesTr")
    write_images(stock.raw / TARGET / "imagesTr", cases=4, seed=5)
    run_stock(702)
    own = checksums(stock.preprocessed / TARGET)
    plan_and_preprocess.main(PAIR)
    assert checksums(stock.preprocessed / TARGET) == own
    ours = checksums(stock.of_source)
    shutil.rmtree(stock.preprocessed / TARGET)
    run_stock(702)
    assert checksums(stock.of_source) == ours
    again = checksums(stock.preprocessed / TARGET)
    assert again.keys() == own.keys() and again["nnUNetPlans.json"] == own["nnUNetPlans.json"]


def test_a_hand_made_configuration_that_inherits(stock):
    plans = stock.plan()
    plans["configurations"]["2d_small"] = {
        "inherits_from": "2d",
        "data_identifier": "nnUNetPlans_2d_small",
        "spacing": [2.0, 2.0],
        "patch_size": [16, 16],
    }
    (stock.of_source / "nnUNetPlans.json").write_text(json.dumps(plans))
    plan_and_preprocess.main([*PAIR, "-c", "2d_small"])
    assert len(list((stock.of_target / "nnUNetPlans_2d_small").glob("*.pkl"))) == 4
    assert len(list((stock.of_source / "nnUNetPlans_2d_small").glob("*.pkl"))) == 3
    assert stock.plan()["configurations"] == plans["configurations"]


def test_a_second_target_in_a_plan_of_its_own(planned):
    write_dataset(planned.raw, "Dataset703_Second", labelled=False, cases=2, seed=8)
    message = refused(plan_and_preprocess, ["-d", "701", "-t", "703", "-np", "1"])
    assert "-overwrite_plans_name nnUNetPlans_Dataset703_Second" in message
    before = checksums(planned.preprocessed)
    plan_and_preprocess.main(["-d", "701", "-t", "703", "-np", "1", "-overwrite_plans_name", "second"])
    after = checksums(planned.preprocessed)
    assert {name: after[name] for name in before} == before
    assert planned.plan("second")[KEY]["target"]["name"] == "Dataset703_Second"
    assert len(list((planned.of_source / "nnUDA_target_Dataset703_Second" / "nnUNetPlans_2d").glob("*.pkl"))) == 2


def test_a_folder_of_images(pair, tmp_path):
    write_images(tmp_path / "scans", cases=2)
    folder = ["-d", "701", "-t", str(tmp_path / "scans"), "-np", "1"]
    assert "--target-channel-names" in refused(plan_and_preprocess, folder)
    plan_and_preprocess.main([*folder, "--target-channel-names", "CT", "--target-name", "Clinic", "-c", "2d"])
    target = pair.plan()[KEY]["target"]
    assert (
        target["name"] == "Clinic"
        and target["folder"] == f"{SOURCE}/nnUDA_target_Clinic"
        and target["channel_names"] == {"0": "CT"}
    )
    assert target["normalization"]["normalization_schemes"] == ["CTNormalization"]
    assert "is gone or is a folder of images: for a folder give -t FOLDER --target-name Clinic" in refused(
        preprocess, ["-d", "701", "-np", "1"]
    )
    preprocess.main([*folder, "--target-channel-names", "CT", "--target-name", "Clinic", "-c", "2d"])
    assert "leave --target-channel-names" in refused(plan_and_preprocess, [*PAIR, "--target-name", "Clinic"])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["-d", "799", "-t", "702"], "No dataset 799"),
        (["-d", "701", "-t", "799"], "There are: Dataset701_"),
        (["-d", "701", "-t", "701"], "is the source"),
        (
            ["-d", "701", "-t", "/nowhere/at/all", "--target-name", "X", "--target-channel-names", "MR"],
            "No folder /nowhere/at/all",
        ),
        ([*PAIR, "--set", "training.num_epoch=3"], "Did you mean training.num_epochs?"),
        ([*PAIR, "--set", "training.num_epochs=many"], "training.num_epochs"),
        ([*PAIR, "-tr", "nnUNetTrainer"], "-tr: expected one of"),
        ([*PAIR, "-pl", "ExperimentPlanner"], "-pl: expected one of nnUDAPlanner"),
        ([*PAIR, "-p", "mine"], "No plan mine"),
        ([*PAIR, "-c", "2d", "4d"], "-c 4d: a fresh plan has no such configuration"),
    ],
)
def test_refused_before_any_work(pair, arguments, message):
    assert message in refused(plan_and_preprocess, arguments)
    assert not list(pair.preprocessed.rglob("*")), "nothing was written"


def test_refused_for_an_existing_plan(planned):
    before = checksums(planned.preprocessed)
    for options, message in (
        (["-pl", "nnUDAPlannerResEncM", "-p", "nnUNetPlans"], "-overwrite_plans_name NAME"),
        (["-gpu_memory_target", "20"], "-overwrite_plans_name NAME"),
        (["-c", "3d_lowres"], "has no such configuration. It has: 2d, 3d_fullres"),
    ):
        assert message in refused(plan_and_preprocess, [*PAIR, *options])
    assert "A plan nnUNetPlans is there already" in refused(configure, ["-d", "701", "--as", "nnUNetPlans"])
    assert "Did you mean training.seed?" in refused(configure, ["-d", "701", "--as", "x", "--set", "training.sead=1"])
    assert checksums(planned.preprocessed) == before


def test_a_plan_whose_target_is_gone(planned):
    shutil.rmtree(planned.raw / TARGET)
    assert f"names the target {TARGET}, which is gone" in refused(preprocess, ["-d", "701", "-np", "1"])
    shutil.rmtree(planned.of_target)
    message = refused(configure, ["-d", "701", "--as", "x"])
    command = f"nnUDA_plan_and_preprocess -d {SOURCE} -t {TARGET} -p nnUNetPlans"
    assert f"{planned.of_target} is gone. Run: {command}" in message


def test_a_plan_of_stock_nnunet_is_not_preprocessed(stock):
    assert f"names no unlabelled target. Run: nnUDA_plan_and_preprocess -d {SOURCE}" in refused(
        preprocess, ["-d", "701"]
    )


def test_an_unset_path(pair, monkeypatch):
    monkeypatch.delenv("nnUNet_preprocessed")
    assert "Environment variable nnUNet_preprocessed is not set" in refused(plan_and_preprocess, PAIR)


def test_warnings_are_loud_and_do_not_stop(pair, capsys):
    shutil.rmtree(pair.raw / TARGET)
    write_dataset(pair.raw, TARGET, labelled=False, channel_names=("CT",), direction=RAS)
    extract_fingerprint.main(PAIR)
    out = capsys.readouterr().out
    assert out.count("!!!!\nWARNING: ") == 2 and "Orientation codes differ" in out and "CTNormalization" in out


def test_integrity_is_nnunets_for_the_source_and_reads_every_target_image(planned):
    write_images(planned.raw / TARGET / "imagesTr", cases=1, prefix="case3x")
    shutil.move(
        planned.raw / TARGET / "imagesTr" / "case3x0_0000.nii.gz",
        planned.raw / TARGET / "imagesTr" / "case3_0000.nii.gz",
    )
    edit_json(planned.raw / SOURCE / "dataset.json", numTraining=99)
    message = refused(plan_and_preprocess, [*PAIR, "--verify_dataset_integrity"])
    assert "did not pass nnU-Net's integrity check" in message and "99" in message


def test_clean_makes_the_targets_part_again_and_leaves_the_source(planned):
    before = {path: path.stat().st_mtime_ns for path in planned.of_source.rglob("*") if path.is_file()}
    plan_and_preprocess.main([*PAIR, "--clean"])
    remade = {path.name for path, time in before.items() if path.stat().st_mtime_ns != time}
    assert {"fingerprint.json", "case0.b2nd", "nnUNetPlans.json"} <= remade
    assert all(
        planned.of_target in path.parents or path.name in ("nnUNetPlans.json", "nnUDA_raw_cases.json")
        for path, time in before.items()
        if path.stat().st_mtime_ns != time
    )


def test_a_variant_can_be_asked_for_again(planned, capsys):
    variant = ["-d", "701", "--as", "x", "--set", "training.seed=1", "--text-model", "ngrams"]
    configure.main(variant)
    before = checksums(planned.preprocessed)
    configure.main(variant)
    assert "x.json (is there already, with these settings)" in capsys.readouterr().out
    message = "Another plan x is there already"
    assert message in refused(configure, ["-d", "701", "--as", "x", "--set", "training.seed=2"])
    assert "--as dataset: taken by a file of nnU-Net's" in refused(configure, ["-d", "701", "--as", "dataset"])
    (planned.of_source / "mine.json").write_text("{}")
    assert "mine.json is there already, and is no plan" in refused(configure, ["-d", "701", "--as", "mine"])
    (planned.of_source / "mine.json").unlink()
    assert checksums(planned.preprocessed) == before


def test_old_settings_of_a_copied_plan_are_checked(planned):
    plan = planned.plan()
    for settings, says in (({"nope": 1}, "nope"), ({"training.init_from": "/no/such"}, "/no/such is not there")):
        edit_json(planned.of_source / "nnUNetPlans.json", **{KEY: {**plan[KEY], "settings": settings}})
        assert says in refused(configure, ["-d", "701", "--as", "x", "--set", "teacher.weight=1"])
    assert not (planned.of_source / "x.json").exists()


def test_a_network_that_cannot_be_built_is_found_before_the_work(planned, monkeypatch):
    """Of the configurations that are meant: of the others it may be built on another machine."""
    plan = planned.plan()["configurations"]
    plan["elsewhere"] = {
        **plan["2d"],
        "architecture": {**plan["2d"]["architecture"], "network_class_name": "a.Network"},
    }
    edit_json(planned.of_source / "nnUNetPlans.json", configurations=plan)
    monkeypatch.setattr("nnuda.preprocessing.source.preprocess_source", lambda *_: pytest.fail("after the work"))
    says = "Plan nnUNetPlans, configuration elsewhere: The plan's network a.Network cannot be built"
    for command, arguments in (
        (preprocess, ["-d", "701", "--clean"]),
        (plan_and_preprocess, PAIR),
        (check, ["--plan", "-d", "701"]),
    ):
        assert says in refused(command, [*arguments, "-c", "elsewhere"])
    check.main(["--plan", "-d", "701", "-c", "2d"])


def test_a_folder_that_leads_elsewhere_is_refused(planned, tmp_path):
    plan = planned.plan()
    for folder in ("../victim", "/victim", SOURCE, "../nnUDA_target_x", f"{SOURCE}/../nnUDA_target_x"):
        target = {**plan[KEY]["target"], "folder": folder}
        edit_json(planned.of_source / "nnUNetPlans.json", **{KEY: {**plan[KEY], "target": target}})
        assert "target.folder" in refused(preprocess, ["-d", "701", "-np", "1"])


@pytest.mark.parametrize("command", [extract_fingerprint, plan_experiment, plan_and_preprocess])
def test_a_file_where_the_targets_folder_should_be_is_found_before_the_work(pair, monkeypatch, command):
    monkeypatch.setattr("nnuda.cli.plan_arguments.check_pair", lambda *_: pytest.fail("images were read"))
    monkeypatch.setattr(extract_fingerprint, "check_pair", lambda *_: pytest.fail("images were read"))
    pair.of_source.mkdir(parents=True)
    pair.of_target.write_text("mine")
    assert f"expected a folder to write in; {pair.of_target} is a file" in refused(command, PAIR)


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(pair, monkeypatch):
    def full(folder: str, option: str, name: str = "") -> None:
        raise FileError(f"{option}: nothing can be written in {folder}")

    monkeypatch.setattr("nnuda.cli.plan_arguments.check_output_folder", full)
    assert "nnUNet_preprocessed: nothing can be written" in refused(plan_and_preprocess, PAIR)
