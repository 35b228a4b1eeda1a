"""Self-training rounds after the adaptation: each a plain nnU-Net of source and target, whose labels of the target are
predictions of the model before it."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, subdirs
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw
from nnunetv2.training.nnUNetTrainer.variants.training_length import nnUNetTrainer_Xepochs
from nnunetv2.utilities.dataset_name_id_conversion import find_candidate_datasets
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.datasets import Domain, load_dataset
from nnuda.errors import AdaptError
from nnuda.files import FileError, sha256
from nnuda.plan_key import KEY
from nnuda.planning.choice import load_plan, plan_file
from nnuda.preprocessing.source import preprocessed_cases
from nnuda.results import CHECKPOINTS, is_cut_off
from nnuda.selftraining.dataset import output_name
from nnuda.selftraining.members import Member
from nnuda.selftraining.round import made_otherwise, request_of
from nnuda.settings import effective_settings
from nnuda.stages.left import Left, estimate_left, postprocessing_left, prediction_left, report_left, rest_of_training
from nnuda.stages.progress import TrainingProgress
from nnuda.stages.road import FINAL, Road
from nnuda.stages.round_plan import plan_like
from nnuda.stages.run_stage import Runner

STEPS = ("pseudo-labels", "plan and preprocess", "train", "predict", "estimate", "report", "postprocess")
NUMBERS = range(601, 1000)  # of datasets, where none are named
TRAINER = "nnUNetTrainer"
ITERATIONS = 250  # of an epoch of nnU-Net's
THREADS = "nnUNet_n_proc_DA"


@dataclass(frozen=True, kw_only=True)
class Round(Road):
    """One round: a road of its own, by nnU-Net's commands.

    Attributes:
        number: from 1 on.
        adapted: the road before all rounds.
        before: that of the model that labels the target.
        plan_remark: in what its plan may differ from the adaptation's.
    """

    number: int
    adapted: Road
    before: Road
    plan_remark: str

    @property
    def other_predictions(self) -> str:
        """Of the model before: they agree too well, as those of another epoch do."""
        return self.before.predictions

    @property
    def labelled_words(self) -> Sequence[str]:
        return self.adapted.source_words

    def label_command(self) -> list[str]:
        labels, before = self.adapted, self.before
        words = ["nnUDA_pseudo_label", *labels.source_words, *labels.target_words, "-m", before.model_folder]
        words += ["-f", before.fold, "-chk", before.chosen_checkpoint(), "-o", self.source.name]
        words += [*labels.rounds.rules, "-device", self.device]
        return [*words, *(["-np", str(self.processes)] if self.processes else [])]

    def plan_command(self) -> list[str]:
        words = ["nnUNetv2_plan_and_preprocess", *self.source_words, "-c", self.configuration, *self.planning]
        return [*words, *(["-npfp", str(self.processes), "-np", str(self.processes)] if self.processes else [])]

    def report_command(self) -> list[str]:
        """The adapted model's page, with these predictions beside its own."""
        words = ["nnUDA_report", self.adapted.fold_folder, "--predictions", self.predictions]
        words += ["--before-predictions", self.adapted.predictions, "--names", f"round {self.number}", "adapted"]
        return [*words, "-i", self.images, "-o", self.report]

    def commands(self) -> list[tuple[list[str], str]]:
        """As a user would type them, and a remark."""
        return [
            (self.label_command(), f"round {self.number}: what the model before is sure of becomes labels"),
            (self.plan_command(), "; ".join(filter(None, (self.plan_remark, planner_note())))),
            (self.train_command(), "" if self.adapted.rounds.trainer else "about as many steps as the adaptation"),
            (self.predict_command(FINAL, self.predictions), ""),
            (self.estimate_command(True), ""),
            (self.report_command(), ""),
            (self.postprocess_command(), ""),
        ]


def rounds_of(road: Road) -> list[Round]:
    """All rounds of a road, as far as it is known which datasets they will have.

    Raises:
        AdaptError, DatasetError: a number belongs to another dataset.
        FileError, PlanningError: the adaptation's plan is damaged.
    """
    made: list[Round] = []
    for number in range(1, 1 + (road.rounds.number if road.rounds else 0)):
        before = made[-1] if made else road
        made.append(next_round(road, number, before, [one.source.name for one in made]))
    return made


