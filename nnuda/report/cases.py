"""Predicted target cases: ranked without labels; best, median and worst as pictures; scores where references are."""
from __future__ import annotations

import math
import os
from dataclasses import dataclass, field

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join, load_json
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from nnunetv2.evaluation.evaluate_predictions import region_or_label_to_mask
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from scipy.stats import spearmanr
from tqdm import tqdm

from nnuda.evaluation.compare import case_values
from nnuda.evaluation.evaluate import class_labels, evaluate_folder, find_cases, first_names
from nnuda.evaluation.overlay import Slice, class_colours, crop_to_foreground, draw_panel, read_slice
from nnuda.evaluation.page import Folded, Legend, Picture, Pictures, Section, Table, Text
from nnuda.evaluation.reading import EvaluationError, find_reader, read_labels
from nnuda.evaluation.table import DECIMALS, metric_title, shown_metrics
from nnuda.evaluation.uncertainty import entropy_map, read_probabilities
from nnuda.planning.domains import find_images
from nnuda.planning.errors import PlanningError
from nnuda.report.figures import WIDTH_INCHES, jpeg
from nnuda.report.run import ReportError, Run, number

ENTROPY, SIZES = "entropy", "sizes"
MEANING = {
    ENTROPY: "the mean entropy of the saved probabilities over the voxels predicted as a class, in nats; a case "
             "without any is the worst",
    SIZES: "a fallback, since not every case has saved probabilities (nnUNetv2_predict --save_probabilities): how far "
           "the sizes of the predicted classes lie from their medians over the cases, mean |ln ratio|; a class that is "
           "missing counts as one voxel",
}
SHORT = {ENTROPY: "entropy (nats)", SIZES: "distance of sizes"}
NO_IMAGES = ("The images of these cases are neither where nnUNetv2_predict noted them nor in nnUNet_raw: no pictures. "
             "Name their folder with -i.")
