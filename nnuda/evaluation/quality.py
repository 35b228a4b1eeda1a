"""The estimate of a folder of predictions, calibrated by the validation on the source."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization
from nnunetv2.preprocessing.normalization.map_channel_name_to_normalization import get_normalization_scheme
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from tqdm import tqdm

import nnuda
from nnuda.case_files import read_splits
from nnuda.datasets import spread
from nnuda.evaluation.entropy_maps import entropy_map, read_probabilities
from nnuda.evaluation.estimate import (
    BINS,
    Estimate,
    SourceSizes,
    Thresholds,
    atc_dice,
    combine,
    cooled,
    dice,
    fit_temperature,
    fit_thresholds,
    mean_estimate,
    score_histograms,
    soft_dice,
    verdict,
)
from nnuda.evaluation.reading import EvaluationError, check_same_grid, check_values, find_reader, read_labels
from nnuda.evaluation.scores import check_same_classes, class_labels, find_cases, first_names
from nnuda.images import read_label
from nnuda.labels import PSEUDO_LABELS, PSEUDO_LABELS_ONLY, foreground_names
from nnuda.plan_key import KEY, read_plans
from nnuda.results import AS_LEFT, PLANS, read_dataset_json

SOURCE_CASES = 20  # that calibrate
SAMPLED_VOXELS = 20_000  # of each, for the temperature
MARK = b'"verdict": '  # how a JSON file of ours begins
ESTIMATORS = ("soft_dice", "atc", "agreement")
UNSHIFTED = (
    "It learnt without strong augmentation and is calibrated on source images as they are: where the domains differ, the "
    "estimate is too high."
)
TWO_MODALITIES = (
    "one domain is CT and the other is not, where confidence on shifted source images says little: on two such pairs the "
    "estimate was 0.2 and 0.4 too high"
)
CAUTION = (
    "An estimate, not a score: no label of the target was used. All estimators believe the network in one way or "
    "another; where it is wrong and certain of it (confident collapse), they are too high."
)


@dataclass(frozen=True)
class Model:
    """What is needed to read the predictions of a model.

    Attributes:
        dataset_json: the source's.
        plans: the model's plans.json, which names the reader.
    """

    dataset_json: dict
    plans: dict

    @property
    def manager(self) -> LabelManager:
        return LabelManager(self.dataset_json["labels"], self.dataset_json.get("regions_class_order"))

    @property
    def classes(self) -> list[str]:
        return foreground_names(self.dataset_json)

    @property
    def ending(self) -> str:
        return self.dataset_json["file_ending"]

    @property
    def learnt_pseudo_labels_only(self) -> bool:
        """Whether the labels that it was trained and validated with are predictions, all of them."""
        return bool(self.dataset_json.get(PSEUDO_LABELS_ONLY))

    @property
    def learnt_pseudo_labels(self) -> bool:
        """Whether some of the labels that it was trained with are predictions."""
        return self.learnt_pseudo_labels_only or PSEUDO_LABELS in self.dataset_json

    @property
    def learnt_strong(self) -> bool:
        """Whether it learnt under strong augmentation; another network fails under it as it never does on a target."""
        return self.plans.get(KEY, {}).get("effective_settings", {}).get("training.augmentation") == "strong"

    @property
    def is_ct(self) -> list[bool]:
        """Of each channel of the source."""
        return is_ct(self.dataset_json.get("channel_names") or self.dataset_json.get("modality") or {})

    def can_calibrate(self, case: str) -> bool:
        """Whether a person drew a case's labels; where nobody drew any, every case."""
        prefix = self.dataset_json.get(PSEUDO_LABELS)
        return prefix is None or self.learnt_pseudo_labels_only or not case.startswith(prefix)

    def masks(self, file: str, reader: type[BaseReaderWriter], voxels: int) -> np.ndarray:
        """bool (K, V) of a label file.

        Raises:
            EvaluationError: damaged, with other labels, or with another number of voxels.
        """
        labels = self.labels(file, reader)
        if labels.size != voxels:
            raise EvaluationError(
                f"{file}: expected {voxels} voxels, as the prediction of this case has; got {labels.size}."
            )
        return masks_of(labels, self.manager)

    def labels(self, file: str, reader: type[BaseReaderWriter]) -> np.ndarray:
        """A label file, flat."""
        labels = read_label(reader, file)[0].ravel()
        check_values(file, labels, class_labels(self.dataset_json)[1])
        return labels

    def reader(self, example: str) -> type[BaseReaderWriter]:
        return find_reader(self.dataset_json, self.plans, example)


