"""The stages in order: each skipped where its result is there and fresh, gone on with where it was interrupted."""

from __future__ import annotations

import shlex

from batchgenerators.utilities.file_and_folder_operations import isfile, join

from nnuda.files import LOCK, locked
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.stages.budget import within_budget
from nnuda.stages.left import (
    estimate_left,
    other_checkpoint,
    planning_left,
    postprocessing_left,
    prediction_left,
    read_settings,
    refuse_other_settings,
    report_left,
    training_left,
    write_state,
)
from nnuda.stages.progress import TrainingProgress
from nnuda.stages.road import BEST, FINAL, Road
from nnuda.stages.rounds import rounds_of, walk_rounds
from nnuda.stages.run_stage import (
    ESTIMATE,
    OTHER,
    PLAN,
    POSTPROCESS,
    PREDICT,
    REPORT,
    TRAIN,
    Runner,
    say,
    title,
)


def commands(road: Road) -> list[tuple[list[str], str]]:
    """Every command of the road as a user would type it, and a remark.

    Before the training is over, its checkpoints are those that it will most likely leave.
    """
    chosen, trained = road.chosen_checkpoint(), isfile(join(road.fold_folder, FINAL))
    other = other_checkpoint(road) if trained else next(name for name in (FINAL, BEST) if name != chosen)
    remark = "" if trained or chosen != SELECTED else f"{FINAL} where no epoch is selected"
    listed = [
        *([(list(road.first), "")] if road.first else []),
        (road.plan_command(), ""),
        (road.train_command(), "--npz: the estimate is calibrated by the validation on the source"),
        (road.predict_command(chosen, road.predictions), remark),
    ]
    if other:
        listed.append((road.predict_command(other, road.other_predictions), "for the estimate: do two epochs agree?"))
    listed += [(road.estimate_command(other is not None), ""), (road.report_command(), "")]
    listed.append((road.postprocess_command(), "one piece where the source has one"))
    return listed + [command for one in rounds_of(road) for command in one.commands()]


def print_commands(road: Road, heading: str) -> None:
    """The whole road, to be left at any point."""
    say(heading)
    for words, remark in commands(road):
        say(f"  {shlex.join(words)}{f'   # {remark}' if remark else ''}")


def walk(road: Road, hours: float | None = None) -> Road:
    """Do what is left, from planning to the report, and the rounds.

    Args:
        road: what is asked for.
        hours: to train as many epochs as fit into; None: as the settings say.

    Returns:
        The road as it was gone.

    Raises:
        LockedError: another nnUDA_adapt is at work here.
        AdaptError: a folder holds something else.
        CommandFailed: a command ended with an error.
    """
    with locked(join(road.folder, LOCK), f"the folder {road.folder}") as lock:
        write_state(road)
        runner = Runner(road, lock)
        if hours is not None:
            road = within_budget(road, hours, runner)
        refuse_other_settings(road)
        runner.stage(PLAN, lambda: planning_left(road))
        settings = read_settings(road)
        runner.stage(
            TRAIN, lambda: training_left(road), TrainingProgress(settings["training.num_epochs"], runner.indented)
        )
        chosen, other = road.chosen_checkpoint(), other_checkpoint(road)
        runner.stage(PREDICT, lambda: prediction_left(road, chosen, road.predictions))
        if other is None:
            say(f"{title(OTHER)}: left out, training kept no other epoch than that of {chosen}")
        else:
            runner.stage(OTHER, lambda: prediction_left(road, other, road.other_predictions))
        runner.stage(ESTIMATE, lambda: estimate_left(road, other is not None))
        runner.stage(REPORT, lambda: report_left(road, other is not None))
        runner.stage(POSTPROCESS, lambda: postprocessing_left(road))
        walk_rounds(road, runner)
    return road
