"""nnU-Net's postprocessing, determined by the source's labels.

nnU-Net keeps only the largest component of a class where that raises the Dice of its cross-validation. On a target
without labels no Dice is known. But a class that the source shows in one piece in every case is one there too: a second
piece is an error, most often another tissue that looks alike to the target's scanner.
"""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, subfiles
from nnunetv2.evaluation.evaluate_predictions import region_or_label_to_mask
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.postprocessing.remove_connected_components import remove_all_but_largest_component_from_segmentation

from nnuda.datasets import Domain, label_files, spread
from nnuda.errors import EvaluationError
from nnuda.evaluation.reading import check_values, find_reader, read_files
from nnuda.evaluation.scores import class_labels
from nnuda.files import check_own_folder, folder_aside, into_place, read_json, write_json
from nnuda.images import read_label
from nnuda.processes import run_cases
from nnuda.results import POSTPROCESSING
from nnuda.selftraining.keeping import MIN_CASES, in_one_piece, largest_share

CASES = 100  # of the source that are looked at, at most
PICKLE = "postprocessing.pkl"
_BESIDE = ("dataset.json", "plans.json")  # predictions, as nnUNetv2_predict leaves them
DOUBTFUL = 0.25  # share of a class that was removed from a case, from which on the largest piece may be the wrong one


@dataclass(frozen=True)
class Shape:
    """How a class or region lies in the source's labels.

    Attributes:
        name: of it.
        label: its value, or a region's values.
        shares: of its voxels that its largest component holds, of each case that shows it.
    """

    name: str
    label: int | tuple[int, ...]
    shares: tuple[float, ...]

    @property
    def in_one_piece(self) -> bool:
        """Whether all but its largest component are errors. Fewer than 5 cases say nothing."""
        return len(self.shares) >= MIN_CASES and in_one_piece(self.shares)


def shapes_of(source: Domain, num_processes: int = 1) -> list[Shape]:
    """The classes, or regions, in the labels of up to 100 source cases."""
    names, files, reader = labels_of(source.dataset_json), label_files(source), source.reader_class()
    allowed = class_labels(source.dataset_json)[1]
    work = [(reader, files[case], list(names.values()), allowed) for case in spread(source.images, CASES)]
    cases = run_cases(_shares, work, num_processes, "Measure the source's labels", preload=(__name__,))
    columns = zip(*cases)
    return [
        Shape(name, label, tuple(share for share in column if share is not None))
        for (name, label), column in zip(names.items(), columns)
    ]


def labels_of(dataset_json: dict) -> dict[str, int | tuple[int, ...]]:
    """Name -> value of each foreground class, or values of each region, as nnU-Net's postprocessing takes them.

    Raises:
        EvaluationError: nnU-Net does not take these labels.
    """
    named, _, _ = class_labels(dataset_json)
    return {name: tuple(label) if isinstance(label, list | tuple) else label for name, label in named.items()}


def _shares(
    reader: type[BaseReaderWriter], file: str, labels: list[int | tuple[int, ...]], allowed: Sequence[int]
) -> list[float | None]:
    """Share of the largest component of each class in a label file; None where it does not show it."""
    segmentation = read_label(reader, file)[0][0]
    check_values(file, segmentation, allowed)
    masks = [region_or_label_to_mask(segmentation, label) for label in labels]
    return [largest_share(mask) if mask.any() else None for mask in masks]


def find_predictions(predictions: str, output: str, ending: str) -> list[str]:
    """Names of the label files in a folder, once it is clear that theirs can be written to another.

    Raises:
        EvaluationError: no label files, or an output folder that is the same or holds what `postprocess` did not write.
        FileError: as `check_own_folder`.
    """
    files = [name for name in subfiles(predictions, suffix=ending, join=False) if not name.startswith(".")]
    if not files:
        raise EvaluationError(f"-i: expected label files (*{ending}) in {predictions}; found none. Predict first.")
    if os.path.realpath(output) == os.path.realpath(predictions):
        raise EvaluationError("-o: expected another folder than -i, whose files stay as they are. Name a new one.")
    check_own_folder(output, "-o", POSTPROCESSING)
    there = os.listdir(output) if isdir(output) else []
    record = read_json(join(output, POSTPROCESSING), "what nnUDA_postprocess writes") if POSTPROCESSING in there else {}
    ours = {*_BESIDE, "summary.json", PICKLE, POSTPROCESSING, *(case + ending for case in record.get("per_case", {}))}
    scores = {name for name in there if name.startswith("nnuda_")}
    others = sorted({*there} - ours - scores)
    if others:
        raise EvaluationError(
            f"-o: {output} is made anew, and it holds {', '.join(others[:3])}, which this command did not write. Move "
            "that away, or name another folder."
        )
    return files


