"""`nnuda.adapt`: from Python what the command nnUDA_adapt does."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from nnuda.cli.adapt import TRAINER, build_parser, check_road, make_road
from nnuda.cli.run_command import PLANNING_FOLDERS, check_variables
from nnuda.errors import NnudaError
from nnuda.files import read_json
from nnuda.stages.road import Road
from nnuda.stages.rounds import rounds_of
from nnuda.stages.walk import walk


class AdaptArgumentError(NnudaError, ValueError):
    """An argument of `nnuda.adapt` that is not as it should be."""


@dataclass(frozen=True)
class Adapted:
    """What an adaptation left.

    Attributes:
        model: nnU-Net's results folder, as nnUNetPredictor.initialize_from_trained_model_folder takes it.
        fold: the fold that was trained.
        checkpoint: file of the epoch that predicted, in the fold's folder.
        images: folder of the target images that were predicted.
        predictions: folder of their label maps and probabilities.
        estimate: content of nnuda_estimate.json: `per_class`, `per_case`, `mean` Dice expected without target labels.
        report: the page to look at.
        postprocessed: folder of the label maps in one piece, where the source's classes are.
        rounds: the same of each self-training round, the last one last.
    """

    model: Path
    fold: str
    checkpoint: str
    images: Path
    predictions: Path
    estimate: dict[str, Any]
    report: Path
    postprocessed: Path
    rounds: tuple[Adapted, ...] = ()


def adapt(
    source: int | str,
    target: int | str | os.PathLike,
    configuration: str,
    *,
    fold: int | str | None = None,
    trainer: str = TRAINER,
    plans: str | None = None,
    new_plans: str | None = None,
    settings: Mapping[str, Any] | None = None,
    epochs: int | None = None,
    hours: float | None = None,
    start_from: str | os.PathLike | None = None,
    source_free: bool = False,
    images: str | os.PathLike | None = None,
    output: str | os.PathLike | None = None,
    checkpoint: str | None = None,
    device: str | None = None,
    processes: int | None = None,
    gpu_memory: float | None = None,
    target_channels: Sequence[str] | None = None,
    target_name: str | None = None,
    rounds: int = 0,
) -> Adapted:
    """Plan, preprocess, train, choose an epoch without target labels, predict, estimate and report.

    The stages run as commands of their own, which are printed. What is there is used, and what was interrupted goes on:
    call it again. nnU-Net's variables nnUNet_raw, nnUNet_preprocessed and nnUNet_results say where everything lies.

    Args:
        source: labelled; number or name of a dataset in nnUNet_raw.
        target: unlabelled; the same, or a folder of images, which needs `target_channels` and `target_name`.
        configuration: 2d, 3d_fullres, 3d_lowres, or one that the plan has.
        fold: of the source to train: 0 to 4, or "all". Default: 0, "all" where `source_free`.
        trainer: one of nnuda's.
        plans: an existing plan, which is extended and never planned again.
        new_plans: name of the plan to write and train.
        settings: overrides of the trainer's presets, such as {"training.seed": 1}. None keeps those of an existing plan.
        epochs: to train; None: as the settings say, by default 1000.
        hours: in place of `epochs`: as many as fit, by a pilot of one epoch.
        start_from: a trained nnU-Net: its results folder, a fold's folder or a checkpoint.
        source_free: predictions of `start_from` take the place of the source's labelled images; `source` is a free number.
        images: folder of target images to predict. Default: imagesTs of the target, else its imagesTr.
        output: folder for predictions, estimate, report and logs. Default: `adapted` in the fold's folder.
        checkpoint: file to predict with. Default: the epoch chosen without labels, else the last.
        device: cuda, cpu or mps. Default: cuda where there is one, else cpu.
        processes: worker processes. Default: each command's own.
        gpu_memory: GB that a fresh plan is made for.
        target_channels, target_name: of a target that is a folder of images.
        rounds: of self-training after the adaptation, each a plain nnU-Net.

    Raises:
        NnudaError: says what was expected, what came and what to do: AdaptArgumentError, DatasetError, SettingsError and
            AdaptError before any work, CommandFailed with the end of the log.
    """
    overrides = [word for key, value in (settings or {}).items() for word in ("--set", f"{key}={json.dumps(value)}")]
    options = {
        "-d": source,
        "-t": target,
        "-c": configuration,
        "-f": fold,
        "-tr": trainer,
        "-p": plans,
        "-overwrite_plans_name": new_plans,
        "--epochs": epochs,
        "--budget": hours,
        "--from": start_from,
        "-i": images,
        "-o": output,
        "-chk": checkpoint,
        "--device": device,
        "-np": processes,
        "-gpu_memory_target": gpu_memory,
        "--target-name": target_name,
        "--rounds": rounds,
    }
    words = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    words += ["--source-free"] if source_free else []
    if target_channels is not None:
        words += ["--target-channel-names", *target_channels]
    road = _walk([*words, *overrides], hours)
    return replace(_adapted(road), rounds=tuple(map(_adapted, rounds_of(road))))


def _walk(words: list[str], hours: float | None) -> Road:
    check_variables((*PLANNING_FOLDERS, "nnUNet_results"))
    parser = build_parser()
    parser.error = _refuse  # type: ignore[method-assign]  # else it prints the command's usage and exits
    args = parser.parse_args(words)
    try:
        road = make_road(args)
    except SystemExit as ended:  # nnUDA_pseudo_label, which makes a source of a model's predictions, has said why
        raise AdaptArgumentError(str(ended.code)) from ended
    check_road(road)
    return walk(road, hours)


def _refuse(message: str) -> NoReturn:
    raise AdaptArgumentError(f"nnuda.adapt, by the names of nnUDA_adapt's options: {message}.")


def _adapted(road: Road) -> Adapted:
    return Adapted(
        model=Path(road.model_folder),
        fold=road.fold,
        checkpoint=road.chosen_checkpoint(),
        images=Path(road.images),
        predictions=Path(road.predictions),
        estimate=read_json(road.estimate, "what nnUDA_estimate writes"),
        report=Path(road.report),
        postprocessed=Path(road.postprocessed),
    )