SMALL = 0.1  # of the median size: a class is as good as missing
THIS, BEFORE, REFERENCE = "this run", "before", "reference"


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions that was found complete.

    Attributes:
        folder: with a label file a case.
        cases: their names, sorted.
        before: a folder with predictions of the same cases by another model, or None.
        references: a folder with reference labels of some of the cases, or None.
        images: case -> image files, one a channel; empty where they were not found.
    """

    folder: str
    cases: list[str]
    before: str | None
    references: str | None
    images: dict[str, list[str]]


@dataclass
class CaseScores:
    """What is known of each case.

    Attributes:
        kind: ENTROPY or SIZES.
        values: case -> label-free score, less is better.
        sizes: case -> volume of each class.
        unit: of the volumes.
        scores: of `evaluate_folder`, where there are references.
        before: the same for the folder of predictions before.
    """

    kind: str
    values: dict[str, float]
    sizes: dict[str, list[float]]
    unit: str = "ml"
    scores: dict | None = None
    before: dict | None = None
    ranked: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self.ranked = sorted(self.values, key=lambda case: (self.values[case], case))

    @property
    def shown(self) -> dict[str, str]:
        """best, median and worst, as far as there are so many cases."""
        places = {"best": 0, "median": (len(self.ranked) - 1) // 2, "worst": len(self.ranked) - 1}
        chosen: dict[str, str] = {}
        for name, place in places.items():
            if self.ranked[place] not in chosen.values():
                chosen[name] = self.ranked[place]
        return chosen


def find_predictions(run: Run, folder: str, before: str | None = None, references: str | None = None,
                     images: str | None = None) -> Predictions:
    """Checks the folders before any long work.

    Args:
        run: the run that predicted.
        folder: of predictions.
        before: of predictions by another model.
        references: of reference labels.
        images: of the images that were predicted. Default: those that nnU-Net noted, else the target's in nnUNet_raw.

    Raises:
        EvaluationError: a folder or a case is missing.
        ReportError: no image for a case in the folder that was named.
    """
    ending = run.dataset_json["file_ending"]
    cases = find_cases(folder, ending, "prediction")
    if references is not None:
        missing = find_cases(references, ending, "reference") - cases
        if missing:
            raise EvaluationError(f"Expected a prediction for each reference; {len(missing)} are missing in {folder}: "
                                  f"{first_names(sorted(missing))}. Predict them, or move these references away.")
    if before is not None:
        missing = cases - find_cases(before, ending, "prediction")
        if missing:
            raise EvaluationError(f"Expected the same cases before and after; {before} lacks "
                                  f"{first_names(sorted(missing))}.")
    return Predictions(folder, sorted(cases), before, references, _find_images(run, folder, images, sorted(cases)))


def _find_images(run: Run, folder: str, given: str | None, cases: list[str]) -> dict[str, list[str]]:
    ending = run.dataset_json["file_ending"]
    if given is not None:
        try:
            found = find_images(given, ending)
        except PlanningError as error:
            raise ReportError(str(error)) from error
        missing = [case for case in cases if case not in found]
        if missing:
            raise ReportError(f"Expected an image of each predicted case in {given}; {first_names(missing)} have none.")
        return {case: found[case] for case in cases}
    noted = join(folder, "predict_from_raw_data_args.json")
    places = [load_json(noted).get("list_of_lists_or_source_folder")] if isfile(noted) else []
    if nnUNet_raw.is_set():
        places += [join(nnUNet_raw, run.target, "imagesTs"), join(nnUNet_raw, run.target, "imagesTr")]
    for place in filter(lambda path: isinstance(path, str) and os.path.isdir(path), places):
        try:
            found = find_images(place, ending)
        except PlanningError:
            continue
        if all(case in found for case in cases):
            return {case: found[case] for case in cases}
    return {}


def score_cases(run: Run, predictions: Predictions, num_processes: int) -> CaseScores:
    """Ranks the cases without labels; with references scores them too.

    Raises:
        EvaluationError: files that cannot be read, or that do not belong together.
    """
    ending = run.dataset_json["file_ending"]
    reader = find_reader(run.dataset_json, run.plans, join(predictions.folder, predictions.cases[0] + ending))
    saved = [case for case in predictions.cases if isfile(join(predictions.folder, f"{case}.npz"))]
    kind = ENTROPY if len(saved) == len(predictions.cases) else SIZES
    sizes, voxel, values, unit = {}, {}, {}, ""
    for case in tqdm(predictions.cases, desc="Predicted cases", unit="case"):
        sizes[case], voxel[case], unit = _class_sizes(run, join(predictions.folder, case + ending), reader)
        if kind == ENTROPY:
            values[case] = _entropy(run, predictions.folder, case, reader)
    if kind == SIZES:
        values = _distances(sizes, voxel)
    found = CaseScores(kind, values, sizes, unit)
    if predictions.references is not None:
        found.scores = evaluate(run, predictions.references, predictions.folder, num_processes)
        if predictions.before is not None:
            found.before = evaluate(run, predictions.references, predictions.before, num_processes)
    return found


def evaluate(run: Run, references: str, folder: str, num_processes: int) -> dict:
    """What nnUDA_evaluate finds. Nothing is written."""
    return evaluate_folder(references, folder, run.dataset_json, run.plans, num_processes, progress=True)


def _class_sizes(run: Run, file: str, reader: type[BaseReaderWriter]) -> tuple[list[float], float, str]:
    """Volume of each class, that of one voxel, and their unit."""
    regions, allowed, _ = class_labels(run.dataset_json)
    found = read_labels(file, reader, allowed)
    voxel = math.prod(found.spacing) / 1000 if found.unit == "mm" else 1.0
    counts = [np.count_nonzero(_mask(found.labels, regions[name])) for name in run.classes]
    return [count * voxel for count in counts], voxel, "ml" if found.unit == "mm" else "voxels"


def _mask(labels: np.ndarray, region: int | list[int]) -> np.ndarray:
    return region_or_label_to_mask(labels, region if np.isscalar(region) else tuple(region))


def _entropy(run: Run, folder: str, case: str, reader: type[BaseReaderWriter]) -> float:
    manager = LabelManager(run.dataset_json["labels"], run.dataset_json.get("regions_class_order"))
    probabilities, _ = read_probabilities(folder, case, run.dataset_json["file_ending"], reader, manager)
    foreground = manager.convert_probabilities_to_segmentation(probabilities) > 0
    return float(entropy_map(probabilities, manager.has_regions)[foreground].mean()) if foreground.any() else math.inf


def _distances(sizes: dict[str, list[float]], voxel: dict[str, float]) -> dict[str, float]:
    """Mean |ln ratio| of the sizes to their medians."""
    logarithms = np.log([np.maximum(voxel[case], of_case) for case, of_case in sizes.items()])
    return dict(zip(sizes, np.abs(logarithms - np.median(logarithms, axis=0)).mean(1).tolist()))


def mean_dice(scores: dict) -> dict[str, float]:
    """Case -> mean Dice of its classes."""
    return dict(zip(sorted(scores["per_case"]), case_values(scores, "Dice").tolist()))


def cases_alarms(run: Run, predictions: Predictions, found: CaseScores) -> list[str]:
    """Classes that are missing or nearly so, and predictions of another model."""
    alarms, small, total = [], {}, len(predictions.cases)
    for index, name in enumerate(run.classes):
        sizes = {case: of_case[index] for case, of_case in found.sizes.items()}
        missing = [case for case, size in sizes.items() if size == 0]
        if len(missing) > total / 2:
            alarms.append(f"{name} is not predicted in {len(missing)} of {total} target cases.")
            continue
        cases = tuple(case for case, size in sizes.items() if size < SMALL * np.median(list(sizes.values())))
        small.setdefault(cases, []).append(name)
    alarms += [f"{', '.join(names)}: less than a tenth of the median size in {len(cases)} of {total} target cases, "
               f"{first_names(list(cases), 3)}." for cases, names in small.items() if cases]
    beside = join(predictions.folder, "plans.json")
    if isfile(beside):
        plans = load_json(beside)
        if (plans["dataset_name"], plans["plans_name"]) != (run.plans["dataset_name"], run.plans["plans_name"]):
            alarms.append(f"The predictions were made with the plan {plans['plans_name']} of {plans['dataset_name']}, "
                          "not with this run's.")
    return alarms


def cases_section(run: Run, predictions: Predictions, found: CaseScores) -> Section:
    """Pictures, scores and a table of all cases."""
    dice = mean_dice(found.scores) if found.scores else {}
    blocks: list = _pictures(run, predictions, found, dice) if predictions.images else [Text(NO_IMAGES)]
    blocks.append(Text(f"Best, median and worst by {MEANING[found.kind]}."))
    if found.scores:
        blocks += [_scores_table(found), Text(f"oracle: true. {found.scores['oracle_note']}")]
        blocks += _correlation(found, dice)
    blocks.append(Folded(f"All {len(predictions.cases)} cases", [_cases_table(run, found, dice)]))
    return Section("Target cases", blocks)


def _pictures(run: Run, predictions: Predictions, found: CaseScores, dice: dict[str, float]) -> list:
    regions, allowed, _ = class_labels(run.dataset_json)
    colours = {name: to_hex(colour) for name, colour in class_colours(list(regions)).items()}
    ending = run.dataset_json["file_ending"]
    reader = find_reader(run.dataset_json, run.plans, next(iter(predictions.images.values()))[0])
    views: dict[str, Slice] = {}
    for case in found.shown.values():
        folders = {REFERENCE: predictions.references, THIS: predictions.folder, BEFORE: predictions.before}
        files = {name: join(folder, case + ending) for name, folder in folders.items()
                 if folder is not None and (name != REFERENCE or isfile(join(folder, case + ending)))}
        views[case] = crop_to_foreground(read_slice(predictions.images[case][0], files, reader, allowed))

    def row(solid: str | None, caption: str) -> Pictures:
        drawn = []
        for place, case in found.shown.items():
            dotted = REFERENCE if solid is not None and REFERENCE in views[case].labels else None
            scores = [f"{SHORT[found.kind]} {number(found.values[case])}"]
            scores += [f"Dice {dice[case]:.3f}"] if case in dice else []
            below = "; ".join([f"{place}: {case}", *(scores if solid == THIS else [caption])])
            image = _panel(views[case], regions, colours, solid, dotted)
            drawn.append(Picture(image, f"{case}, {place} case, {caption}", below))
        return Pictures(drawn)

    meaning = "dotted: the reference" if any(REFERENCE in view.labels for view in views.values()) else ""
    blocks: list = [Legend(colours, meaning), row(THIS, "this run")]
    blocks += [row(BEFORE, "before")] if predictions.before else []
    return [*blocks, Folded("The same without outlines", [row(None, "image")])]


def _panel(view: Slice, regions: dict, colours: dict, solid: str | None, dotted: str | None) -> bytes:
    height, width = view.image.shape
    tall = min(1.4, max(0.5, height * view.aspect / width))
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * tall))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_panel(axes, view, regions, colours, solid, dotted)
    axes.set_axis_off()
    figure.set_facecolor("black")
    return jpeg(figure)


def _scores_table(found: CaseScores) -> Table:
    metrics, scores = shown_metrics({"": found.scores}), found.scores
    titles = [metric_title(metric, scores["unit"]) for metric in metrics]
    head = ["", *titles, *(["Dice before"] if found.before else []), "empty predictions"]
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
    pairs = [(found.values[case], value) for case, value in dice.items() if math.isfinite(value + found.values[case])]
    if len(pairs) < 5 or any(len(set(column)) < 2 for column in zip(*pairs)):
        return []
    correlation = spearmanr(*zip(*pairs)).statistic
    return [Text(f"Does the label-free score know the bad cases? Rank correlation with the Dice over {len(pairs)} "
                 f"cases: {correlation:.2f} (-1: it orders them as the Dice does; 0: it knows nothing).")]


def _cases_table(run: Run, found: CaseScores, dice: dict[str, float]) -> Table:
    head = ["case", SHORT[found.kind], *(["Dice"] if dice else []), *(f"{name}, {found.unit}" for name in run.classes)]
    rows = [[case, number(found.values[case]), *([number(dice.get(case))] if dice else []),
             *map(number, found.sizes[case])] for case in found.ranked]
    return Table([head, *rows])


def dice_of_epochs(run: Run, folders: dict[int, str], references: str, num_processes: int) -> dict[int, float]:
    """Mean Dice of the classes of each epoch's predictions, as nnUDA_evaluate finds it. It needs target labels."""
    return {epoch: evaluate(run, references, folder, num_processes)["foreground_mean"]["Dice"]
            for epoch, folder in sorted(folders.items())}
