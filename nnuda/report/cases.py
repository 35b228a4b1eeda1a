"""Predicted target cases on the page: the worst or least certain first as pictures, scores, and what is wrong."""

from __future__ import annotations

import math

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from matplotlib.colors import to_hex
from scipy.stats import spearmanr

from nnuda.evaluation.overlay import Stack, class_colours, crop_to_foreground, read_stack
from nnuda.evaluation.reading import find_reader
from nnuda.evaluation.scores import class_labels, first_names
from nnuda.evaluation.table import DECIMALS, metric_title, shown_metrics
from nnuda.plan_key import read_plans
from nnuda.report.case_scores import DICE, ENTROPY, SIZES, CaseScores, mean_dice
from nnuda.report.page import Folded, Legend, Pictures, Section, Table, Text
from nnuda.report.predictions import BEFORE, THIS, Predictions
from nnuda.report.run import Run, number
from nnuda.report.slices import case_pictures

MEANING = {
    ENTROPY: "the mean entropy of the saved probabilities over the voxels predicted as a class, in nats; a case "
    "without any is the least certain",
    SIZES: "a fallback, since not every case has saved probabilities (nnUNetv2_predict --save_probabilities): how far "
    "the sizes of the predicted classes lie from their medians over the cases, mean |ln ratio|; a class that is "
    "missing counts as one voxel",
    DICE: "the mean Dice of the classes, against the reference labels",
}
SHORT = {ENTROPY: "entropy (nats)", SIZES: "distance of sizes"}
NO_IMAGES = (
    "The images of these cases are neither where nnUNetv2_predict noted them nor in nnUNet_raw: no pictures. "
    "Name their folder with -i."
)
SMALL = 0.1  # of the median size: a class is as good as missing
REFERENCE = "reference"


def cases_alarms(run: Run, predictions: Predictions, found: CaseScores) -> list[str]:
    """Classes that are missing or nearly so, and predictions of another model that are not named as such."""
    alarms, small, total = [], {}, len(predictions.cases)
    for index, name in enumerate(run.classes):
        sizes = {case: of_case[index] for case, of_case in found.sizes.items()}
        missing = [case for case, size in sizes.items() if size == 0]
        if len(missing) > total / 2:
            alarms.append(f"{name} is not predicted in {len(missing)} of {total} target cases.")
            continue
        cases = tuple(case for case, size in sizes.items() if size < SMALL * np.median(list(sizes.values())))
        small.setdefault(cases, []).append(name)
    alarms += [
        f"{', '.join(names)}: less than a tenth of the median size in {len(cases)} of {total} target cases, "
        f"{first_names(list(cases), 3)}."
        for cases, names in small.items()
        if cases
    ]
    beside = join(predictions.folder, "plans.json")
    if isfile(beside) and predictions.names[0] == THIS:
        plans = read_plans(beside, "Move it away to make the report without it.")
        if (plans["dataset_name"], plans["plans_name"]) != (run.plans["dataset_name"], run.plans["plans_name"]):
            alarms.append(
                f"The predictions were made with the plan {plans['plans_name']} of {plans['dataset_name']}, "
                "not with this run's."
            )
    return alarms


def cases_section(run: Run, predictions: Predictions, found: CaseScores) -> Section:
    """Pictures, scores and a table of all cases."""
    dice = mean_dice(found.scores) if found.scores else {}
    blocks: list = _pictures(run, predictions, found, dice) if predictions.images else [Text(NO_IMAGES)]
    names = ", ".join(found.shown)
    blocks.append(Text(f"{names[0].upper()}{names[1:]}: by {MEANING[found.shown_by]}."))
    if found.scores:
        blocks += [_scores_table(found, predictions.names[1]), Text(f"oracle: true. {found.scores['oracle_note']}")]
        blocks += _correlation(found, dice)
    blocks.append(Folded(f"All {len(predictions.cases)} cases", [_cases_table(run, found, dice)]))
    return Section("Target cases", blocks)


