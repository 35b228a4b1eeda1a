"""The stages in order, with commands that only leave what the real ones leave."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import write_dataset

from nnuda.cli import adapt, plan_and_preprocess
from nnuda.commands import CommandFailed
from nnuda.files import LOCK, LockedError, locked
from nnuda.planning.choice import choose_plan
from nnuda.results import POSTPROCESSING
from nnuda.stages import budget, left, run_stage, walk
from nnuda.stages.budget import epochs_within
from nnuda.stages.left import AdaptError
from nnuda.stages.road import FINAL, Road


class Commands:
    """In place of `run_logged`: leaves files, and ends with an error where it is told to."""

    def __init__(self, road: Road) -> None:
        self.road, self.ran, self.fail = road, [], ""

    def __call__(self, words, log, environment=None, watch=None, held=()):
        with pytest.raises(BlockingIOError), open(Path(self.road.folder) / LOCK) as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert [os.path.samestat(os.fstat(file), os.stat(lock.name)) for file in held] == [True]
        self.ran.append(
            words[0] + ("" if words[-1] not in ("--c", "--val", "--continue_prediction") else f" {words[-1]}")
        )
        if words[0] == self.fail:
            raise CommandFailed(f"{words[0]} ended")
        fold = Path(self.road.fold_folder)
        if words[0] == "nnUDA_plan_and_preprocess":
            (Path(self.road.folder) / "planned").touch()
        elif words[0] == "nnUNetv2_train":
            (fold / FINAL).touch()
            (fold / "validation").mkdir(exist_ok=True)
            (fold / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": []}))
        elif words[0] == "nnUNetv2_predict":
            folder = Path(words[words.index("-o") + 1])
            folder.mkdir(exist_ok=True)
            for case in self.road.cases:
                np.savez(folder / f"{case}.npz", probabilities=np.zeros(1))
                (folder / f"{case}.nii.gz").touch()
        elif words[0] == "nnUDA_postprocess":
            Path(words[-1]).mkdir(exist_ok=True)
            (Path(words[-1]) / POSTPROCESSING).touch()
        else:
            Path(words[-1]).touch()
        return 1.0


@pytest.fixture
def commands(road: Road, monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands(road)
    monkeypatch.setattr(run_stage, "run_logged", made)
    monkeypatch.setattr(walk, "read_settings", lambda road: {"training.num_epochs": 2})
    monkeypatch.setattr(walk, "other_checkpoint", lambda road: None)
    monkeypatch.setattr(left, "_refuse_other_configuration", lambda road: None)
    monkeypatch.setattr(left, "_planned", lambda road: (Path(road.folder) / "planned").exists())
    return made


ALL = ["nnUDA_plan_and_preprocess", "nnUNetv2_train", "nnUNetv2_predict", "nnUDA_estimate", "nnUDA_report"]
ALL += ["nnUDA_postprocess"]


def test_every_stage_runs_once(road, commands, capsys):
    walk.walk(road)
    assert commands.ran == ALL
    walk.walk(road)
    assert commands.ran == ALL
    assert capsys.readouterr().out.count("there already") == 6


def test_what_failed_is_tried_again_and_what_was_done_is_not(road, commands):
    commands.fail = "nnUNetv2_predict"
    with pytest.raises(CommandFailed):
        walk.walk(road)
    commands.fail = ""
    walk.walk(road)
    assert commands.ran == [*ALL[:3], "nnUNetv2_predict --continue_prediction", *ALL[3:]]


def test_predictions_of_a_new_training_are_made_anew_with_all_that_follows(road, commands):
    walk.walk(road)
    (Path(road.fold_folder) / FINAL).write_bytes(b"trained again")
    commands.ran.clear()
    walk.walk(road)
    assert commands.ran == ["nnUNetv2_train --val", *ALL[2:]]


def test_a_command_that_leaves_nothing_is_noticed(road, commands, monkeypatch):
    monkeypatch.setattr(run_stage, "run_logged", lambda *a, **k: 1.0)
    with pytest.raises(AdaptError, match="ended well, but"):
        walk.walk(road)


KILLED = """
import os, signal, subprocess, sys
from nnuda.files import locked
with locked(sys.argv[1], "it") as lock:
    subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], pass_fds=[lock])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_two_at_once_are_refused_even_by_a_command_that_was_left_behind(road, commands):
    lock = Path(road.folder) / LOCK
    killed = subprocess.Popen([sys.executable, "-c", KILLED, str(lock)], stdin=subprocess.PIPE)
    assert killed.wait() == -signal.SIGKILL
    with pytest.raises(LockedError, match=f"at work in the folder {road.folder}: process {killed.pid} on"):
        walk.walk(road)
    killed.stdin.close()  # the command that was left behind ends
    for _ in range(100):
        with contextlib.suppress(LockedError), locked(str(lock), "it"):
            break
        time.sleep(0.1)
    walk.walk(road)
    assert commands.ran == ALL


