"""A folder of predictions against a folder of reference labels."""

from __future__ import annotations

import csv
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from itertools import product
from typing import Any

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.utilities.label_handling.label_handling import LabelManager

import nnuda
from nnuda.errors import short
from nnuda.evaluation.conventions import DEFINITIONS, SHOWN, Rule, class_rules
from nnuda.evaluation.metrics import METRICS, case_metrics
from nnuda.evaluation.reading import OTHER_LABELS, EvaluationError, check_same_grid, find_reader, read_labels
from nnuda.evaluation.summary import EMPTY_COUNTS, summarize
from nnuda.evaluation.table import spreadsheet_text
from nnuda.files import read_json, replacing, write_json
from nnuda.processes import run_cases

_NUMBER = {"type": ["number", "nan", "null"]}
_SHARE, _DISTANCE = {**_NUMBER, "minimum": 0, "maximum": 1}, {**_NUMBER, "minimum": 0}
_METRICS = {**dict.fromkeys(METRICS, _NUMBER), "Dice": _SHARE, "NSD": _SHARE, "ASSD": _DISTANCE, "HD95": _DISTANCE}
_NUMBERS = {"type": "object", "required": ["Dice"], "properties": _METRICS}
_STATISTICS = {"type": "object", "required": ["mean", "std", "n"], "additionalProperties": _NUMBER}
_CASE = {
    "type": "object",
    "required": ["Dice", "n_reference", "empty"],
    "properties": {
        **_METRICS,
        "n_reference": {"type": "integer", "minimum": 0},
        "empty": {"enum": ["none", *EMPTY_COUNTS.values()]},
    },
}
SCORES_SCHEMA = {
    "type": "object",
    "required": ["per_case", "per_class", "foreground_mean", "labels", "unit"],
    "properties": {
        "per_case": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {"type": "object", "minProperties": 1, "additionalProperties": _CASE},
        },
        "per_class": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["Dice"],
                "properties": dict.fromkeys(METRICS, _STATISTICS),
            },
        },
        "foreground_mean": _NUMBERS,
        "unit": {"type": "string"},
        "shown": {"type": "array", "items": {"enum": list(METRICS)}},
    },
}
SCORES_MARK, TABLE_MARK = b'"oracle_note": ', b"case,class,Dice,"  # how files of ours begin

ORACLE_NOTE = "These scores need labels of the target. They were used for scoring only, not for training or selection."


def label_manager(dataset_json: dict) -> LabelManager:
    """nnU-Net's view of a dataset.json's labels.

    Raises:
        EvaluationError: nnU-Net does not take them.
    """
    try:
        return LabelManager(dataset_json["labels"], dataset_json.get("regions_class_order"))
    except (AssertionError, RuntimeError, ValueError, TypeError) as error:
        raise EvaluationError(
            f"dataset.json, labels: expected what nnU-Net takes; got {short(str(dataset_json['labels']))}: {error}"
        ) from error


def class_labels(dataset_json: dict) -> tuple[dict[str, int | list[int]], list[int], int | None]:
    """What dataset.json says of the labels, checked by nnU-Net's LabelManager.

    Returns:
        name -> label or labels of a region, without background and ignore; every value that a label file may hold; the
        ignore label.

    Raises:
        EvaluationError: nnU-Net does not take these labels.
    """
    manager = label_manager(dataset_json)
    scored = (item for item in dataset_json["labels"].items() if item[0] != "ignore" and item[1] not in (0, [0]))
    ignore = [manager.ignore_label] if manager.has_ignore_label else []
    return dict(scored), sorted({0, *map(int, manager.all_labels), *ignore}), manager.ignore_label


def check_same_classes(expected: dict, dataset_json: dict, folder: str, whose: str, remedy: str) -> None:
    """Stop where predictions are of other classes.

    Args:
        expected, dataset_json: of whose classes they should be, and what lies beside them.
        folder: of the predictions.
        whose: classes these are.
        remedy: what to do.

    Raises:
        EvaluationError: says which.
    """
    should, have = class_labels(expected)[0], class_labels(dataset_json)[0]
    if should != have:
        raise EvaluationError(
            f"Expected predictions with the labels of {whose}: {should}; the dataset.json of {folder} has {have}. {remedy}"
        )