def _pictures(run: Run, predictions: Predictions, found: CaseScores, dice: dict[str, float]) -> list:
    regions, allowed, _ = class_labels(run.dataset_json)
    colours = {name: to_hex(colour) for name, colour in class_colours(list(regions)).items()}
    ending = run.dataset_json["file_ending"]
    reader = find_reader(run.dataset_json, run.plans, next(iter(predictions.images.values()))[0])
    stacks: dict[str, Stack] = {}
    for case in found.shown.values():
        folders = {REFERENCE: predictions.references, THIS: predictions.folder, BEFORE: predictions.before}
        files = {
            name: join(folder, case + ending)
            for name, folder in folders.items()
            if folder is not None and (name != REFERENCE or isfile(join(folder, case + ending)))
        }
        stacks[case] = crop_to_foreground(read_stack(predictions.images[case][0], files, reader, allowed))

    def row(solid: str | None, caption: str) -> Pictures:
        """The shown cases side by side, with the outlines of `solid`."""
        drawn = []
        for place, case in found.shown.items():
            dotted = REFERENCE if solid is not None and REFERENCE in stacks[case].labels else None
            scores = [f"{SHORT[found.kind]} {number(found.values[case])}"]
            scores += [f"Dice {dice[case]:.3f}"] if case in dice else []
            below = "; ".join([f"{place}: {case}", caption, *(scores if solid == THIS else [])])
            shows = f"{place} case, {caption}"
            drawn.append(case_pictures(stacks[case], regions, colours, (solid, dotted), case, shows, below))
        return Pictures(drawn)

    meaning = "dotted: the reference" if any(REFERENCE in stack.labels for stack in stacks.values()) else ""
    this, before = predictions.names
    blocks: list = [Legend(colours, meaning), row(THIS, this)]
    blocks += [row(BEFORE, before)] if predictions.before else []
    return [*blocks, Folded("The same without outlines", [row(None, "image")])]


def _scores_table(found: CaseScores, name_before: str) -> Table:
    metrics, scores = shown_metrics({"": found.scores}), found.scores
    titles = [metric_title(metric, scores["unit"]) for metric in metrics]
    head = ["", *titles, *([f"Dice {name_before}"] if found.before else []), "empty predictions"]
    rows = []
    for name, values in scores["per_class"].items():
        cells = [_spread(values[metric], metric) for metric in metrics]
        before = [_spread(found.before["per_class"][name]["Dice"], "Dice")] if found.before else []
        rows.append([name, *cells, *before, str(values["n_empty_prediction"])])
    cells = [_decimals(scores["foreground_mean"][metric], metric) for metric in metrics]
    before = [_decimals(found.before["foreground_mean"]["Dice"], "Dice")] if found.before else []
    rows.append(["mean of classes", *cells, *before, ""])
    return Table([head, *rows], frozenset({len(rows) - 1}))


def _decimals(value: float, metric: str) -> str:
    return "-" if math.isnan(value) else f"{value:.{DECIMALS[metric]}f}"


def _spread(values: dict, metric: str) -> str:
    return f"{_decimals(values['mean'], metric)} ± {_decimals(values['std'], metric)}"


def _correlation(found: CaseScores, dice: dict[str, float]) -> list[Text]:
    pairs = [(found.values[case], value) for case, value in dice.items() if not math.isnan(value + found.values[case])]
    if len(pairs) < 5 or any(len(set(column)) < 2 for column in zip(*pairs)):
        return []
    correlation = spearmanr(*zip(*pairs)).statistic
    return [
        Text(
            f"Does the label-free score know the bad cases? Rank correlation with the Dice over {len(pairs)} "
            f"cases: {correlation:.2f} (-1: it orders them as the Dice does; 0: it knows nothing)."
        )
    ]


def _cases_table(run: Run, found: CaseScores, dice: dict[str, float]) -> Table:
    head = ["case", SHORT[found.kind], *(["Dice"] if dice else []), *(f"{name}, {found.unit}" for name in run.classes)]
    rows = [
        [case, number(found.values[case]), *([number(dice.get(case))] if dice else []), *map(number, found.sizes[case])]
        for case in found.ranked
    ]
    return Table([head, *rows])
