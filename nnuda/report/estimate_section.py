"""Expected Dice of the predictions on the page, where nnUDA_estimate left it beside them: an estimate, no score."""

from __future__ import annotations

import os
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join

from nnuda.evaluation.estimate import DO_NOT_USE, USABLE
from nnuda.report.page import Notes, Section, Table, Text
from nnuda.report.predictions import Predictions
from nnuda.report.run import Run
from nnuda.results import ESTIMATE, read_estimate

COLUMNS = {"soft_dice": "soft Dice", "atc": "ATC", "agreement": "agreement", "dice_on_source": "true, on the source"}


def estimate_beside(predictions: Predictions) -> dict[str, Any] | None:
    """The content of nnuda_estimate.json beside the predictions; None where there is none.

    Raises:
        FileError: it is damaged.
    """
    file = join(predictions.folder, ESTIMATE)
    return read_estimate(file) if isfile(file) else None


def estimate_sign(estimate: dict[str, Any]) -> tuple[str, str]:
    """The estimate in a line, and the level of a page's fact: "bad" for "do not use"."""
    verdict = estimate["verdict"]
    line = f"estimated, not scored: expected Dice {_two(estimate['mean']['value'])} ({_interval(estimate['mean'])}): {verdict}"
    return line, "bad" if verdict == DO_NOT_USE else ""


def estimate_section(run: Run, predictions: Predictions, estimate: dict[str, Any]) -> Section:
    """Expected Dice of each class with its interval, and what is to be thought of it."""
    rows = [["", "expected Dice", "interval", *COLUMNS.values()]]
    marked: set[int] = set()
    for name, values in estimate["per_class"].items():
        bad = _is_bad(values)
        marked |= {len(rows) - 1} if bad else set()
        rows.append(_row(name, values, bad))
    bad = estimate["verdict"] == DO_NOT_USE
    marked |= {len(rows) - 1} if bad else set()
    rows.append(_row("mean of classes", estimate["mean"], bad))
    blocks: list = [
        Text(
            "What Dice the predictions may be expected to have, without any label of the target. This is an estimate, "
            "not a score, and no result to publish. The interval has no stated coverage."
        ),
        Table(rows, frozenset(marked)),
    ]
    items = [*estimate["reasons"], *_stale(run, predictions, estimate), estimate["caution"], *estimate.get("notes", [])]
    return Section("Expected Dice, an estimate without labels", [*blocks, Notes(items)])


def _is_bad(values: dict[str, Any]) -> bool:
    """Whether a class alone leads to "do not use", by the rule of `nnuda.evaluation.estimate.verdict`."""
    source = values.get("dice_on_source")
    return (
        values["value"] is None
        or values["value"] < USABLE
        or values.get("impossible_size", 0) >= 0.5
        or (source is not None and source < USABLE)
    )


def _row(name: str, values: dict[str, Any], bad: bool) -> list[str]:
    expected = f"{DO_NOT_USE}: {_two(values['value'])}" if bad else _two(values["value"])
    return [name, expected, _interval(values), *(_two(values.get(column)) for column in COLUMNS)]


def _interval(values: dict[str, Any]) -> str:
    return f"{_two(values['low'])} to {_two(values['high'])}"


def _two(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _stale(run: Run, predictions: Predictions, estimate: dict[str, Any]) -> list[str]:
    """Where the predictions are no longer those that were estimated."""
    missing = [case for case in predictions.cases if case not in estimate["per_case"]]
    if missing:
        return [f"It is of {len(estimate['per_case'])} cases; {len(missing)} predicted since are not in it."]
    made = os.path.getmtime(join(predictions.folder, ESTIMATE))
    files = (join(predictions.folder, case + run.dataset_json["file_ending"]) for case in predictions.cases)
    newer = sum(os.path.getmtime(file) > made for file in files)
    return [f"{newer} predictions are newer than it: make it again with nnUDA_estimate."] if newer else []
