"""nnUDA_adapt --rounds: which dataset and trainer a round has, its commands, what is left of it, what is said of it."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from roads import ENDING, make_road

from nnuda.cli import adapt, pseudo_label, report
from nnuda.cli.rounds import advice, read_rounds
from nnuda.datasets import Domain
from nnuda.errors import NnudaError
from nnuda.results import CHECKPOINTS, POSTPROCESSING
from nnuda.stages import rounds, run_stage, walk
from nnuda.stages.left import AdaptError, rest_of_training
from nnuda.stages.road import FINAL, Road
from nnuda.stages.round_plan import RoundPlan
from nnuda.stages.rounds import dataset_of, planning_left, rounds_of, trainer_as_long, training_left, walk_rounds

WORDS = ["-d", "501", "-t", "502", "-c", "2d"]
_, LATEST, BEST = CHECKPOINTS
NAME = "Dataset601_S_pseudo_T"
STEPS = [
    "nnUDA_pseudo_label",
    "nnUNetv2_plan_and_preprocess",
    "nnUNetv2_train",
    "nnUNetv2_predict",
    "nnUDA_estimate",
    "nnUDA_report",
    "nnUDA_postprocess",
]


def asked(*more: str) -> object:
    """What `--rounds` becomes for two domains of one case each."""
    content = {"file_ending": ENDING, "labels": {"background": 0, "liver": 1}, "channel_names": {"0": "MR"}}
    domains = (Domain(name, "", content, {"a": []}) for name in ("Dataset501_S", "Dataset502_T"))
    return read_rounds(adapt.build_parser().parse_args([*WORDS, *more]), *domains)


@pytest.fixture
def road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Road:
    """An adapted model of a road with two rounds; of the commands each leaves what the real one leaves."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    made = make_road(tmp_path, rounds=asked("--rounds", "2"), checkpoint=FINAL, settings={"training.num_epochs": 100})
    Path(made.fold_folder).mkdir(parents=True)
    (Path(made.fold_folder) / FINAL).write_bytes(b"adapted")
    Path(made.folder).mkdir()
    return made


def label(name: str, road: Road, before: Road) -> None:
    """What nnUDA_pseudo_label leaves, by the words of its own command and the content of the checkpoint."""
    content = (Path(before.fold_folder) / before.chosen_checkpoint()).read_bytes()
    member = {"folder": "elsewhere", "fold": before.fold, "checkpoint": before.chosen_checkpoint()}
    options = {"confidence": {"all": 0.9}, "agreement": 1.0, "keep_share": 0.0, "components": True, "size_spread": 3.0}
    options |= {"channel_names": None, "copy": False, "mirroring": True, "step_size": 0.5}
    request = {
        "source": {"name": road.source.name, "folder": road.source.folder, "bytes": {}},
        "target": {"name": road.target.name, "folder": road.target.folder, "bytes": {}},
        "members": [{**member, "sha256": hashlib.sha256(content).hexdigest()}],
        "options": options,
    }
    folder = Path(os.environ["nnUNet_raw"]) / name
    folder.mkdir(exist_ok=True)
    (folder / "provenance.json").write_text(json.dumps({"request": request, "classes": {}}))


class Commands:
    """In place of `Runner.run`'s commands: each leaves a mark, and ends with an error where it is told to."""

    def __init__(self, road: Road) -> None:
        self.road, self.ran, self.fail = road, [], ""

    def __call__(self, words, log, environment=None, watch=None, held=()):
        self.ran.append(f"{words[0]} {log.name.split('_')[1]}")
        if self.ran[-1] == self.fail:
            raise AdaptError("ended")
        done = {one.number: one for one in rounds_of(self.road)}[int(log.name.split("_")[1])]
        if words[0] == "nnUDA_pseudo_label":
            label(words[words.index("-o") + 1], self.road, done.before)
        elif words[0] == "nnUNetv2_train":
            Path(done.fold_folder).mkdir(parents=True, exist_ok=True)
            (Path(done.fold_folder) / FINAL).write_text(f"learnt {done.source.name}")
        elif words[0] == "nnUNetv2_predict":
            Path(done.predictions).mkdir(exist_ok=True)
            for case in done.cases:
                (Path(done.predictions) / f"{case}.npz").write_bytes(b"PK")
                (Path(done.predictions) / f"{case}{ENDING}").touch()
        elif words[0] == "nnUNetv2_plan_and_preprocess":
            (Path(os.environ["nnUNet_preprocessed"]) / done.source.name).mkdir()
        elif words[0] == "nnUDA_postprocess":
            Path(words[-1]).mkdir(exist_ok=True)
            (Path(words[-1]) / POSTPROCESSING).touch()
        else:
            Path(words[-1]).touch()
        return 1.0