def next_round(road: Road, number: int, before: Road, taken: Collection[str]) -> Round:
    """A round.

    Args:
        road: of the adaptation.
        number: of the round, from 1 on.
        before: of the model that labels.
        taken: names of the earlier rounds' datasets.

    Raises:
        AdaptError, DatasetError: its number belongs to another dataset.
        FileError, PlanningError: the adaptation's plan is damaged.
    """
    name, plan = dataset_of(road, number, before, taken), plan_like(road)
    own = {
        "source": Domain(name, join(nnUNet_raw, name), road.source.dataset_json, {}),
        "source_words": ["-d", str(int(name[7:10]))],
        "configuration": road.rounds.configuration,
        "fold": "all",
        "trainer": road.rounds.trainer or trainer_as_long(road),
        "plans": plan.name,
        "planning": plan.options,
        "output": join(road.folder, f"round_{number}"),
        "checkpoint": FINAL,
    }
    shared = {field.name: getattr(road, field.name) for field in fields(Road) if field.name not in own}
    return Round(**shared, **own, number=number, adapted=road, before=before, plan_remark=plan.remark)


# ---- its dataset ----------------------------------------------------------------------------------------------------


def dataset_of(road: Road, number: int, before: Road, taken: Collection[str]) -> str:
    """The dataset that a round has, or will have: the one that was named, else one that was made of the same, else the
    first free number.

    Args:
        road, number, before, taken: as of `next_round`.

    Raises:
        AdaptError, DatasetError: the named one is there and was made of something else; no number is free.
    """
    if road.rounds.datasets:
        name = road.rounds.datasets[number - 1]
        output_name(name, road.source.name, road.target.name)
        if not _is_free(name) and not is_made_from(name, road, before):
            raise AdaptError(
                f"--round-datasets: expected a free number for round {number}, or the dataset that this round made of the "
                f"model as it is now; {name} is another. Name a free number, or leave --round-datasets out."
            )
        return name
    for name in subdirs(nnUNet_raw, prefix="Dataset", join=False):
        if is_made_from(name, road, before):
            return name
    used = {int(name[7:10]) for name in taken}
    for free in NUMBERS:
        if free not in used and not len(find_candidate_datasets(free)):
            return output_name(str(free), road.source.name, road.target.name)
    raise AdaptError(f"--rounds: expected a free dataset number from {NUMBERS[0]} to {NUMBERS[-1]}; all are taken.")


def _is_free(name: str) -> bool:
    """Nothing was ever made of a dataset of this name."""
    return not len(find_candidate_datasets(int(name[7:10])))


def is_made_from(name: str, road: Road, before: Road) -> bool:
    """Whether a dataset holds the labels that a model gives as it is now, by the same rules."""
    folder, checkpoint = join(nnUNet_raw, name), join(before.fold_folder, before.chosen_checkpoint())
    if not isdir(folder) or not isfile(checkpoint):
        return False
    found = os.stat(checkpoint)
    hashed = _sha256(checkpoint, found.st_size, found.st_mtime_ns)
    member = Member(before.model_folder, before.fold, before.chosen_checkpoint(), hashed)
    request = request_of(road.source, road.target, [member], road.rounds.options)
    try:
        return made_otherwise(folder, request) == []
    except FileError:  # somebody's damaged file
        return False


@lru_cache
def _sha256(file: str, size: int, changed: int) -> str:
    """Of a file that is told from its later versions by size and time."""
    return sha256(file)


# ---- its trainer ----------------------------------------------------------------------------------------------------


def lengths() -> dict[str, int]:
    """nnU-Net's trainers that differ in their epochs alone."""
    names = (re.fullmatch(rf"{TRAINER}_(\d+)epochs?", name) for name in vars(nnUNetTrainer_Xepochs))
    return {TRAINER: 1000, **{match[0]: int(match[1]) for match in names if match}}


