"""What can be chosen: trained models of one source, by folds and checkpoints, and pairs of them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.paths import nnUNet_results
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.datasets import Domain
from nnuda.errors import NnudaError
from nnuda.files import read_json
from nnuda.plan_key import KEY
from nnuda.results import CHECKPOINTS, PLANS, find_fold, folds_in, load_checkpoint
from nnuda.selection.history import CHECKPOINT as SELECTED
from nnuda.selftraining.members import Member, find_members

FINAL = CHECKPOINTS[0]
DEFAULT_CHECKPOINTS = (FINAL, SELECTED)
OPTIONS = {"-tr": "trainer", "-p": "plan", "-c": "configuration"}
LONGEST_NAME = 200  # of a file


class ChoiceError(NnudaError, ValueError):
    """Nothing to choose from, or a folder that holds something else."""


@dataclass(frozen=True)
class Group:
    """A checkpoint of one fold of a training, or of several folds that are averaged."""

    members: tuple[Member, ...]

    @property
    def folder(self) -> str:
        """The results folder."""
        return self.members[0].folder

    @property
    def parts(self) -> list[str]:
        """Trainer, plan and configuration."""
        return os.path.basename(self.folder).split("__")

    @property
    def folds(self) -> list[str]:
        return [member.fold for member in self.members]

    @property
    def checkpoint(self) -> str:
        return self.members[0].checkpoint

    @property
    def name(self) -> str:
        stem = self.checkpoint.removesuffix(".pth").removeprefix("checkpoint_")
        return f"{os.path.basename(self.folder)}__fold_{'_'.join(self.folds)}__{stem}"


@dataclass(frozen=True)
class Candidate:
    """What may be used on the target: the mean of the probabilities of all members of one group or of two."""

    groups: tuple[Group, ...]

    @property
    def members(self) -> list[Member]:
        return [member for group in self.groups for member in group.members]

    @property
    def trainings(self) -> set[tuple[str, str]]:
        """Results folder and fold of each member."""
        return {training_of(member) for member in self.members}

    @property
    def name(self) -> str:
        """As nnU-Net names ensembles; short enough for a file."""
        name = "___".join(
            ["ensemble", *(group.name for group in self.groups)] if len(self.groups) > 1 else [self.groups[0].name]
        )
        short = name[: LONGEST_NAME - 13]
        return name if len(name) <= LONGEST_NAME else f"{short}_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def training_of(member: Member) -> tuple[str, str]:
    """Two checkpoints of it are no independent trainings."""
    return member.folder, member.fold


def member_name(member: Member) -> str:
    """Name of the folder of its predictions."""
    return Group((member,)).name


# ---- looked for -----------------------------------------------------------------------------------------------------


def find_groups(
    source: Domain,
    target: Domain,
    wanted: Mapping[str, Sequence[str] | None],
    folds: Sequence[str] | None,
    checkpoints: Sequence[str] | None,
) -> tuple[list[Group], list[str]]:
    """Every trained model of the source, its folds alone and together, at each checkpoint.

    Args:
        source: trained on.
        target: to be chosen for.
        wanted: "-tr", "-p", "-c" -> values to look at; None: all.
        folds: of each model; None: those that it has.
        checkpoints: file names; None: the last epoch and the one selected without labels, where there is one.

    Returns:
        The groups, and what was left out and why.

    Raises:
        ChoiceError, MemberError, ResultsError: nothing is there, a fold is missing, or other classes.
    """
    notes: list[str] = []
    groups: list[Group] = []
    for folder in _model_folders(source, wanted):
        reason = _no_candidate(folder, target)
        if reason:
            notes.append(f"Left out: {os.path.basename(folder)}, {reason}.")
            continue
        groups += _groups_of(folder, source, folds, checkpoints, notes)
    if not groups:
        raise ChoiceError(
            f"Expected a trained model of {source.name} for {target.name} with {' or '.join(checkpoints or [FINAL])}; "
            f"there is none. {' '.join(notes)} Train one: nnUNetv2_train."
        )
    return groups, notes


def _model_folders(source: Domain, wanted: Mapping[str, Sequence[str] | None]) -> list[str]:
    root = join(nnUNet_results, source.name)
    names = sorted(os.listdir(root)) if isdir(root) else []
    found = [name for name in names if len(name.split("__")) == 3 and isfile(join(root, name, PLANS))]
    if not found:
        raise ChoiceError(f"Expected trained models <trainer>__<plans>__<configuration> in {root}; there is none.")
    for place, (option, what) in enumerate(OPTIONS.items()):
        there = sorted({name.split("__")[place] for name in found})
        missing = [value for value in wanted[option] or [] if value not in there]
        if missing:
            raise ChoiceError(
                f"{option}: expected a {what} that {source.name} was trained with; got {', '.join(missing)}. "
                f"There are: {', '.join(there)}."
            )
    return [
        join(root, name)
        for name in found
        if all(not wanted[option] or part in wanted[option] for option, part in zip(OPTIONS, name.split("__")))
    ]


def _no_candidate(folder: str, target: Domain) -> str:
    """Why a model cannot label the target; empty where it can."""
    plans = read_json(join(folder, PLANS), "a plan of nnU-Net's")
    trained_for = plans[KEY]["target"]["name"] if KEY in plans else target.name
    if trained_for != target.name:
        return f"which was trained for {trained_for}"
    configuration = os.path.basename(folder).split("__")[2]
    if PlansManager(plans).get_configuration(configuration).previous_stage_name is not None:
        return "the second stage of a cascade"
    return ""


def _groups_of(
    folder: str, source: Domain, folds: Sequence[str] | None, checkpoints: Sequence[str] | None, notes: list[str]
) -> list[Group]:
    if folds:
        for fold in folds:
            find_fold(folder, fold)
    wanted = list(dict.fromkeys(folds or folds_in(folder)))
    unfinished = [fold for fold in wanted if not any(_has(folder, fold, name) for name in checkpoints or [FINAL])]
    if unfinished:
        notes.append(
            f"Left out: {os.path.basename(folder)}, fold {', '.join(unfinished)}, without "
            f"{' or '.join(checkpoints or [FINAL])}."
        )
    numbers = [fold for fold in wanted if fold != "all" and fold not in unfinished]
    sets = [[fold] for fold in wanted if fold not in unfinished] + ([numbers] if len(numbers) > 1 else [])
    groups: dict[tuple, Group] = {}
    for name in checkpoints or DEFAULT_CHECKPOINTS:
        for together in sets:
            if all(_has(folder, fold, name) for fold in together):
                members = find_members([folder], together, [name], source, source.reader_class(), "-tr, -p, -c")
                groups.setdefault((*together, *_epochs(members)), Group(tuple(members)))
    return list(groups.values())


def _has(folder: str, fold: str, checkpoint: str) -> bool:
    return isfile(join(folder, f"fold_{fold}", checkpoint))


def _epochs(members: Sequence[Member]) -> Iterator[int | str]:
    """By which two checkpoints of one epoch are told to be the same; a file of weights alone does not say."""
    for member in members:
        content = load_checkpoint(join(member.folder, f"fold_{member.fold}", member.checkpoint))
        yield content.get("current_epoch", member.checkpoint)


# ---- pairs ----------------------------------------------------------------------------------------------------------


def pairs(ranked: Sequence[Group]) -> list[Candidate]:
    """Ensembles of two models, each by its first group.

    Args:
        ranked: best first.
    """
    best: dict[str, Group] = {}
    for group in ranked:
        best.setdefault(group.folder, group)
    return [Candidate(both) for both in combinations(best.values(), 2)]
