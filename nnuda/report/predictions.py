"""Folders of predicted target cases, found complete before any long work."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_raw

from nnuda.datasets import DatasetError, find_images
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.scores import find_cases, first_names
from nnuda.files import read_json
from nnuda.report.run import ReportError, Run

THIS, BEFORE = "this run", "before"


@dataclass(frozen=True)
class Predictions:
    """A folder of predictions that was found complete.

    Attributes:
        folder: with a label file per case.
        cases: their names, sorted.
        before: a folder with predictions of the same cases by another model, or None.
        references: a folder with reference labels of some of the cases, or None.
        images: case -> image files, one per channel; empty where they were not found.
        names: what the page calls these predictions, and those before.
    """

    folder: str
    cases: list[str]
    before: str | None
    references: str | None
    images: dict[str, list[str]]
    names: tuple[str, str] = (THIS, BEFORE)


def find_predictions(
    run: Run,
    folder: str,
    before: str | None = None,
    references: str | None = None,
    images: str | None = None,
    names: tuple[str, str] = (THIS, BEFORE),
) -> Predictions:
    """Checks the folders before any long work.

    Args:
        run: the run that predicted.
        folder: of predictions.
        before: of predictions by another model.
        references: of reference labels.
        images: of the images that were predicted. Default: those that nnU-Net noted, else the target's in nnUNet_raw.
        names: what the page calls the predictions, and those before.

    Raises:
        EvaluationError: a folder or a case is missing.
        ReportError: no image for a case in the folder that was named, or cases of the source.
    """
    ending = run.dataset_json["file_ending"]
    cases = find_cases(folder, ending, "prediction")
    if references is not None:
        missing = find_cases(references, ending, "reference") - cases
        if missing:
            raise EvaluationError(
                f"Expected a prediction for each reference; {len(missing)} are missing in {folder}: "
                f"{first_names(sorted(missing))}. Predict them, or move these references away."
            )
    if before is not None:
        missing = cases - find_cases(before, ending, "prediction")
        if missing:
            raise EvaluationError(
                f"Expected the same cases before and after; {before} lacks {first_names(sorted(missing))}."
            )
    found = _find_images(run, folder, images, sorted(cases))
    if images is None:
        _check_of_target(run, folder, cases, found)
    return Predictions(folder, sorted(cases), before, references, found, names)


def _find_images(run: Run, folder: str, given: str | None, cases: list[str]) -> dict[str, list[str]]:
    ending = run.dataset_json["file_ending"]
    if given is not None:
        found = find_images(given, ending)
        missing = [case for case in cases if case not in found]
        if missing:
            raise ReportError(f"Expected an image of each predicted case in {given}; {first_names(missing)} have none.")
        return {case: found[case] for case in cases}
    noted = join(folder, "predict_from_raw_data_args.json")
    remedy = "Move it away, and name the images with -i."
    notes = read_json(noted, "nnU-Net's notes on a prediction", remedy=remedy) if isfile(noted) else {}
    for found in _images_in([notes.get("list_of_lists_or_source_folder"), *_raw_folders(run.target)], ending):
        if all(case in found for case in cases):
            return {case: found[case] for case in cases}
    return {}


def _raw_folders(dataset: str) -> list[str]:
    return [join(nnUNet_raw, dataset, name) for name in ("imagesTs", "imagesTr")] if nnUNet_raw.is_set() else []


def _images_in(places: Sequence[str | None], ending: str) -> Iterator[dict[str, list[str]]]:
    """Images of each place that is a folder of them."""
    for place in places:
        if isinstance(place, str) and os.path.isdir(place):
            with suppress(DatasetError):
                yield find_images(place, ending)


def _check_of_target(run: Run, folder: str, cases: set[str], images: Mapping[str, Sequence[str]]) -> None:
    """Cases that are the source's and not the target's would stand on the page as if they were."""
    ending, of_source = run.dataset_json["file_ending"], _raw_folders(run.source)
    places = {os.path.realpath(os.path.dirname(files[0])) for files in images.values()}
    if places - set(map(os.path.realpath, of_source)):
        return
    if any(cases & found.keys() for found in _images_in(_raw_folders(run.target), ending)):
        return
    known = {case for found in _images_in(of_source, ending) for case in found}
    if cases <= known:
        raise ReportError(
            f"--predictions: expected cases of the target {run.target}; {first_names(sorted(cases), 5)} in {folder} are "
            f"cases of the source {run.source}. Name the target's predictions, or the images of these with -i."
        )
