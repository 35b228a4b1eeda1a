"""What is left of each stage: nothing where its result is there and fresh, else the command that makes or ends it."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable, Collection, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import chain
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.errors import AdaptError
from nnuda.files import FileError, check_own_folder, read_json, write_json
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import KEY, PlanKeyError, chosen_settings, read_key, read_plans, target_folder
from nnuda.planning.choice import load_plan, plan_file
from nnuda.planning.raw_cases import are_as_looked_at
from nnuda.preprocessing.source import preprocessed_cases
from nnuda.results import (
    ADAPTED,
    AS_LEFT,
    CHECKPOINTS,
    PLANS_SOURCE,
    POSTPROCESSING,
    load_checkpoint,
    read_dataset_json,
)
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.settings import effective_settings
from nnuda.stages.road import BEST, FINAL, Road
from nnuda.training.frozen import freeze, frozen_settings, refuse_other_configuration

_SUMMARY = {
    "type": "object",
    "required": ["metric_per_case"],
    "properties": {
        "metric_per_case": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["prediction_file"],
                "properties": {"prediction_file": {"type": "string"}},
            },
        }
    },
}
MAYBE_CUT_OFF = 8  # newest predictions of a command that was killed, which its processes may have been writing


@dataclass(frozen=True)
class Left:
    """What is left to do.

    Attributes:
        command: its words.
        note: how it goes on, in few words.
        prepare: called before it.
        done: called after it ended well.
        environment: variables that it gets other values of.
    """

    command: list[str]
    note: str = ""
    prepare: Callable[[], None] = lambda: None
    done: Callable[[], None] = lambda: None
    environment: Mapping[str, str] = field(default_factory=dict)


# ---- planning -------------------------------------------------------------------------------------------------------


def planning_left(road: Road) -> Left | None:
    """Nothing where the plan names the target with these settings, and every case of both domains is preprocessed."""
    return None if _planned(road) else Left(road.plan_command())


def _planned(road: Road) -> bool:
    if not isfile(plan_file(road.source.name, road.plans)):
        return False
    plans = load_plan(road.source.name, road.plans)
    try:
        key = read_key(plans)
    except PlanKeyError:  # planning writes it, or says what is wrong with it
        return False
    if key["target"]["name"] != road.target.name or road.configuration not in plans["configurations"]:
        return False
    if road.settings is not None and key["settings"] != road.settings:
        return False
    identifier = PlansManager(plans).get_configuration(road.configuration).data_identifier
    of_source, of_target = join(nnUNet_preprocessed, road.source.name, identifier), join(target_folder(key), identifier)
    return (
        road.source.images.keys() <= preprocessed_cases(of_source)
        and road.target.images.keys() <= preprocessed_cases(of_target)
        and are_as_looked_at(road.source, road.target)
    )


def refuse_other_settings(road: Road) -> None:
    """Before the plan gets its settings: a training that was begun with others keeps both.

    Raises:
        AdaptError: lists what differs.
    """
    begun = join(road.model_folder, PLANS_SOURCE)
    if road.settings is None or not isfile(begun):
        return
    plans = read_plans(begun, AS_LEFT)
    before = frozen_settings(plans)
    now = effective_settings(road.preset, chosen_settings({**plans[KEY], "settings": road.settings}))
    changed = [
        f"  {key}: was {before[key]!r}, now {now[key]!r}" for key in now if before.get(key, now[key]) != now[key]
    ]
    if changed:
        raise AdaptError(
            f"{road.model_folder} was begun with other settings:\n" + "\n".join(changed) + "\nNothing was changed. To "
            "go on with it, leave the settings out; for another training name a plan of its own: "
            "-overwrite_plans_name NAME."
        )


def read_settings(road: Road) -> dict[str, Any]:
    """Effective settings that the plan gives the trainer."""
    plans = load_plan(road.source.name, road.plans)
    return effective_settings(road.preset, chosen_settings(plans[KEY]))


# ---- training -------------------------------------------------------------------------------------------------------


def training_left(road: Road) -> Left | None:
    """Nothing where the training is finished and validated with probabilities; else its rest.

    Raises:
        FrozenConfigurationError: a finished training of another configuration.
    """
    if isfile(join(road.fold_folder, FINAL)):
        _refuse_other_configuration(road)
    return rest_of_training(road)


def rest_of_training(road: Road, lost: Collection[str] = ()) -> Left | None:
    """The same for a training that is known to be of this configuration.

    Args:
        road: whose.
        lost: checkpoints to go by as if they were not there.
    """
    command, folder = road.train_command(), road.fold_folder
    there = [name for name in CHECKPOINTS if isfile(join(folder, name)) and name not in lost]
    if FINAL in there:
        return (
            None
            if validated(folder, road.source.file_ending)
            else Left([*command, "--val"], "its validation on the source")
        )
    if there:
        return Left([*command, "--c"], "goes on from its last checkpoint")
    return Left(command)


def _refuse_other_configuration(road: Road) -> None:
    plans = deepcopy(load_plan(road.source.name, road.plans))
    trainer = find_trainer(road.trainer)
    dataset_json = read_dataset_json(join(nnUNet_preprocessed, road.source.name, "dataset.json"))
    settings = freeze(plans, trainer.preset, dataset_json, road.model_folder)
    refuse_other_configuration(plans, road.configuration, road.model_folder, trainer.reads_class_embeddings(settings))


def validated(folder: str, ending: str) -> bool:
    """Whether nnU-Net's last validation is complete, with probabilities."""
    validation = join(folder, "validation")
    summary = join(validation, "summary.json")
    if not isfile(summary) or os.path.getmtime(summary) < os.path.getmtime(join(folder, FINAL)):
        return False
    try:
        cases = read_json(summary, "nnU-Net's summary of a validation", _SUMMARY)["metric_per_case"]
    except FileError:  # it is made again
        return False
    predicted = [case["prediction_file"] for case in cases]
    names = (os.path.basename(file).removesuffix(ending) for file in predicted)
    return all(isfile(join(validation, f"{name}.npz")) for name in names)


