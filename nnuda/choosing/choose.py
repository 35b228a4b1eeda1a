"""Predicts, estimates, ranks: the whole of nnUDA_find_best_configuration."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join

from nnuda.choosing.candidates import Candidate, ChoiceError, Group, pairs
from nnuda.choosing.estimates import Pool, estimate_all, mean_dice, source_cases, true_dice
from nnuda.choosing.inference import INFORMATION, INSTRUCTIONS, information, instructions, write_predictions
from nnuda.choosing.predictions import (
    How,
    predict_source,
    predict_source_shifted,
    predict_target,
    shifted_folder,
)
from nnuda.choosing.ranking import Ranked, judge, legend, rank, table, ties
from nnuda.datasets import Domain, find_images, label_files
from nnuda.errors import harmless
from nnuda.evaluation.estimate import DO_NOT_USE
from nnuda.evaluation.quality import read_model
from nnuda.evaluation.scores import find_cases, first_names
from nnuda.files import LOCK, check_own_folder, locked, read_json, write_json, write_text

STATE = "nnuda_find_best_configuration.json"


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        source, target: the domains.
        groups: to choose among.
        left_out: what is not among them, and why.
        images: folder of the target's images.
        output: folder for all that is written.
        how: to predict.
        ensembling: whether pairs are looked at.
        labels: folder of the target's labels, for a look at what the choice was worth; None without.
        processes: candidates that are estimated at a time.
    """

    source: Domain
    target: Domain
    groups: Sequence[Group]
    left_out: Sequence[str]
    images: str
    output: str
    how: How
    ensembling: bool
    labels: str | None
    processes: int


def choose(request: Request) -> None:
    """Rank, print and write; goes on where it was interrupted.

    Raises:
        ChoiceError, EvaluationError, FileError: before any work, with what to do.
    """
    images = _check(request)
    with locked(join(request.output, LOCK), f"the folder {request.output}"):
        write_json(_said(request), join(request.output, STATE))
        pool = _predicted(request, images)
        ranked = _ranked(request, pool)
        truth = _truth(ranked, pool, request.labels) if request.labels else None
        _report(request, pool, ranked, truth)


# ---- before any work ------------------------------------------------------------------------------------------------


def _check(request: Request) -> dict[str, list[str]]:
    """Whether all is there that will be needed; the target's cases and their files."""
    cases = find_images(request.images, request.source.file_ending)
    if request.labels:
        known = find_cases(request.labels, request.source.file_ending, "label")
        if not known & cases.keys():
            raise ChoiceError(
                f"--labels: expected labels of cases that are predicted, such as {first_names(sorted(cases), 2)}; "
                f"{request.labels} has {first_names(sorted(known), 2)}."
            )
    _said(request)
    return cases


def _said(request: Request) -> dict[str, str]:
    """What the output folder is for; stops where it holds something else."""
    check_own_folder(request.output, "-o", STATE)
    said = {"source": request.source.name, "target": request.target.name}
    file = join(request.output, STATE)
    there = read_json(file, "what nnUDA_find_best_configuration writes") if isfile(file) else said
    if there != said:
        raise ChoiceError(
            f"-o: expected a folder of this command for {said['source']} and {said['target']}; {request.output} is for "
            f"{there.get('source')} and {there.get('target')}. Name another."
        )
    return said


# ---- the work -------------------------------------------------------------------------------------------------------


def _predicted(request: Request, images: Mapping[str, Sequence[str]]) -> Pool:
    """Every network's predictions of target and source."""
    members = dict.fromkeys(member for group in request.groups for member in group.members)
    strong = any(read_model(group.folder).learnt_strong for group in request.groups)
    source, shifted, begun = {}, {}, time.monotonic()
    for done, member in enumerate(members):
        if done:
            rest = (time.monotonic() - begun) / done * (len(members) - done)
            print(f"Network {done + 1} of {len(members)}, about {rest / 60:.0f} minutes left", flush=True)
        predict_target(member, images, request.output, request.how)
        source[member] = predict_source(member, request.source, request.output, request.how)
        if strong:  # all, so that they can be compared
            folder = shifted_folder(request.output, member)
            shifted[member] = predict_source_shifted(member, request.source, folder, request.how)
    sizes = {case: sum(os.path.getsize(file) for file in files) for case, files in images.items()}
    return Pool(request.output, request.groups, source, shifted, label_files(request.source), sizes)