@pytest.fixture
def commands(road: Road, monkeypatch: pytest.MonkeyPatch) -> Commands:
    def planned(this):
        there = (Path(os.environ["nnUNet_preprocessed"]) / this.source.name).exists()
        return None if there else rounds.Left(this.plan_command())

    def trained(this):
        return None if (Path(this.fold_folder) / FINAL).exists() else rounds.Left(this.train_command())

    made = Commands(road)
    monkeypatch.setattr(run_stage, "run_logged", made)
    monkeypatch.setattr(rounds, "planning_left", planned)
    monkeypatch.setattr(rounds, "training_left", trained)
    return made


def go(road: Road) -> None:
    walk_rounds(road, run_stage.Runner(road, None))


# ---- the walk ---------------------------------------------------------------------------------------------------------


def test_each_round_is_labelled_by_the_model_before_it(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [words for one in rounds_of(road) for words, _ in one.commands()]
    assert [words[0] for words in listed] == STEPS * 2
    first, second = (pseudo_label.build_parser().parse_args(words[1:]) for words in (listed[0], listed[len(STEPS)]))
    assert (first.d, first.t, first.m, first.f, first.chk) == ("501", "502", [road.model_folder], ["0"], [FINAL])
    results = f"{os.environ['nnUNet_results']}/{NAME}/nnUNetTrainer_100epochs__nnUNetPlans__2d"
    assert (first.o, second.m, second.f) == (NAME, [results], ["all"])
    assert second.o == "Dataset602_S_pseudo_T" and second.d == "501"
    assert listed[8][:5] == ["nnUNetv2_plan_and_preprocess", "-d", "602", "-c", "2d"]
    assert listed[2][:6] == ["nnUNetv2_train", "601", "2d", "all", "-tr", "nnUNetTrainer_100epochs"]
    for number, words in ((1, listed[5]), (2, listed[12])):
        page = report.build_parser().parse_args(words[1:])
        assert page.names == [f"round {number}", "adapted"] and page.before_predictions == road.predictions
    compared = listed[11]
    assert compared[compared.index("--other-epoch") + 1] == f"{road.folder}/round_1/predictions"
    monkeypatch.setattr(walk, "other_checkpoint", lambda road: None)
    assert [words for words, _ in walk.commands(road)][-len(listed) :] == listed


def test_every_step_runs_once_and_a_larger_number_goes_on(road: Road, commands: Commands, capsys) -> None:
    one = replace(road, rounds=replace(road.rounds, number=1))
    go(one)
    assert commands.ran == [f"{step} 1" for step in STEPS]
    commands.ran.clear()
    go(one)
    assert commands.ran == [] and capsys.readouterr().out.count("there already") == len(STEPS)
    go(road)
    assert commands.ran == [f"{step} 2" for step in STEPS]


@pytest.mark.parametrize("step", STEPS)
def test_what_failed_is_tried_again_and_what_was_done_is_not(road: Road, commands: Commands, step: str) -> None:
    commands.fail = f"{step} 1"
    with pytest.raises(AdaptError, match="ended"):
        go(road)
    commands.fail, done = "", len(commands.ran) - 1
    go(road)
    every = [f"{name} {number}" for number in (1, 2) for name in STEPS]
    assert commands.ran == [*every[: done + 1], *every[done:]]


def test_another_adapted_model_gets_datasets_of_its_own(road: Road, commands: Commands) -> None:
    go(road)
    (Path(road.fold_folder) / FINAL).write_bytes(b"adapted anew")
    commands.ran.clear()
    go(road)
    assert len(commands.ran) == 2 * len(STEPS)
    assert [one.source.name[:10] for one in rounds_of(road)] == ["Dataset603", "Dataset604"]
    assert sorted(folder.name[:10] for folder in Path(os.environ["nnUNet_raw"]).iterdir()) == [
        f"Dataset{number}" for number in (601, 602, 603, 604)
    ]


# ---- its dataset ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["raw", "preprocessed", "results"])
def test_a_number_that_is_taken_anywhere_is_passed_over(road: Road, kind: str) -> None:
    (Path(os.environ[f"nnUNet_{kind}"]) / "Dataset601_Theirs").mkdir()
    assert dataset_of(road, 1, road, []) == "Dataset602_S_pseudo_T"
    assert dataset_of(road, 2, road, ["Dataset602_S_pseudo_T"]) == "Dataset603_S_pseudo_T"


def test_a_dataset_that_was_made_of_the_same_is_found_wherever_it_is(road: Road) -> None:
    label("Dataset042_Mine", road, road)
    assert dataset_of(road, 1, road, []) == "Dataset042_Mine"
    other = replace(road, rounds=asked("--rounds", "1", "--confidence", "0.5"))
    assert dataset_of(other, 1, other, []) == NAME
    (Path(os.environ["nnUNet_raw"]) / "Dataset042_Mine" / "provenance.json").write_text("{")
    assert dataset_of(road, 1, road, []) == NAME


def test_a_named_dataset_is_never_another_s(road: Road) -> None:
    named = replace(road, rounds=asked("--rounds", "1", "--round-datasets", "601"))
    assert dataset_of(named, 1, named, []) == NAME
    label(NAME, road, road)
    assert dataset_of(named, 1, named, []) == NAME
    (Path(road.fold_folder) / FINAL).write_bytes(b"adapted anew")
    with pytest.raises(AdaptError, match="expected a free number for round 1"):
        dataset_of(named, 1, named, [])


# ---- its trainer and plan ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("epochs", "iterations", "trainer"),
    [
        (1000, 250, "nnUNetTrainer"),
        (250, 250, "nnUNetTrainer_250epochs"),
        (437, 250, "nnUNetTrainer_500epochs"),
        (1000, 25, "nnUNetTrainer_100epochs"),
        (2, 2, "nnUNetTrainer_1epoch"),
    ],
)
def test_the_trainer_makes_about_as_many_steps(road: Road, epochs: int, iterations: int, trainer: str) -> None:
    settings = {"training.num_epochs": epochs, "training.num_iterations_per_epoch": iterations}
    assert trainer_as_long(replace(road, settings=settings)) == trainer