def other_checkpoint(road: Road) -> str | None:
    """A checkpoint of another epoch than the chosen one: what its predictions are compared with; None without."""
    chosen = road.chosen_checkpoint()
    names = [name for name in (FINAL, BEST, SELECTED) if name != chosen and isfile(join(road.fold_folder, name))]
    epoch = _epoch(road, chosen)
    return next((name for name in names if _epoch(road, name) != epoch), None)


def _epoch(road: Road, name: str) -> int:
    return load_checkpoint(join(road.fold_folder, name), mapped=True).get("current_epoch", -1)


# ---- predicting -----------------------------------------------------------------------------------------------------


def prediction_left(road: Road, checkpoint: str, folder: str) -> Left | None:
    """Nothing where every image was predicted by this checkpoint; else the rest of the images, or all of them.

    Raises:
        FileError: the folder holds files that nnUDA_adapt did not make.
    """
    command, wanted = road.predict_command(checkpoint, folder), _made_from(road, checkpoint)
    name, states = os.path.basename(folder), read_state(road)
    made = states.get(name)
    if made is None:
        check_own_folder(folder, "-o")
    if made == {**wanted, "finished": True} and not _missing(road, folder):
        return None

    def note(finished: bool) -> None:
        write_state(road, **{name: {**wanted, "finished": finished}})

    if made is not None and _same_images(made, wanted):

        def keep_whole_ones() -> None:
            _remove_cut_off(road, folder, made["finished"])
            note(False)

        return Left([*command, "--continue_prediction"], "the rest", keep_whole_ones, lambda: note(True))

    def begin_anew() -> None:
        if made is not None:
            shutil.rmtree(folder, ignore_errors=True)
        note(False)

    return Left(
        command, "" if made is None else "anew, by another checkpoint or images", begin_anew, lambda: note(True)
    )


def read_state(road: Road) -> dict[str, Any]:
    """What the folder's predictions were made from."""
    file = join(road.folder, ADAPTED)
    remedy = "Remove it and what lies beside it."
    return read_json(file, "what nnUDA_adapt writes", remedy=remedy) if isfile(file) else {}


def write_state(road: Road, **entries: Any) -> None:
    """Add to it; without entries it marks the folder as one of nnUDA_adapt's."""
    write_json(read_state(road) | entries, join(road.folder, ADAPTED))


def _made_from(road: Road, checkpoint: str) -> dict[str, Any]:
    """What predictions depend on. A checkpoint is told by its name, size and time."""
    found = os.stat(join(road.fold_folder, checkpoint))
    return {"checkpoint": [checkpoint, found.st_size, found.st_mtime_ns], "images": road.cases}


def _same_images(made: dict, wanted: dict) -> bool:
    """Whether what was predicted would be predicted again: images that were only added do not count."""
    return made["checkpoint"] == wanted["checkpoint"] and made["images"].items() <= wanted["images"].items()


def _files(road: Road, folder: str, case: str) -> tuple[str, str]:
    return join(folder, case + road.source.file_ending), join(folder, f"{case}.npz")


def _missing(road: Road, folder: str) -> list[str]:
    return [case for case in road.cases if not all(map(isfile, _files(road, folder, case)))]


def _remove_cut_off(road: Road, folder: str, finished: bool) -> None:
    """Remove predictions that a killed command may have left half-written, so that they are made again."""
    there = [case for case in road.cases if isfile(_files(road, folder, case)[0])]
    newest = sorted(there, key=lambda case: os.path.getmtime(_files(road, folder, case)[0]))[-MAYBE_CUT_OFF:]
    for case in there:
        label, probabilities = _files(road, folder, case)
        if not zipfile.is_zipfile(probabilities) or (not finished and case in newest):
            os.remove(label)


# ---- what is made of the predictions --------------------------------------------------------------------------------


def result_left(command: list[str], result: str, sources: Iterator[str]) -> Left | None:
    """Nothing where a file is newer than what it is made of.

    Args:
        command: makes it.
        result: the file.
        sources: files that it is made of.
    """
    fresh = isfile(result) and all(os.path.getmtime(file) <= os.path.getmtime(result) for file in sources)
    return None if fresh else Left(command)


def estimate_left(road: Road, second: bool) -> Left | None:
    """Nothing where the estimate is newer than the predictions and the validation.

    Args:
        road: whose.
        second: whether the predictions are compared with others.
    """
    return result_left(road.estimate_command(second), road.estimate, _judged_by(road, second))


def report_left(road: Road, second: bool) -> Left | None:
    """Nothing where the report is newer than these and the estimate."""
    return result_left(road.report_command(), road.report, chain(_judged_by(road, second), [road.estimate]))


def postprocessing_left(road: Road) -> Left | None:
    """Nothing where the record is newer than the predictions."""
    made_of = files_of(road.predictions, endings=(road.source.file_ending,))
    return result_left(road.postprocess_command(), join(road.postprocessed, POSTPROCESSING), made_of)


def _judged_by(road: Road, second: bool) -> Iterator[str]:
    folders = [road.predictions, *([road.other_predictions] if second else []), join(road.fold_folder, "validation")]
    return files_of(*folders, endings=(road.source.file_ending, ".npz"))


def files_of(*folders: str, endings: tuple[str, ...]) -> Iterator[str]:
    """Files of these endings in folders that may not be there."""
    for folder in filter(isdir, folders):
        yield from (join(folder, name) for name in os.listdir(folder) if name.endswith(endings))