def is_ct(channel_names: Mapping[str, str]) -> list[bool]:
    """Whether nnU-Net takes each channel for CT, by its name."""
    return [get_normalization_scheme(name) is CTNormalization for name in channel_names.values()]


def doubts_of(
    model: Model, on_trained_cases: bool, unshifted: str = "", target_channels: Mapping[str, str] | None = None
) -> list[str]:
    """Why an estimate cannot be called plausible, whatever comes out.

    Args:
        model: that predicted.
        on_trained_cases: whether it is calibrated on cases that the model was trained on.
        unshifted: why it is calibrated on source images as they are; empty where they are shifted.
        target_channels: the target's channel names. Default: those that the model's plan has of it, if any.
    """
    if target_channels is None:
        target_channels = model.plans.get(KEY, {}).get("target", {}).get("channel_names", {})
    doubts = [TWO_MODALITIES] if target_channels and model.is_ct != is_ct(target_channels) else []
    if on_trained_cases:
        doubts.append(
            "it is calibrated on cases that it was trained on, as fold all is, so that the estimate may be too high"
        )
    if unshifted:
        doubts.append(f"it is calibrated on source images as they are, {unshifted}, so that the estimate is too high")
    if model.learnt_pseudo_labels_only:
        doubts.append(
            "the labels that it is calibrated with are predictions of the model that the training began from: it says how "
            "far the two agree, not how far they are right"
        )
    elif model.learnt_pseudo_labels:
        doubts.append("it learnt predictions of the target as labels, and is sure of the errors in them too")
    return doubts


def read_model(folder: str) -> Model:
    """The model of a results folder.

    Raises:
        FileError: its dataset.json or plans.json is not there, or damaged.
    """
    dataset_json, plans = (os.path.join(folder, name) for name in ("dataset.json", PLANS))
    return Model(read_dataset_json(dataset_json, AS_LEFT), read_plans(plans, AS_LEFT))


def held_out(folder: str, fold: str) -> set[str]:
    """Cases of the source that a training did not learn from.

    Args:
        folder: results folder.
        fold: its fold, a number or "all".

    Returns:
        The cases of its validation; where it was stopped before that, those of its fold in nnU-Net's splits_final.json;
        without those that this fold trains on too, of which nnU-Net warns. Empty for fold all, which learns from every
        case, and where nothing tells.

    Raises:
        FileError: a file of the model or the splits is damaged.
    """
    if fold == "all":
        return set()
    model = read_model(folder)
    validation = os.path.join(folder, f"fold_{fold}", "validation")
    names = os.listdir(validation) if os.path.isdir(validation) else []
    validated = {name.removesuffix(model.ending) for name in names if name.endswith(model.ending)}
    preprocessed = os.environ.get("nnUNet_preprocessed", "")
    splits = os.path.join(preprocessed, model.plans["dataset_name"], "splits_final.json")
    folds = read_splits(splits) if preprocessed and os.path.isfile(splits) else []
    split = folds[int(fold)] if int(fold) < len(folds) else {"train": [], "val": []}
    return (validated or set(split["val"])) - (set(split["train"]) & set(split["val"]))


@dataclass(frozen=True)
class Case:
    """A predicted case, flat.

    Attributes:
        p: (C, V) or (R, V), probabilities of all channels.
        predicted: bool (K, V).
        voxel: size of a voxel, mm^3.
    """

    p: np.ndarray
    predicted: np.ndarray
    voxel: float