def _ranked(request: Request, pool: Pool) -> list[Ranked]:
    singles = [Candidate((group,)) for group in request.groups]
    estimates = estimate_all(singles, pool, request.processes)
    ranked = rank(singles, estimates)
    both = pairs([one.candidate.groups[0] for one in ranked]) if request.ensembling else []
    both = [
        one for one in both if source_cases(one, pool.source) and (not pool.shifted or source_cases(one, pool.shifted))
    ]
    return rank([*singles, *both], [*estimates, *estimate_all(both, pool, request.processes)])


def _truth(ranked: Sequence[Ranked], pool: Pool, labels: str) -> dict[str, dict[str, dict[str, float]]]:
    """Name -> case -> class -> Dice."""
    return {one.candidate.name: true_dice(one.candidate, pool, labels) for one in ranked}


# ---- what is said ---------------------------------------------------------------------------------------------------


def _report(
    request: Request, pool: Pool, ranked: Sequence[Ranked], truth: Mapping[str, dict[str, dict[str, float]]] | None
) -> None:
    tied, best = ties(ranked), ranked[0]
    remarks = how_sure(ranked, tied)
    means = None if truth is None else {name: mean_dice(per_case) for name, per_case in truth.items()}
    folder = write_predictions(best, pool)
    content = information(
        ranked, request.source.name, request.target.name, request.ensembling, tied, [*remarks, *request.left_out]
    )
    if means is not None:
        judged = judge(ranked, [means[one.candidate.name] for one in ranked])
        content |= {"oracle": True, "true_dice": means, "true_dice_per_case": truth, "judged": judged}
    text = instructions(best, request.source.name, request.how, remarks)
    write_json(content, join(request.output, INFORMATION))
    write_text(text, join(request.output, INSTRUCTIONS))
    print(f"\nExpected Dice on {request.target.name}, {len(pool.sizes)} cases, without labels:\n")
    print("\n".join(harmless(line) for line in [*legend(ranked), "", *table(ranked, means)]))
    print(f"\n*Best*: {best.letters}\n\n{text}")
    for note in request.left_out:
        print(note)
    if means is not None:
        print(_judged(judged, len(truth[best.candidate.name])))
    print(f"Predictions:  {folder}\nInstructions: {join(request.output, INSTRUCTIONS)}")


def how_sure(ranked: Sequence[Ranked], tied: Sequence[Ranked]) -> list[str]:
    """Sentences on the choice: ties, verdict, and what the estimate rests on."""
    best = ranked[0]
    if len(ranked) == 1:
        lines = ["There was one candidate: nothing was chosen."]
    elif tied:
        others = "all of the others" if len(tied) == len(ranked) - 1 else f"{len(tied)} of the {len(ranked) - 1} others"
        lines = [
            f"Not sure: {others} lie within the interval of the best, {best.interval[0]:.2f} to {best.interval[1]:.2f}. "
            "The estimate cannot tell these apart (ties, marked =)."
        ]
    else:
        lines = [f"The others lie below the interval of the best, which begins at {best.interval[0]:.2f}."]
    reasons = f": {'; '.join(best.estimate['reasons'])}" if best.estimate["reasons"] else ""
    lines.append(f"The best itself: {best.estimate['verdict'].upper()}{reasons}.")
    if best.estimate["verdict"] == DO_NOT_USE:
        lines.append("The best of bad ones is a bad one.")
    return [*lines, best.estimate["caution"], *best.estimate["notes"]]


def _judged(judged: Mapping[str, Any], cases: int) -> str:
    correlation = judged["rank_correlation"]
    words = "-" if correlation is None else f"{correlation:.2f}"
    return (
        f"With labels of {cases} cases (oracle; nothing was chosen by them): regret {judged['regret']:.3f}, rank "
        f"correlation {words}.\nThe best by labels: {judged['best']}\n"
    )
