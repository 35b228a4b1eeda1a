"""The estimate of each candidate, kept in a file, and with labels its true Dice, which no choice ever sees."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join

import nnuda
from nnuda.choosing.candidates import Candidate, Group, training_of
from nnuda.choosing.predictions import target_folder
from nnuda.evaluation.estimate import dice
from nnuda.evaluation.quality import (
    UNSHIFTED,
    Model,
    calibrate_on,
    doubts_of,
    estimate_folder,
    held_out,
    read_prediction,
)
from nnuda.files import FileError, read_json, write_json
from nnuda.processes import run_cases
from nnuda.results import PLANS
from nnuda.selftraining.members import Member

SEEN = "Trained on the labelled cases that calibrate its estimate, as fold all is: it may be too high."
ALONE = "No other training to compare with: errors that it would show are not seen."
OF_ITS_OWN = "agreement of its own members, as there is no other training: lower than the ensemble deserves"
OTHER_EPOCHS = "agreement of two epochs of one training, which may lower the estimate only"


@dataclass(frozen=True)
class Pool:
    """What is predicted.

    Attributes:
        output: folder of all that is written.
        groups: all of them: a candidate is compared with the trainings that are not in it.
        source: member -> case of the source -> folder of its prediction.
        shifted: the same of shifted images; empty where no training had strong augmentation.
        references: case of the source -> file of its labels.
        sizes: bytes of each of the target's cases.
    """

    output: str
    groups: Sequence[Group]
    source: Mapping[Member, Mapping[str, str]]
    shifted: Mapping[Member, Mapping[str, str]]
    references: Mapping[str, str]
    sizes: Mapping[str, int]

    def folders(self, members: Sequence[Member]) -> list[str]:
        return [target_folder(self.output, member) for member in members]


@dataclass(frozen=True)
class Compared:
    """What a candidate's agreement is taken with.

    Attributes:
        members: whose predictions.
        independent: they are of other trainings.
        among: they are the candidate's own, and compared with each other.
    """

    members: list[Member]
    independent: bool = True
    among: bool = False

    @property
    def note(self) -> str:
        if not self.members:
            return ALONE
        return OF_ITS_OWN if self.among else "" if self.independent else OTHER_EPOCHS


def compared_with(candidate: Candidate, groups: Sequence[Group]) -> Compared:
    """The other trainings; without any its own members, or other epochs of its own training."""
    first: dict[tuple[str, str], Member] = {}
    for member in (member for group in groups for member in group.members):
        first.setdefault(training_of(member), member)
    others = [member for training, member in first.items() if training not in candidate.trainings]
    if others:
        return Compared(others)
    if len(candidate.trainings) > 1:
        return Compared(candidate.members, among=True)
    epochs = {member for group in groups for member in group.members} - set(candidate.members)
    return Compared(sorted(epochs, key=lambda member: member.name), independent=False)


def source_cases(candidate: Candidate, source: Mapping[Member, Mapping[str, str]]) -> dict[str, list[str]]:
    """Case of the source -> folders whose probabilities are averaged: over folds each case by the fold that did not
    learn it, over a pair the cases that both have. Empty where there is none."""
    of_groups: list[dict[str, list[str]]] = []
    for group in candidate.groups:
        found: dict[str, list[str]] = {}
        for member in group.members:
            for case, folder in source[member].items():
                found.setdefault(case, []).append(folder)
        of_groups.append(found)
    common = sorted(set.intersection(*map(set, of_groups)))
    return {case: [folder for found in of_groups for folder in found[case]] for case in common}


def model_of(member: Member) -> Model:
    """What its predictions are read with."""
    files = (join(member.folder, name) for name in ("dataset.json", PLANS))
    return Model(*(read_json(file, "what training leaves there") for file in files))


# ---- estimated ------------------------------------------------------------------------------------------------------


def estimate_all(candidates: Sequence[Candidate], pool: Pool, processes: int) -> list[dict[str, Any]]:
    """The estimate of each candidate, in their order. Those that are there and fresh are read."""
    work = partial(estimate_candidate, pool=pool)
    preload = ("nnuda.choosing.estimates",)
    return run_cases(work, [(candidate,) for candidate in candidates], processes, "Estimate", preload=preload)


def estimate_candidate(candidate: Candidate, pool: Pool) -> dict[str, Any]:
    """What `nnuda.evaluation.quality.estimate_folder` returns, with notes, kept in OUTPUT/estimates/NAME.json."""
    compared = compared_with(candidate, pool.groups)
    calibrating = source_cases(candidate, pool.source)
    shifted = source_cases(candidate, pool.shifted) if pool.shifted else {}
    model, folders = model_of(candidate.members[0]), pool.folders(candidate.members)
    seen = any(pool.source[member].keys() - held_out(member.folder, member.fold) for member in candidate.members)
    doubts = doubts_of(model, seen)
    key = _key(candidate, compared, [calibrating, shifted], doubts, pool)
    file = join(pool.output, "estimates", f"{candidate.name}.json")
    with contextlib.suppress(FileError):  # none yet, or half of one
        known = read_json(file, "an estimate")
        if known.get("made_from") == key:
            return known
    calibration = calibrate_on(calibrating, pool.references, model, shifted)
    result = estimate_folder(
        folders[0],
        pool.folders(compared.members),
        model,
        calibration,
        independent=compared.independent,
        among=compared.among,
        more=folders[1:],
        doubts=doubts,
    )
    notes = [note for note in (SEEN if seen else "", compared.note, "" if shifted else UNSHIFTED) if note]
    result |= {"made_from": key, "notes": notes, "members": folders}
    write_json(result, file)
    return result


def _key(
    candidate: Candidate,
    compared: Compared,
    calibrating: Sequence[Mapping[str, Sequence[str]]],
    doubts: Sequence[str],
    pool: Pool,
) -> str:
    said = [
        list(doubts),
        [member.sha256 for member in candidate.members],
        [member.sha256 for member in compared.members],
        [compared.independent, compared.among],
        [{case: list(folders) for case, folders in of.items()} for of in calibrating],
        [os.stat(join(pool.folders(candidate.members)[0], f"{case}.npz")).st_mtime_ns for case in sorted(pool.sizes)],
        dict(pool.sizes),
        nnuda.__version__,
    ]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


# ---- with labels ----------------------------------------------------------------------------------------------------


def true_dice(candidate: Candidate, pool: Pool, references: str) -> dict[str, dict[str, float]]:
    """Case -> class -> Dice with the target's labels, of the cases that have some.

    Args:
        candidate: whose predictions.
        pool: where they lie.
        references: folder of the target's labels.
    """
    model, folders = model_of(candidate.members[0]), pool.folders(candidate.members)
    found: dict[str, dict[str, float]] = {}
    for case in sorted(pool.sizes):
        file = join(references, case + model.ending)
        if isfile(file):
            reader = model.reader(file)
            predicted = read_prediction(folders, case, model, reader).predicted
            truth = model.masks(file, reader, predicted.shape[1])
            found[case] = {name: dice(a, b) for name, a, b in zip(model.classes, predicted, truth)}
    return found


def mean_dice(per_case: Mapping[str, Mapping[str, float]]) -> float:
    """Mean over the classes of their means over the cases, as nnU-Net's foreground_mean."""
    table = np.array([list(classes.values()) for classes in per_case.values()], dtype=float)
    columns = [column[np.isfinite(column)] for column in table.T]
    return float(np.mean([column.mean() for column in columns if column.size]))