@dataclass(frozen=True)
class Calibration:
    """What labelled source cases say.

    Attributes:
        cases: that it is from.
        shifted: whether their images were shifted for temperature, thresholds and margin; sizes and Dice are of the
            images as they are.
        temperature: of the probabilities.
        thresholds, sizes: of each class.
        margin: mean absolute error of each class's estimate on these cases, without an agreement.
        dice: true mean Dice of each class on them.
    """

    cases: list[str]
    shifted: bool
    temperature: float
    thresholds: list[Thresholds]
    sizes: list[SourceSizes]
    margin: list[float]
    dice: list[float]


# ---- reading --------------------------------------------------------------------------------------------------------


def masks_of(labels: np.ndarray, manager: LabelManager) -> np.ndarray:
    """bool (K, V) of a label map."""
    values = manager.foreground_regions if manager.has_regions else manager.foreground_labels
    return np.stack([np.isin(labels, np.atleast_1d(value)).ravel() for value in values])


def read_prediction(folders: Sequence[str], case: str, model: Model, reader: type[BaseReaderWriter]) -> Case:
    """A case's saved probabilities; of several folders their mean, as nnUNetv2_ensemble takes it."""
    total: np.ndarray | None = None
    for folder in folders:
        p, properties = read_probabilities(folder, case, model.ending, reader, model.manager)
        if total is not None and p.shape != total.shape:
            raise EvaluationError(f"Case {case}: its predictions in {folders[0]} and {folder} differ in shape.")
        total = p if total is None else total + p
    p = total / len(folders)
    labels = model.manager.convert_probabilities_to_segmentation(p)
    voxel = float(np.prod(properties["spacing"]))
    return Case(p.reshape(len(p), -1), masks_of(np.asarray(labels), model.manager), voxel)


def _foreground(p: np.ndarray, model: Model) -> np.ndarray:
    return p if model.manager.has_regions else p[1:]


def _with_probabilities(folder: str, model: Model, what: str, remedy: str) -> list[str]:
    cases = find_cases(folder, model.ending, "prediction")
    found = sorted(case for case in cases if os.path.isfile(os.path.join(folder, f"{case}.npz")))
    if len(found) < len(cases):
        raise EvaluationError(
            f"Expected probabilities (case.npz) beside each {what} in {folder}; {len(cases) - len(found)} of "
            f"{len(cases)} have none, such as {first_names(sorted(cases - set(found)), 3)}. {remedy}"
        )
    return found


# ---- calibration ----------------------------------------------------------------------------------------------------


def check_predictions(folder: str, others: Sequence[str], model: Model, references: str | None = None) -> list[str]:
    """What can be known of predictions before any long work.

    Args:
        folder: of predictions with probabilities.
        others: folders of predictions of the same cases.
        model: that predicted.
        references: labels of some of the cases; None without.

    Returns:
        The cases.

    Raises:
        EvaluationError: probabilities or cases are missing, classes are others, or the references lie on another grid.
    """
    cases = _with_probabilities(folder, model, "prediction", "Predict with nnUNetv2_predict --save_probabilities.")
    for there in (folder, *others):
        file = os.path.join(there, "dataset.json")
        if os.path.isfile(file):
            mended = "Give predictions of this model, and of others with its classes."
            check_same_classes(model.dataset_json, read_dataset_json(file), there, "the model", mended)
        missing = sorted(set(cases) - find_cases(there, model.ending, "prediction"))
        if missing:
            raise EvaluationError(f"Expected the same cases in {there}; missing: {first_names(missing)}.")
    if references is None:
        return cases
    known = [case for case in cases if os.path.isfile(os.path.join(references, case + model.ending))]
    if not known:
        raise EvaluationError(
            f"Expected labels of predicted cases in {references}, such as {cases[0]}{model.ending}; it has none."
        )
    reader, allowed = model.reader(os.path.join(folder, cases[0] + model.ending)), class_labels(model.dataset_json)[1]
    for case in known:
        files = (os.path.join(there, case + model.ending) for there in (references, folder))
        check_same_grid(case, *(read_labels(file, reader, allowed) for file in files))
    return cases


