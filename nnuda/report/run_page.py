"""The report's page: the answers first, then what they rest on."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.metadata import version
from typing import Any

import numpy as np

import nnuda
from nnuda.report.case_scores import CaseScores, dice_of_epochs, mean_dice, score_cases
from nnuda.report.cases import cases_alarms, cases_section
from nnuda.report.class_vectors import relations_section
from nnuda.report.domains import domains_section
from nnuda.report.estimate_section import estimate_beside, estimate_section, estimate_sign
from nnuda.report.features_section import Model, features_section
from nnuda.report.page import Fact, Facts, Section, Table, Text, page_html
from nnuda.report.predictions import Predictions
from nnuda.report.run import Run, number
from nnuda.report.settings_and_cost import changed_settings, cost_section, settings_section
from nnuda.report.training import KINDS, losses_section, selection_section, training_alarms

NO_PREDICTIONS = (
    "No predictions of target images were given: no pictures, and nothing is known of single cases. "
    "Predict with nnUNetv2_predict --save_probabilities and give the folder with --predictions."
)
SHOWN_ALARMS = 6


@dataclass(frozen=True)
class Request:
    """What a report is made from besides the run.

    Attributes:
        predictions: of target images, checked by `find_predictions`; None without.
        epoch_folders: epoch -> folder of its predictions of the same cases; needs references.
        histogram_cases: cases per domain to read for the histograms; 0 leaves them out.
        before: a model to compare the features with.
        feature_cases: cases per domain whose features are drawn; 0 leaves them out.
        num_processes: for the scores.
    """

    predictions: Predictions | None = None
    epoch_folders: dict[int, str] = field(default_factory=dict)
    histogram_cases: int = 8
    before: Model | None = None
    feature_cases: int = 0
    num_processes: int = 1


def report_html(run: Run, request: Request) -> str:
    """One page that loads nothing.

    Raises:
        EvaluationError: predictions or references that cannot be read or do not belong together.
        FileError: a damaged estimate beside the predictions.
    """
    predictions = request.predictions
    found = score_cases(run, predictions, request.num_processes) if predictions else None
    dice = None
    if request.epoch_folders:
        dice = dice_of_epochs(run, request.epoch_folders, predictions.references, request.num_processes)
    cases = cases_section(run, predictions, found) if predictions else Section("Target cases", [Text(NO_PREDICTIONS)])
    estimate = estimate_beside(predictions) if predictions else None
    sections = [
        cases,
        estimate_section(run, predictions, estimate) if estimate else None,
        selection_section(run, dice),
        losses_section(run),
        features_section(run, predictions, request.before, request.feature_cases),
        relations_section(run),
        domains_section(run, request.histogram_cases),
        settings_section(run),
        cost_section(run),
        _origin(run, request),
    ]
    alarms = [*training_alarms(run), *(cases_alarms(run, predictions, found) if predictions else [])]
    worked, wrong = _worked(run, predictions, found, estimate), _wrong(run, alarms, predictions is not None)
    top = [Facts([worked, wrong, _next(found, "bad" in (worked.level, wrong.level)), _adapted(run)])]
    return page_html(f"{run.source} → {run.target}", top, list(filter(None, sections)), contents=True)


def _adapted(run: Run) -> Fact:
    terms = list(run.weights)
    changed = changed_settings(run)
    more = [
        f"{run.plans['plans_name']}, {run.configuration}, {os.path.basename(run.folder)}",
        f"labelled: {', '.join(run.classes)}; {run.key['target']['num_cases']} unlabelled target cases",
        f"terms on the target: {', '.join(terms)}" if terms else "no term reads the target: nothing is adapted",
        f"{len(changed)} settings differ from the preset" if changed else "all settings are the preset's",
    ]
    over = run.settings["training.num_epochs"]
    state = f"{run.epochs} of {over} epochs"
    if not run.finished:
        state += f"; training is not over: this is {run.checkpoint_name}"
    if run.selection and run.selection["selected_epoch"] is not None:
        state += f"; selected without labels: epoch {run.selection['selected_epoch']}"
    return Fact("What was adapted", run.trainer, [*more, state])


def _worked(
    run: Run, predictions: Predictions | None, found: CaseScores | None, estimate: dict[str, Any] | None
) -> Fact:
    question = "Did it work?"
    if found is None or found.scores is None:
        line, level = estimate_sign(estimate) if estimate else ("", "")
        answer = "Not known without target labels" + ("; the estimate says: do not use" if level == "bad" else "")
        return Fact(question, answer, [*([line] if line else []), *_signs(run)], level)
    dice, classes = found.scores["foreground_mean"]["Dice"], found.scores["per_class"]
    worst = min(classes, key=lambda name: np.nan_to_num(classes[name]["Dice"]["mean"], nan=2.0))
    lowest = number(classes[worst]["Dice"]["mean"])
    more = [
        f"{found.scores['num_cases']} target cases; weakest class: {worst}, {lowest}",
        _worst_case(found),
        "oracle: true. Target labels were used for this score; no model may be chosen by it.",
    ]
    if found.before is None:
        more.append("Nothing to compare it with: no predictions before the adaptation were given.")
        return Fact(question, f"Dice {dice:.3f} on the target", more)
    before, name = found.before["foreground_mean"]["Dice"], predictions.names[1]
    differences = np.array(list(mean_dice(found.scores).values())) - np.array(list(mean_dice(found.before).values()))
    better, worse = int((differences > 0).sum()), int((differences < 0).sum())
    more.insert(2, f"better than {name} in {better} of {len(differences)} cases, worse in {worse}")
    level = "good" if dice > before else "bad" if dice < before else ""
    return Fact(question, f"Dice {dice:.3f} on the target, {before:.3f} {name}", more, level)


def _worst_case(found: CaseScores) -> str:
    place, case = next(iter(found.shown.items()))
    value = number(mean_dice(found.scores)[case])
    return f"{place} case: {case}, {value}"


def _next(found: CaseScores | None, bad: bool) -> Fact:
    question = "What next?"
    if found is None:
        return Fact(question, "Predict target images", ["Nothing is known of single cases before."])
    place, case = next(iter(found.shown.items()))
    more = [f"{case} is the {place} case; its pictures are the first below."]
    if found.scores is None:
        more.append("Label a few target cases: only then is it known whether it worked.")
    if bad:
        more.append("What to try: documentation/how-to/when-it-does-not-help.md.")
    return Fact(question, "Find out what is wrong before use" if bad else f"Look at the {place} case", more)


def _signs(run: Run) -> list[str]:
    """What may stand in for an answer."""
    dice = [float(value) for value in run.logged["mean_fg_dice"] if np.isfinite(value)]
    signs = [f"pseudo Dice on the source: {number(dice[-1])}, best {number(max(dice))}"] if dice else []
    if run.selection is None or not run.selection["epochs"]:
        return [*signs, "Label-free scores were not logged."]
    first, last = run.selection["epochs"][0], run.selection["epochs"][-1]
    texts = {
        "entropy": "entropy on the target, nats",
        "agreement": f"agreement of {KINDS[last['agreement_kind']]}",
        "class_prior": "distance of class sizes to the source's, nats",
    }
    for name, text in texts.items():
        if last[name] is not None:
            signs.append(f"{text}: {number(first[name])} → {number(last[name])}")
    return signs


def _wrong(run: Run, alarms: Sequence[str], predicted: bool) -> Fact:
    question = "Is anything wrong?"
    if not alarms:
        looked = {"losses": True, "label-free scores": run.selection, "predicted cases": predicted}
        more = [f"Looked at: {', '.join(name for name, there in looked.items() if there)}."]
        more += [] if run.selection else ["Label-free scores were not logged: nothing watched for a collapse."]
        return Fact(question, "No alarm", more, "good" if run.selection and predicted else "")
    rest = [f"and {len(alarms) - SHOWN_ALARMS} more"] if len(alarms) > SHOWN_ALARMS else []
    counted = "1 alarm" if len(alarms) == 1 else f"{len(alarms)} alarms"
    return Fact(question, counted, [*alarms[:SHOWN_ALARMS], *rest], "bad")


def _origin(run: Run, request: Request) -> Section:
    rows = [["", ""], ["fold folder", run.folder], ["checkpoint", f"{run.checkpoint_name}, after {run.epochs} epochs"]]
    if request.predictions:
        given = request.predictions
        folders = (
            (f"predictions, {given.names[0]}", given.folder),
            (f"predictions, {given.names[1]}", given.before),
            ("reference labels", given.references),
        )
        rows += [[name, os.path.abspath(folder)] for name, folder in folders if folder]
    packages = f"nnuda {nnuda.__version__}, nnunetv2 {version('nnunetv2')}, python {platform.python_version()}"
    rows += [
        ["planned by", run.key["planned_by"]],
        ["report by", packages],
        ["made on", datetime.now().strftime("%Y-%m-%d %H:%M")],
    ]
    return Section("How this page was made", [Table(rows, words=frozenset({1}))])
