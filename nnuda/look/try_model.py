"""A trained nnU-Net on a few target cases, as it is deployed, calibrated on a few of its source's validation cases."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from batchgenerators.utilities.file_and_folder_operations import join

from nnuda.commands import run_logged
from nnuda.datasets import Domain, label_files, spread
from nnuda.errors import LookError
from nnuda.evaluation.quality import UNSHIFTED, calibrate, doubts_of, estimate_folder, held_out, read_model
from nnuda.evaluation.shifted_source import predict_shifted
from nnuda.predictor import load_predictor
from nnuda.results import PLANS, find_checkpoint, find_fold, folds_in, plans_of_source

SOURCE_CASES = 5


@dataclass(frozen=True)
class Tried:
    """A results folder, the fold to try and the name of its checkpoint."""

    folder: str
    fold: str
    checkpoint: str


def find_model(folder: str, fold: str | None, source: Domain) -> Tried:
    """Check a model before any work.

    Args:
        folder: results folder <trainer>__<plans>__<configuration>.
        fold: its fold; None: the first.
        source: that it was trained on.

    Raises:
        LookError, ResultsError: it is none, or was trained on other classes.
    """
    folder = os.path.abspath(folder)
    found = find_fold(folder, fold or next(iter(folds_in(folder)), "0"), "--model")
    checkpoint = os.path.basename(find_checkpoint(found, option="--model"))
    trained = read_model(folder).dataset_json
    if trained["labels"] != source.dataset_json["labels"]:
        raise LookError(
            f"Expected a model with the source's labels {source.dataset_json['labels']}; {folder} has {trained['labels']}."
        )
    return Tried(folder, os.path.basename(found).removeprefix("fold_"), checkpoint)


def try_model(tried: Tried, source: Domain, target: Domain, cases: int, device: str, work: Path) -> dict[str, Any]:
    """The estimate of `nnuda.evaluation.quality` for a few target cases.

    Args:
        tried: the model.
        source, target: the domains.
        cases: of the target.
        device: to predict on.
        work: an empty folder.
    """
    unseen = sorted(held_out(tried.folder, tried.fold) & source.images.keys())
    calibrating = spread(unseen or list(source.images), SOURCE_CASES)
    _link(source, calibrating, work / "source")
    _link(target, spread(list(target.images), cases), work / "target")
    as_source = _model_of_source(tried, work / "model")
    _predict(as_source, tried, work / "source", work / "source_predictions", device)
    _predict(tried.folder, tried, work / "target", work / "target_predictions", device)
    second = []
    for fold in folds_in(tried.folder):
        if fold != tried.fold and os.path.isfile(join(tried.folder, f"fold_{fold}", tried.checkpoint)):
            other = Tried(tried.folder, fold, tried.checkpoint)
            _predict(tried.folder, other, work / "target", work / "second_predictions", device)
            second = [str(work / "second_predictions")]
            break
    model, shifted = read_model(tried.folder), None
    if model.learnt_strong:
        shifted = _predict_shifted(as_source, tried, source, calibrating, device, work / "source_shifted")
    calibration = calibrate(str(work / "source_predictions"), _labels(source, work), model, "", shifted=shifted)
    doubts = doubts_of(model, not unseen, target_channels=target.channel_names)
    result = estimate_folder(str(work / "target_predictions"), second, model, calibration, doubts=doubts)
    result["notes"] = [] if shifted else [UNSHIFTED]
    return result


def _labels(source: Domain, work: Path) -> str:
    folder = work / "labels"
    folder.mkdir()
    for case, file in label_files(source).items():
        (folder / f"{case}{source.file_ending}").symlink_to(os.path.abspath(file))
    return str(folder)


def _link(domain: Domain, cases: list[str], folder: Path) -> None:
    folder.mkdir()
    for file in (file for case in cases for file in domain.images[case]):
        (folder / os.path.basename(file)).symlink_to(os.path.abspath(file))


def _model_of_source(tried: Tried, folder: Path) -> str:
    """The same model with the plan that normalises source images."""
    folder.mkdir()
    fold = f"fold_{tried.fold}"
    (folder / fold).symlink_to(join(tried.folder, fold))
    (folder / "dataset.json").symlink_to(join(tried.folder, "dataset.json"))
    (folder / PLANS).symlink_to(plans_of_source(tried.folder))
    return str(folder)


def _predict_shifted(
    model: str, tried: Tried, source: Domain, cases: list[str], device: str, output: Path
) -> dict[str, str]:
    predictor = load_predictor(model, [tried.fold], tried.checkpoint, torch.device(device), mirroring=False)
    output.mkdir()
    with contextlib.redirect_stdout(io.StringIO()):
        for case in cases:
            predict_shifted(predictor, source.images[case], str(output / case))
    return dict.fromkeys(cases, str(output))


def _predict(model: str, tried: Tried, images: Path, output: Path, device: str) -> None:
    words = ["nnUNetv2_predict_from_modelfolder", "-i", str(images), "-o", str(output), "-m", model, "-f", tried.fold]
    words += ["-chk", tried.checkpoint, "-device", device, "-npp", "1", "-nps", "1", "--disable_tta"]
    print(f"Predicting {images.name} cases with fold {tried.fold} of {tried.folder}", flush=True)
    run_logged([*words, "--save_probabilities"], output.with_suffix(".log"))