def calibrate(
    folder: str,
    references: str,
    model: Model,
    remedy: str,
    progress: bool = False,
    shifted: Mapping[str, str] | None = None,
) -> Calibration:
    """Temperature, thresholds, sizes and errors on the source's validation cases.

    Args:
        folder: of their predictions with probabilities, as nnUNetv2_train --npz leaves them in fold_x/validation.
        references: folder of their labels.
        model: that predicted.
        remedy: how to make missing probabilities.
        progress: show a bar.
        shifted: case -> folder of the prediction of its shifted image. Default: those in `folder` take their place.

    Raises:
        EvaluationError: predictions, probabilities or labels are missing.
    """
    found = _with_probabilities(folder, model, "validation case of the source", remedy)
    cases = [case for case in found if model.can_calibrate(case)]
    labels = {case: os.path.join(references, case + model.ending) for case in cases}
    of_shifted = {case: [there] for case, there in (shifted or {}).items() if case in labels}
    return calibrate_on({case: [folder] for case in cases}, labels, model, of_shifted, progress)


def calibrate_on(
    predictions: Mapping[str, Sequence[str]],
    references: Mapping[str, str],
    model: Model,
    shifted: Mapping[str, Sequence[str]] | None = None,
    progress: bool = False,
) -> Calibration:
    """The same for predictions in several folders: validations of several folds, or members of an ensemble.

    Args:
        predictions: case -> folders whose probabilities of it are averaged.
        references: case -> file of its labels.
        shifted: likewise of shifted images, of some of these cases; without any, those in `predictions` take their place.
        model, progress: as of `calibrate`.
    """
    calibrating = shifted or predictions
    cases = spread(list(calibrating), SOURCE_CASES)
    missing = [references[case] for case in cases if not os.path.isfile(references[case])]
    if missing:
        raise EvaluationError(f"Expected labels of the source's cases; missing: {first_names(missing, 3)}.")
    reader = model.reader(os.path.join(predictions[cases[0]][0], cases[0] + model.ending))

    def read(folders: Sequence[str], case: str) -> tuple[Case, np.ndarray]:
        found = read_prediction(folders, case, model, reader)
        labels = model.labels(references[case], reader)
        if len(labels) != found.p.shape[1]:
            raise EvaluationError(f"Case {case}: its prediction in {folders[0]} and its labels differ in shape.")
        kept = labels != model.manager.ignore_label if model.manager.has_ignore_label else slice(None)
        return Case(found.p[:, kept], found.predicted[:, kept], found.voxel), masks_of(labels[kept], model.manager)

    def bar(of: Sequence[str], what: str) -> tqdm:
        return tqdm(of, desc=what, unit="case", disable=not progress)

    gathered = _Gathered(len(model.classes))
    for case in bar(cases, "Calibration on the source"):
        gathered.add(*read(calibrating[case], case), model)
    temperature, thresholds = gathered.fit(model)
    errors, true, sizes = [], [], []
    for case in bar(cases, "Error on the source"):
        found, truth = read(calibrating[case], case)
        estimated = [
            np.nanmean(pair) if np.isfinite(pair).any() else math.nan
            for pair in zip(*_confidence(found, model, temperature, thresholds))
        ]
        errors.append([abs(e - dice(a, b)) for e, a, b in zip(estimated, found.predicted, truth)])
        as_it_is = read(predictions[case], case)[0] if shifted else found
        true.append([dice(a, b) for a, b in zip(as_it_is.predicted, truth)])
        sizes.append(truth.sum(1) * found.voxel)
    means = [_mean(column) for column in np.array(errors).T], [_mean(column) for column in np.array(true).T]
    return Calibration(cases, bool(shifted), temperature, thresholds, source_sizes(sizes), *means)


def source_sizes(sizes: Sequence[np.ndarray]) -> list[SourceSizes]:
    """Of each class: the share of the cases that have it, its smallest and its largest size.

    Args:
        sizes: of each case, (K,), in mm^3.
    """
    found = []
    for of_class in np.array(sizes).T:
        there = of_class[of_class > 0]
        extremes = (float(there.min()), float(there.max())) if there.size else (0.0, 0.0)
        found.append(SourceSizes(len(there) / len(of_class), *extremes))
    return found


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