def postprocess(
    predictions: str,
    output: str,
    shapes: Sequence[Shape],
    dataset_json: dict,
    plans: dict | None,
    source: str,
    num_processes: int = 1,
) -> dict[str, Any]:
    """Label files with the largest component alone of each class that is in one piece.

    Args:
        predictions: folder of label files, which stays as it is.
        output: folder for theirs, for what nnUNetv2_apply_postprocessing takes, and for a record.
        shapes: of the source's classes.
        dataset_json, plans: as nnUNetv2_predict leaves them beside predictions; the plan names the reader.
        source: name of the dataset whose labels say so.
        num_processes: worker processes.

    Returns:
        The record: how each class lies in the source, and the voxels that it had and lost in each case.

    Raises:
        EvaluationError: as `find_predictions`, or a damaged label file.
    """
    ending = dataset_json["file_ending"]
    files = find_predictions(predictions, output, ending)
    chosen = [shape for shape in shapes if shape.in_one_piece]
    reader = find_reader(dataset_json, plans, join(predictions, files[0]))
    allowed = class_labels(dataset_json)[1]
    with folder_aside(output) as aside:
        work = [(reader, join(predictions, name), join(aside, name), chosen, allowed) for name in files]
        counted = run_cases(_postprocess_case, work, num_processes, "Postprocess", preload=(__name__,))
        record = {
            "source": source,
            "predictions": os.path.abspath(predictions),
            "classes": {
                shape.name: {
                    "cases": len(shape.shares),
                    "in_one_piece": sum(in_one_piece([share]) for share in shape.shares),
                    "kept": "largest component" if shape.in_one_piece else "all",
                }
                for shape in shapes
            },
            "per_case": {name[: -len(ending)]: voxels for name, voxels in zip(files, counted)},
        }
        kwargs = [{"labels_or_regions": shape.label} for shape in chosen]
        with open(join(aside, PICKLE), "wb") as file:
            pickle.dump(([remove_all_but_largest_component_from_segmentation] * len(chosen), kwargs), file)
        for name in _BESIDE:
            if isfile(join(predictions, name)):
                shutil.copy(join(predictions, name), aside)
        write_json(record, join(aside, POSTPROCESSING))
        if isdir(output):
            shutil.rmtree(output)
        into_place(aside, output)
    return record


def _postprocess_case(
    reader: type[BaseReaderWriter], file: str, output: str, shapes: Sequence[Shape], allowed: Sequence[int]
) -> dict[str, dict[str, int]]:
    """Write a case; of each class the voxels that it had, and that it lost."""
    labels, properties = read_files(lambda: reader().read_seg(file), [file], "a label file")
    segmentation, counted = labels[0], {}
    check_values(file, segmentation, allowed)
    for shape in shapes:
        before = region_or_label_to_mask(segmentation, shape.label)
        segmentation = remove_all_but_largest_component_from_segmentation(segmentation, shape.label)
        lost = int(before.sum() - region_or_label_to_mask(segmentation, shape.label).sum())
        counted[shape.name] = {"voxels": int(before.sum()), "removed": lost}
    reader().write_seg(np.asarray(segmentation), output, properties)
    return counted


def doubtful(record: dict[str, Any]) -> list[tuple[str, str, float]]:
    """Case, class and share, where a quarter or more of a class was removed, most first."""
    found = [
        (case, name, voxels["removed"] / voxels["voxels"])
        for case, classes in record["per_case"].items()
        for name, voxels in classes.items()
        if voxels["voxels"] and voxels["removed"] >= DOUBTFUL * voxels["voxels"]
    ]
    return sorted(found, key=lambda entry: -entry[2])