def find_cases(folder: str, file_ending: str, role: str) -> set[str]:
    """Names of the files in a folder, without their ending.

    Raises:
        EvaluationError: no such folder, or no such file in it.
    """
    if not os.path.isdir(folder):
        got = "is a file" if os.path.exists(folder) else "does not exist"
        raise EvaluationError(f"Expected a folder of {role}s; {folder} {got}.")
    names = [name for name in os.listdir(folder) if name.endswith(file_ending) and not name.startswith(".")]
    if not names:
        raise EvaluationError(
            f"Expected {role}s that end with {file_ending}, as dataset.json says, in {folder}; found none."
        )
    return {name[: -len(file_ending)] for name in names}


def first_names(names: list[str], limit: int = 10) -> str:
    """The first names of a list, for a message."""
    return ", ".join(names[:limit]) + (" ..." if len(names) > limit else "")


def evaluate_case(
    case: str,
    reference_folder: str,
    prediction_folder: str,
    file_ending: str,
    reader: type[BaseReaderWriter],
    dataset_json: dict,
    rules: Mapping[str, Rule] | None = None,
    remedy: str = OTHER_LABELS,
) -> tuple[str, dict[str, dict]]:
    """Unit of the distances and `case_metrics` of one case, read from its two files."""
    labels, allowed, ignore_label = class_labels(dataset_json)
    reference, prediction = (
        read_labels(os.path.join(folder, case + file_ending), reader, allowed, remedy)
        for folder in (reference_folder, prediction_folder)
    )
    check_same_grid(case, reference, prediction)
    scores = case_metrics(reference.labels, prediction.labels, reference.spacing, labels, ignore_label, rules)
    return reference.unit, scores


def _single_unit(units: list[str]) -> str:
    if len(set(units)) > 1:
        raise EvaluationError(
            "Expected spacings for all references or for none; some TIFF references have a spacing "
            "file beside them and some have not. Add the missing ones."
        )
    return units[0]


def _versions() -> dict[str, str]:
    packages = {name: version(name) for name in ("nnunetv2", "monai", "scipy", "numpy")}
    return {"nnuda": nnuda.__version__, **packages, "python": platform.python_version()}


def evaluate_folder(
    reference_folder: str,
    prediction_folder: str,
    dataset_json: dict,
    plans: dict | None = None,
    num_processes: int = 1,
    missing_ok: bool = False,
    progress: bool = False,
    preset: str | None = None,
    tolerances: Mapping[str | None, float] | None = None,
    remedy: str = OTHER_LABELS,
) -> dict[str, Any]:
    """Scores every case that has a reference.

    Args:
        reference_folder: label files, one per case.
        prediction_folder: label files of the same names.
        dataset_json: content of the dataset.json: labels, regions, ignore label, file ending.
        plans: content of a plans.json, where it should decide the reader as it does in nnU-Net.
        num_processes: 1 runs in this process.
        missing_ok: leave references without a prediction out, instead of an error.
        progress: show a progress bar.
        preset: a challenge's convention, see `conventions.PRESETS`.
        tolerances: of NSD, see `conventions.class_rules`.
        remedy: what to do about labels that dataset.json does not name.

    Returns:
        The content of the JSON file: "per_case", "per_class", "foreground_mean", "unit", "definitions", "versions", ...

    Raises:
        EvaluationError: nothing to score, missing predictions, unknown labels, or grids that differ.
        WorkerDied: a worker process was killed.
    """
    ending = dataset_json["file_ending"]
    references = find_cases(reference_folder, ending, "reference")
    predictions = find_cases(prediction_folder, ending, "prediction")
    cases, missing = sorted(references & predictions), sorted(references - predictions)
    if not cases or (missing and not missing_ok):
        raise EvaluationError(
            f"Expected a prediction for each of the {len(references)} references; {len(missing)} are "
            f"missing in {prediction_folder}: {first_names(missing)}. "
            "Predict them, or leave them out of the score with --missing-ok."
        )
    labels, _, ignore_label = class_labels(dataset_json)
    rules = class_rules(labels, preset, tolerances)
    reader = find_reader(dataset_json, plans, os.path.join(reference_folder, cases[0] + ending))
    evaluate = partial(
        evaluate_case,
        reference_folder=reference_folder,
        prediction_folder=prediction_folder,
        file_ending=ending,
        reader=reader,
        dataset_json=dataset_json,
        rules=rules,
        remedy=remedy,
    )
    units, scores = zip(
        *run_cases(
            evaluate,
            [(case,) for case in cases],
            num_processes,
            "Scoring",
            progress,
            preload=("nnuda.evaluation.scores", "monai.metrics"),
        )
    )
    per_case = dict(zip(cases, scores))
    return {
        "oracle": True,
        "oracle_note": ORACLE_NOTE,
        "reference_folder": os.path.abspath(reference_folder),
        "prediction_folder": os.path.abspath(prediction_folder),
        "reader": reader.__name__,
        "unit": _single_unit(list(units)),
        "labels": labels,
        "ignore_label": ignore_label,
        "num_cases": len(cases),
        "preset": preset,
        "shown": SHOWN[preset],
        "rules": {name: asdict(rule) for name, rule in rules.items()},
        "missing_predictions": missing,
        "extra_predictions": sorted(predictions - references),
        **summarize(per_case),
        "per_case": per_case,
        "definitions": DEFINITIONS,
        "versions": _versions(),
    }