def test_a_plan_without_the_configuration_is_said(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = rounds_of(replace(road, rounds=asked("--rounds", "1", "--round-configuration", "3d_lowres")))
    assert planning_left(first).command == first.plan_command()
    monkeypatch.setattr(rounds, "plan_file", lambda *names: __file__)
    monkeypatch.setattr(rounds, "load_plan", lambda *names: {"configurations": {"2d": {}, "3d_fullres": {}}})
    with pytest.raises(AdaptError, match="Expected 3d_lowres .* it has 2d, 3d_fullres. Name one .* --round-conf"):
        planning_left(first)


def test_a_round_trains_the_plan_of_the_adaptation_s_kind(road: Road, monkeypatch: pytest.MonkeyPatch) -> None:
    large = replace(road, plans="nnUNetResEncUNetLPlans", planning=["-pl", "nnUDAPlannerResEncL"])
    for one in rounds_of(large):
        listed = {words[0]: words for words, _ in one.commands()}
        assert listed["nnUNetv2_plan_and_preprocess"][-2:] == ["-pl", "nnUNetPlannerResEncL"]
        for command in ("nnUNetv2_train", "nnUNetv2_predict"):
            assert listed[command][listed[command].index("-p") + 1] == "nnUNetResEncUNetLPlans"
    plan = RoundPlan("nnUNetPlans", [], "otherwise than the adaptation")
    monkeypatch.setattr(rounds, "plan_like", lambda road: plan)
    first = rounds_of(road)[0]
    assert {words[0]: remark for words, remark in first.commands()}[first.plan_command()[0]] == plan.remark


@pytest.mark.parametrize(("given", "threads"), [("0", "1"), ("3", "3"), (None, None)])
def test_only_the_planner_gets_a_thread_where_there_are_none(road: Road, monkeypatch, capsys, given, threads) -> None:
    monkeypatch.delenv("nnUNet_n_proc_DA", raising=False)
    if given is not None:
        monkeypatch.setenv("nnUNet_n_proc_DA", given)
    seen = []
    monkeypatch.setattr(run_stage, "run_logged", lambda *_, environment, **__: seen.append(environment) or 1.0)
    first, runner = rounds_of(road)[0], run_stage.Runner(road, None)
    for step, left in (("plan", lambda: planning_left(first)), ("train", lambda: rest_of_training(first))):
        runner.run(step, left, once=True)
    assert [environment.get("nnUNet_n_proc_DA") for environment in seen] == [threads, given]
    remarks = [remark for words, remark in first.commands() if words == first.plan_command()]
    assert ("with nnUNet_n_proc_DA=1" in remarks[0]) == ("with nnUNet_n_proc_DA=1" in capsys.readouterr().out)
    assert ("with nnUNet_n_proc_DA=1" in remarks[0]) == (given == "0")


def without_the_end(file: Path) -> None:
    """As kill -9 leaves it."""
    file.write_bytes(file.read_bytes()[:-200])


def without_a_tensor(file: Path) -> None:
    """As Ctrl-C leaves it: torch ends the archive with what it has written so far."""
    with zipfile.ZipFile(file) as whole:
        records = {name: whole.read(name) for name in whole.namelist()}
    del records[max(name for name in records if "/data/" in name)]
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in records.items():
            archive.writestr(name, content)


@pytest.mark.parametrize("cut", [without_the_end, without_a_tensor])
@pytest.mark.parametrize(
    ("whole", "cut_off", "goes_on"),
    [
        ([LATEST, BEST], [], True),
        ([BEST], [LATEST], True),
        ([LATEST], [FINAL], True),
        ([], [LATEST], False),
    ],
)
def test_a_checkpoint_that_nnunet_was_writing_is_set_aside(road: Road, cut, whole, cut_off, goes_on) -> None:
    first = rounds_of(road)[0]
    folder = Path(first.fold_folder)
    folder.mkdir(parents=True)
    for name in (*whole, *cut_off):
        torch.save({"network_weights": {str(i): torch.zeros(100) for i in range(3)}}, folder / name)
        if name in cut_off:
            cut(folder / name)
    todo = training_left(first)
    assert todo.command == [*first.train_command(), *(["--c"] if goes_on else [])]
    assert all(name in todo.note for name in cut_off) and ("cut off" in todo.note) == bool(cut_off)
    todo.prepare()
    assert sorted(os.listdir(folder)) == sorted([*whole, *(f"{name}.cut_off" for name in cut_off)])


# ---- what is asked and said -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--source-free", "--from", "x"], "expected a labelled source"),
        (["--round-configuration", "2d_toy"], "expected one of 2d, 3d_fullres, 3d_lowres"),
        (["-c", "2d_toy"], "-c: expected one of 2d.*Name one with --round-configuration"),
        (["--rounds", "0", "--confidence", "0.5"], "--confidence: expected --rounds N"),
        (["--rounds", "0", "--round-trainer", "nnUNetTrainer"], "--round-trainer: expected --rounds N"),
        (["--confidence", "2"], "expected a number from 0 to 1"),
    ],
)
def test_wrong_options_are_said_before_any_dataset_is_read(tmp_path, monkeypatch, words, message) -> None:
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path))
    with pytest.raises(NnudaError, match=message):
        adapt.make_road(adapt.build_parser().parse_args([*WORDS, "--rounds", "1", *words]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--round-trainer", "nnUDATrainerAdapt"], "expected a trainer of nnU-Net's own"),
        (["--round-trainer", "nnUNetTrainer_3epochs"], "expected a trainer of nnU-Net's own"),
        (["--round-datasets", "601", "601"], "expected 2 different numbers"),
        (["--round-datasets", "601"], "expected 2 different numbers"),
        (["--round-datasets", "6010", "602"], "expected a number from 1 to 999"),
        (["--confidence", "kidney=0.5"], "expected one of the classes background, liver"),
    ],
)
def test_what_a_round_would_fail_at_is_said_first(road: Road, words: list[str], message: str) -> None:
    with pytest.raises(NnudaError, match=message):
        asked("--rounds", "2", *words)


def test_rules_reach_the_labelling(road: Road) -> None:
    words = ["--confidence", "0.8", "liver=0.6", "--all-components", "--size-spread", "0"]
    (first,) = rounds_of(replace(road, rounds=asked("--rounds", "1", *words)))
    parsed = pseudo_label.build_parser().parse_args(first.label_command()[1:])
    assert pseudo_label.options_of(parsed) == first.rounds.options
    assert (parsed.confidence, parsed.all_components, parsed.size_spread) == (["0.8", "liver=0.6"], True, 0.0)


def test_the_advice_claims_nothing() -> None:
    good, look, bad = "plausible", "look at every case", "do not use"
    assert "not known without labels" in advice([good, look, look])
    assert advice([bad, look, look]).startswith("Use none of them")
    assert advice([look, bad]).startswith("Use the adapted model at most")
    assert advice([look, look, bad]).startswith("Use the model of round 1 at most")
