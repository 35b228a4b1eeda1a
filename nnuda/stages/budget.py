"""As many epochs as fit into some hours, by an epoch that was measured.

The pilot is a whole training of one epoch: every term of the target comes on at the same share of a training, so that its
one epoch costs what the epochs of a long training cost on average.
"""

from __future__ import annotations

import os
import re
from dataclasses import replace

from batchgenerators.utilities.file_and_folder_operations import isfile, join

from nnuda.plan_key import KEY
from nnuda.planning.choice import load_plan, plan_file
from nnuda.stages.left import AdaptError, Left, planning_left, read_state, refuse_other_settings, validated, write_state
from nnuda.stages.road import FINAL, Road
from nnuda.stages.run_stage import PLAN, Runner

EPOCHS = "training.num_epochs"
_TIME = re.compile(r"Epoch time: ([\d.]+) s")


def epochs_within(hours: float, epoch: float, validation: float, share: float) -> int:
    """Epochs that fit.

    Args:
        hours: for training, validation and prediction.
        epoch: seconds of one.
        validation: seconds of the rest of a training: its start and the validation on the source.
        share: target images that will be predicted, over the source's validation cases.

    Returns:
        At least 1.
    """
    rest = hours * 3600 - validation * (1 + share)
    return max(1, int(rest / epoch))


def within_budget(road: Road, hours: float, runner: Runner) -> Road:
    """The road with a number of epochs: the one that was decided before, or by a pilot.

    Raises:
        AdaptError: the pilot left no time of its epoch.
    """
    decided = read_state(road).get("budget")
    if decided is None or decided["hours"] != hours:
        decided = _measure(road, hours, runner)
        write_state(road, budget=decided)
    runner.indented(
        f"{hours:g} h: {decided['epochs']} epochs, at {decided['epoch_seconds']:.1f} s an epoch and "
        f"{decided['other_seconds']:.0f} s for start, validation and prediction"
    )
    settings = load_plan(road.source.name, road.plans)[KEY]["settings"] if road.settings is None else road.settings
    return replace(road, settings={**settings, EPOCHS: decided["epochs"]})


def _measure(road: Road, hours: float, runner: Runner) -> dict[str, float]:
    refuse_other_settings(road)
    runner.stage(PLAN, lambda: planning_left(road))
    pilot = replace(road, plans=f"{road.plans}_pilot")
    configure = ["nnUDA_configure", *road.source_words, "-p", road.plans, "--as", pilot.plans, "--set", f"{EPOCHS}=1"]
    there = isfile(plan_file(road.source.name, pilot.plans))
    runner.run("pilot: plan", lambda: None if there else Left(configure), once=True)
    seconds: list[float] = []

    def watch(line: str) -> None:
        if found := _TIME.search(line):
            seconds.append(float(found[1]))

    took = runner.run("pilot: one epoch", lambda: Left(pilot.train_command()), watch, once=True)
    if not seconds:
        raise AdaptError("Expected nnUNetv2_train to print the time of its epoch; it did not. Leave --budget out.")
    if not isfile(join(pilot.fold_folder, FINAL)) or not validated(pilot.fold_folder, road.source.file_ending):
        raise AdaptError(f"The pilot in {pilot.fold_folder} was not validated. Remove it and run this again.")
    names = os.listdir(join(pilot.fold_folder, "validation"))
    share = 2 * len(road.cases) / max(1, sum(name.endswith(".npz") for name in names))
    rest = took - seconds[-1]
    return {
        "hours": hours,
        "epochs": epochs_within(hours, seconds[-1], rest, share),
        "epoch_seconds": seconds[-1],
        "other_seconds": rest * (1 + share),
    }