def trainer_as_long(road: Road) -> str:
    """nnU-Net's trainer whose steps come nearest to the adaptation's."""
    settings = road.settings
    if settings is None and isfile(plan_file(road.source.name, road.plans)):
        settings = load_plan(road.source.name, road.plans).get(KEY, {}).get("settings")
    asked = effective_settings(road.preset, settings or {})
    epochs = asked["training.num_epochs"] * asked["training.num_iterations_per_epoch"] / ITERATIONS
    return min(lengths().items(), key=lambda item: (abs(item[1] - epochs), item[1]))[0]


# ---- what is left of it ---------------------------------------------------------------------------------------------


def walk_rounds(road: Road, runner: Runner) -> None:
    """Every round, each after the one before."""
    before, taken = road, []
    for number in range(1, 1 + (road.rounds.number if road.rounds else 0)):
        before = next_round(road, number, before, taken)
        taken.append(before.source.name)
        _walk(before, runner)


def _walk(this: Round, runner: Runner) -> None:
    os.makedirs(this.folder, exist_ok=True)
    epochs = lengths().get(this.trainer)
    progress = TrainingProgress(epochs, runner.indented, validated="all cases") if epochs else None
    for step, left, watch in (
        (0, lambda: labels_left(this), None),
        (1, lambda: planning_left(this), None),
        (2, lambda: training_left(this), progress),
        (3, lambda: prediction_left(this, FINAL, this.predictions), None),
        (4, lambda: estimate_left(this, True), None),
        (5, lambda: report_left(this, True), None),
        (6, lambda: postprocessing_left(this), None),
    ):
        title = f"[round {this.number}, {step + 1}/{len(STEPS)}] {STEPS[step]}"
        runner.run(title, left, watch, prefix=f"round_{this.number}_{step + 1}_")


def labels_left(this: Round) -> Left | None:
    """Nothing where the dataset is there, made by the model before as it is now."""
    return None if is_made_from(this.source.name, this.adapted, this.before) else Left(this.label_command())


def training_left(this: Round) -> Left | None:
    """Nothing where it is finished and validated; else its rest. nnU-Net writes its checkpoints in place: one that it was
    writing when it was ended is set aside."""
    lost = [name for name in CHECKPOINTS if is_cut_off(join(this.fold_folder, name))]
    todo = rest_of_training(this, lost)
    if todo is None or not lost:
        return todo

    def set_aside() -> None:
        for name in lost:
            os.replace(join(this.fold_folder, name), join(this.fold_folder, f"{name}.cut_off"))

    return replace(todo, note=f"{todo.note or 'from the start'}; {', '.join(lost)} was cut off", prepare=set_aside)


def planning_left(this: Round) -> Left | None:
    """Nothing where nnU-Net's plan has the configuration, and every case is preprocessed.

    Raises:
        AdaptError: the plan lacks the configuration.
    """
    name = this.source.name
    todo = Left(this.plan_command(), planner_note(), environment=planner_environment())
    if not isfile(plan_file(name, this.plans)):
        return todo
    plans = load_plan(name, this.plans)
    if this.configuration not in plans["configurations"]:
        raise AdaptError(
            f"Expected {this.configuration} in nnU-Net's plan of {name}; it has {', '.join(plans['configurations'])}. "
            "Name one of them with --round-configuration."
        )
    folder = join(nnUNet_preprocessed, name)
    identifier = PlansManager(plans).get_configuration(this.configuration).data_identifier
    cases = load_dataset(name).images
    labels = (join(folder, "gt_segmentations", case + this.source.file_ending) for case in cases)
    there = cases.keys() <= preprocessed_cases(join(folder, identifier)) and all(map(isfile, labels))
    return None if there else todo


def planner_environment() -> dict[str, str]:
    """Variables that nnU-Net's planner needs other values of: without processes for augmentation, which suits training,
    it asks torch for 0 threads and fails."""
    return {THREADS: "1"} if int(os.environ.get(THREADS, "1")) == 0 else {}


def planner_note() -> str:
    return f"with {THREADS}=1, since nnU-Net's planner fails with 0" if planner_environment() else ""