def _replace(value: Any, old: Any, new: Any) -> Any:
    if isinstance(value, dict):
        return {key: _replace(item, old, new) for key, item in value.items()}
    is_old = value is None if old is None else isinstance(value, float) and math.isnan(value)
    return new if is_old else value


def save_scores(scores: dict, path: str) -> None:
    """Writes scores as JSON, never half a file. NaN becomes null, since JSON has no NaN."""
    write_json(_replace(scores, math.nan, None), os.path.abspath(path))


def load_scores(path: str) -> dict:
    """Reads what `save_scores` wrote; null in the scores becomes NaN again, and so does a metric that a case or class
    lacks. `foreground_mean` has the metrics that were scored.

    Raises:
        FileError: damaged, or no scores of nnUDA_evaluate.
        EvaluationError: not every case has the classes of the summary, or the summary is none of these cases.
    """
    scores = read_json(path, "scores of nnUDA_evaluate", SCORES_SCHEMA, "Score the predictions with nnUDA_evaluate.")
    for case, classes in scores["per_case"].items():
        if classes.keys() != scores["per_class"].keys():
            raise EvaluationError(
                f"{path}: expected the classes {', '.join(scores['per_class'])} in each case; {case} has "
                f"{', '.join(classes)}. Score the predictions with nnUDA_evaluate again."
            )
    unknown, nothing = dict.fromkeys(METRICS), {"mean": None, "std": None, "n": 0}
    scores["per_class"] = {
        name: {**dict.fromkeys(METRICS, nothing), **found} for name, found in scores["per_class"].items()
    }
    scores["per_case"] = {
        case: {name: {**unknown, **found} for name, found in classes.items()}
        for case, classes in scores["per_case"].items()
    }
    scored = ("per_class", "foreground_mean", "per_case")
    scores |= {key: _replace(scores[key], None, math.nan) for key in scored}
    _check_summary(path, scores)
    return scores


def _check_summary(path: str, scores: dict) -> None:
    """Means that were edited, or that are of other cases, would stand in a table as if they were measured."""
    found = summarize(scores["per_case"])
    for name, metric in product(scores["per_class"], METRICS):
        _check_mean(path, f"{name}, {metric}", *(one["per_class"][name][metric]["mean"] for one in (scores, found)))
    for metric in (metric for metric in METRICS if metric in scores["foreground_mean"]):
        _check_mean(path, f"foreground, {metric}", *(one["foreground_mean"][metric] for one in (scores, found)))


def _check_mean(path: str, what: str, said: float, found: float) -> None:
    if not (math.isclose(said, found, rel_tol=1e-6, abs_tol=1e-9) or (math.isnan(said) and math.isnan(found))):
        raise EvaluationError(
            f"{path}: {what}: expected the mean of its cases, {found:.6g}; got {said:.6g}. Score the predictions with "
            "nnUDA_evaluate again."
        )


def save_table(scores: dict, path: str) -> None:
    """Writes the scores per case and class as CSV, never half a file. NaN is an empty field."""
    columns = [*METRICS, "n_reference", "n_prediction", "empty"]
    with (
        replacing(path) as aside,
        open(aside, "w", encoding="utf-8", errors="backslashreplace", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(["case", "class", *columns])
        for case, classes in scores["per_case"].items():
            for name, values in classes.items():
                row = _replace({column: values[column] for column in columns}, math.nan, "")
                writer.writerow([spreadsheet_text(case), spreadsheet_text(name), *row.values()])