def test_the_whole_road_is_listed_before_anything_is_there(road):
    listed = [words for words, _ in walk.commands(road)]
    assert [words[0] for words in listed] == [*ALL[:3], "nnUNetv2_predict", *ALL[3:]]
    assert "checkpoint_selected.pth" in listed[2] and FINAL in listed[3]


# ---- a budget ---------------------------------------------------------------------------------------------------------


def test_epochs_that_fit():
    assert epochs_within(hours=1, epoch=60, validation=300, share=1.0) == 50
    assert epochs_within(hours=0.01, epoch=60, validation=300, share=1.0) == 1


def test_the_budget_is_measured_once_by_a_pilot(road, commands, monkeypatch):
    monkeypatch.chdir(road.folder)  # the stand-in for a command touches its last word
    plan = {"domain_adaptation": {"settings": {"training.seed": 1}}}
    monkeypatch.setattr(budget, "load_plan", lambda *names: plan)
    monkeypatch.setattr(budget, "plan_file", lambda *names: str(Path(road.folder) / "no such plan"))
    pilot = Path(road.model_folder.replace("nnUNetPlans", "nnUNetPlans_pilot")) / "fold_0"

    def run(words, log, environment=None, watch=None, held=()):
        if "nnUNetPlans_pilot" in words and words[0] == "nnUNetv2_train":
            (pilot / "validation").mkdir(parents=True)
            (pilot / FINAL).touch()
            (pilot / "validation" / "s.npz").touch()
            (pilot / "validation" / "summary.json").write_text(json.dumps({"metric_per_case": []}))
            watch("2026-11-26 21:17:06.7: Epoch time: 10.0 s ")
            commands.ran.append("pilot")
            return 30.0  # 20 s besides the epoch, six times as many predictions
        return commands(words, log, environment, watch, held)

    monkeypatch.setattr(run_stage, "run_logged", run)
    gone = walk.walk(road, hours=0.1)
    assert gone.settings == {"training.seed": 1, "training.num_epochs": 22}  # (360 - 20 * (1 + 6)) / 10
    assert commands.ran == [ALL[0], "nnUDA_configure", "pilot", *ALL[1:]]
    commands.ran.clear()
    assert walk.walk(road, hours=0.1).settings == gone.settings
    assert commands.ran == []


# ---- the commands -----------------------------------------------------------------------------------------------------


def test_the_planning_command_has_what_was_asked_for(road):
    asked = replace(road, plans="mine", base="theirs", settings={"training.seed": 1, "training.recipe": "paper"})
    words = shlex.join(replace(asked, processes=2, planning=["-pl", "nnUDAPlanner"]).plan_command())
    assert words.startswith("nnUDA_plan_and_preprocess -d 501 -t 502 -c 2d -tr nnUDATrainerAdapt -p theirs")
    assert words.endswith(
        "-overwrite_plans_name mine --set training.seed=1 --set training.recipe=paper -pl nnUDAPlanner -np 2"
    )
    assert "-overwrite_plans_name" not in road.plan_command() and "-p" not in road.plan_command()


@pytest.mark.parametrize(
    ("words", "plans"),
    [
        ([], "nnUNetPlans"),
        (["-pl", "nnUDAPlannerResEncM"], "nnUNetResEncUNetMPlans"),
        (["-pl", "nnUDAPlannerResEncM", "-overwrite_plans_name", "mine"], "mine"),
    ],
)
def test_the_plan_that_is_written_is_the_one_that_is_trained(tmp_path, monkeypatch, words, plans):
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    for name, labelled in (("Dataset501_S", True), ("Dataset502_T", False)):
        write_dataset(tmp_path / "raw" / name, labelled=labelled, inverted=False, cases=1)
    made = adapt.make_road(adapt.build_parser().parse_args(["-d", "501", "-t", "502", "-c", "2d", *words]))
    planned = plan_and_preprocess.build_parser().parse_args(made.plan_command()[1:])
    written = choose_plan(
        "Dataset501_S", "Dataset502_T", planned.p, planned.pl, planned.gpu_memory_target, planned.overwrite_plans_name
    )
    assert made.plans == written.name == plans


def test_planning_warnings_are_passed_on(road, commands, monkeypatch, capsys):
    def run(words, log, environment=None, watch=None, held=()):
        watch("WARNING: Orientation codes differ")
        return commands(words, log, held=held)

    monkeypatch.setattr(run_stage, "run_logged", run)
    with locked(str(Path(road.folder) / LOCK), "it") as lock:
        run_stage.Runner(road, lock).stage(run_stage.PLAN, lambda: left.planning_left(road))
    assert "WARNING: Orientation codes differ" in capsys.readouterr().out
