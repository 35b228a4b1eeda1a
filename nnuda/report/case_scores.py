"""Scores of predicted target cases: without labels for all, with labels where references are."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.evaluation.evaluate_predictions import region_or_label_to_mask
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from tqdm import tqdm

from nnuda.evaluation.comparison import case_values
from nnuda.evaluation.entropy_maps import entropy_map, read_probabilities
from nnuda.evaluation.reading import find_reader, read_labels
from nnuda.evaluation.scores import class_labels, evaluate_folder, label_manager
from nnuda.report.predictions import Predictions
from nnuda.report.run import Run

ENTROPY, SIZES, DICE = "entropy", "sizes", "Dice"
# what the last, the middle and the first case are called: without labels nobody knows which is the worst
PLACES = {
    ENTROPY: ("least certain", "median", "most certain"),
    SIZES: ("least usual", "median", "most usual"),
    DICE: ("worst", "median", "best"),
}


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
    def shown_by(self) -> str:
        """What the cases that are shown are chosen by: DICE where there are references, else the kind."""
        return DICE if self.scores else self.kind

    @property
    def shown(self) -> dict[str, str]:
        """Name of a place -> its case, the worst one first, as far as there are so many cases."""
        dice = mean_dice(self.scores) if self.scores else {}
        ranked = sorted(dice, key=lambda case: (-dice[case], case)) or self.ranked
        last, middle, first = PLACES[self.shown_by]
        chosen = {last: ranked[-1], middle: ranked[(len(ranked) - 1) // 2], first: ranked[0]}
        if len(ranked) < 3:
            del chosen[middle]
        if len(ranked) < 2:
            del chosen[first]
        return chosen


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
    manager = label_manager(run.dataset_json)
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


def dice_of_epochs(run: Run, folders: dict[int, str], references: str, num_processes: int) -> dict[int, float]:
    """Mean Dice of the classes of each epoch's predictions, as nnUDA_evaluate finds it. It needs target labels."""
    return {
        epoch: evaluate(run, references, folder, num_processes)["foreground_mean"]["Dice"]
        for epoch, folder in sorted(folders.items())
    }