class _Gathered:
    """Sums over the source's cases."""

    def __init__(self, classes: int) -> None:
        self.inside, self.outside = np.zeros((2, classes, BINS), dtype=np.int64)
        self.wrong, self.missed = np.zeros((2, classes))
        self.sample: list[tuple[np.ndarray, np.ndarray]] = []

    def add(self, case: Case, truth: np.ndarray, model: Model) -> None:
        inside, outside = score_histograms(_foreground(case.p, model), case.predicted)
        self.inside += inside
        self.outside += outside
        self.wrong += (case.predicted & ~truth).sum(1)
        self.missed += (truth & ~case.predicted).sum(1)
        step = max(1, truth.shape[1] // SAMPLED_VOXELS)
        whole = truth if model.manager.has_regions else np.concatenate((~truth.any(0, keepdims=True), truth))
        self.sample.append((case.p[:, ::step], whole[:, ::step]))

    def fit(self, model: Model) -> tuple[float, list[Thresholds]]:
        p, truth = (np.concatenate(parts, 1) for parts in zip(*self.sample))
        counts = zip(self.inside, self.outside, self.wrong, self.missed)
        return fit_temperature(p, truth, model.manager.has_regions), [fit_thresholds(*of_class) for of_class in counts]


def _confidence(
    case: Case, model: Model, temperature: float, thresholds: Sequence[Thresholds]
) -> tuple[np.ndarray, list[float]]:
    """Soft Dice and ATC of each class."""
    soft = soft_dice(_foreground(cooled(case.p, temperature, model.manager.has_regions), model), case.predicted)
    histograms = zip(*score_histograms(_foreground(case.p, model), case.predicted))
    return soft, [atc_dice(*pair, of_class) for pair, of_class in zip(histograms, thresholds)]


# ---- the target -----------------------------------------------------------------------------------------------------


def estimate_folder(
    folder: str,
    second: Sequence[str],
    model: Model,
    calibration: Calibration,
    references: str | None = None,
    progress: bool = False,
    independent: bool = True,
    among: bool = False,
    more: Sequence[str] = (),
    doubts: Sequence[str] = (),
) -> dict[str, Any]:
    """The content of nnuda_estimate.json.

    Args:
        folder: of predictions of the target, with probabilities.
        second: folders of predictions of the same cases by other trainings, folds or epochs; may be empty.
        model: that predicted.
        calibration: from the source.
        references: labels of the target, for measuring the estimate; None without.
        progress: show a bar.
        independent: whether `second` are of other trainings or folds, not of other epochs.
        among: `second` are compared with each other, not with `folder`, which is their ensemble.
        more: folders of the other members of an ensemble, whose probabilities are averaged with those of `folder`.
        doubts: why it cannot be called plausible, whatever comes out.

    Raises:
        EvaluationError: predictions or probabilities are missing.
    """
    cases = check_predictions(folder, [*second, *more], model)
    reader = model.reader(os.path.join(folder, cases[0] + model.ending))

    per_case = {}
    for case in tqdm(cases, desc="Estimate", unit="case", disable=not progress):
        found = read_prediction([folder, *more], case, model, reader)
        voxels, name = found.p.shape[1], case + model.ending
        others = [model.masks(os.path.join(other, name), reader, voxels) for other in second]
        known = references and os.path.isfile(os.path.join(references, name))
        truth = model.masks(os.path.join(references, name), reader, voxels) if known else None
        compared = list(combinations(others, 2)) if among else [(found.predicted, other) for other in others]
        per_case[case] = _estimate_case(found, compared, independent, truth, model, calibration)
    return _summary(per_case, folder, second, model, calibration, doubts) | {"independent": independent}


def _estimate_case(
    case: Case,
    compared: Sequence[tuple[np.ndarray, np.ndarray]],
    independent: bool,
    truth: np.ndarray | None,
    model: Model,
    calibration: Calibration,
) -> dict[str, Any]:
    soft, atc = _confidence(case, model, calibration.temperature, calibration.thresholds)
    classes = {}
    for k, name in enumerate(model.classes):
        agreement = [dice(one[k], other[k]) for one, other in compared]
        values = float(soft[k]), atc[k], _mean(np.array(agreement))
        size = int(case.predicted[k].sum()) * case.voxel
        complaint = calibration.sizes[k].complaint(size)
        margin = calibration.margin[k] if math.isfinite(calibration.margin[k]) else 0.0
        combined = combine(values[:2], values[2], independent, margin, complaint)
        classes[name] = {**asdict(combined), **dict(zip(ESTIMATORS, values)), "size": size, "complaint": complaint}
        if truth is not None:
            classes[name]["true_dice"] = dice(case.predicted[k], truth[k])
    return {"classes": classes, "entropy": _entropy(case, model)}


def _entropy(case: Case, model: Model) -> float | None:
    """Mean over the voxels predicted as a class, in nats."""
    inside = case.predicted.any(0)
    values = entropy_map(case.p[:, inside], model.manager.has_regions) if inside.any() else None
    return None if values is None else float(values.mean())


def _summary(
    per_case: dict[str, dict],
    folder: str,
    second: Sequence[str],
    model: Model,
    calibration: Calibration,
    doubts: Sequence[str],
) -> dict[str, Any]:
    of_class: dict[str, list[dict]] = {
        name: [case["classes"][name] for case in per_case.values()] for name in model.classes
    }
    means = {name: mean_estimate([_estimate(row) for row in rows]) for name, rows in of_class.items()}
    complaints = {name: sum(bool(row["complaint"]) for row in rows) / len(rows) for name, rows in of_class.items()}
    word, reasons = verdict(means, complaints, dict(zip(model.classes, calibration.dice)), doubts)
    per_class = {
        name: {
            **asdict(means[name]),
            **{one: _mean(np.array([row[one] for row in rows], dtype=float)) for one in ESTIMATORS},
            "impossible_size": complaints[name],
            "dice_on_source": calibration.dice[k],
        }
        for k, (name, rows) in enumerate(of_class.items())
    }
    columns = (*ESTIMATORS, "dice_on_source")
    mean = asdict(mean_estimate(list(means.values())))
    mean |= {column: _mean(np.array([row[column] for row in per_class.values()])) for column in columns}
    result = {
        "verdict": word,
        "reasons": reasons,
        "caution": CAUTION,
        "mean": mean,
        "per_class": per_class,
        "per_case": per_case,
        "calibration": asdict(calibration),
        "predictions": os.path.abspath(folder),
        "second": [os.path.abspath(other) for other in second],
        "version": f"nnuda {nnuda.__version__}",
    }
    rows = [row for rows in of_class.values() for row in rows if "true_dice" in row]
    if rows:
        result |= {"oracle": True, "measured": measure(rows)}
    return without_nan(result)


def _estimate(row: dict[str, Any]) -> Estimate:
    return Estimate(row["value"], row["low"], row["high"])


def measure(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What the estimates were worth, with labels: bias and mean absolute error of each estimator and of their mean, and
    the share of the true values within the interval. Of cases and classes that have both.

    Args:
        rows: of cases and classes, with "true_dice".
    """
    true = np.array([row["true_dice"] for row in rows])
    result: dict[str, Any] = {"values": int(np.isfinite(true).sum()), "true_dice": _mean(true)}
    for name in ("value", *ESTIMATORS):
        error = np.array([row[name] for row in rows], dtype=float) - true
        result[name] = {"bias": _mean(error), "mean_absolute_error": _mean(np.abs(error))}
    within = [
        row["low"] <= row["true_dice"] <= row["high"] for row in rows if math.isfinite(row["true_dice"] + row["value"])
    ]
    return result | {"within_interval": sum(within) / len(within) if within else math.nan}


def without_nan(content: Any) -> Any:
    """JSON has no NaN: null."""
    if isinstance(content, dict):
        return {key: without_nan(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_nan(value) for value in content]
    return None if isinstance(content, float) and not math.isfinite(content) else content
