"""The stages of one run, by the commands that a user could type; those of `nnUDA_adapt`, with labels to score."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator

from nnuda.benchmark.description import Benchmark, Run
from nnuda.benchmark.places import SCORES, nnunet_folders, run_folder
from nnuda.files import folder_aside
from nnuda.planning.choice import plan_file
from nnuda.results import load_checkpoint
from nnuda.stages.left import Left, files_of, prediction_left, result_left, training_left
from nnuda.stages.progress import TrainingProgress
from nnuda.stages.road import FINAL, Road
from nnuda.stages.run_stage import Runner

MEMORY_GB = "nnUDA_cost/memory_gb"


def walk_run(folder: str, benchmark: Benchmark, run: Run, lock: int | None) -> dict[str, float | None]:
    """Do what is left of a run.

    Args:
        folder: of the benchmark.
        benchmark, run: what is asked for.
        lock: descriptor that commands shall hold too.

    Returns:
        What the training cost: `training_seconds` of all epochs, `memory_gb` at most (None on the CPU), `epochs`.

    Raises:
        CommandFailed: a command ended with an error.
    """
    os.environ |= nnunet_folders(folder, run)
    place = run_folder(folder, run)
    images = _link_images(place, run)
    road = _road(benchmark, run, place, images)
    runner = Runner(road, lock)
    configure = ["nnUDA_configure", "-d", run.domain.name, "-p", "nnUNetPlans", "--as", run.plans]
    for key, value in benchmark.settings(run).items():
        configure += ["--set", f"{key}={json.dumps(value)}"]
    file = plan_file(run.domain.name, run.plans)
    runner.run("plan", lambda: None if os.path.isfile(file) else Left([*configure, *run.row.plan]), prefix="1_")
    progress = TrainingProgress(benchmark.effective(run)["training.num_epochs"], runner.indented)
    runner.run("train", lambda: training_left(road), progress, prefix="2_")
    runner.run("predict", lambda: prediction_left(road, road.chosen_checkpoint(), road.predictions), prefix="3_")
    scores = os.path.join(place, SCORES)
    evaluate = ["nnUDA_evaluate", run.pair.labels, road.predictions, "-o", scores, "-np", "1"]
    runner.run("evaluate", lambda: result_left(evaluate, scores, _sources(road, run)), prefix="4_")
    report = [*road.report_command(), "-gt", run.pair.labels, "-np", "1"]
    runner.run("report", lambda: result_left(report, road.report, _sources(road, run)), prefix="5_")
    return training_cost(os.path.join(road.fold_folder, FINAL))


def _road(benchmark: Benchmark, run: Run, place: str, images: str) -> Road:
    return Road(
        source=run.domain,
        target=run.pair.target,
        source_words=["-d", run.domain.name],
        target_words=["-t", run.pair.target.name],
        configuration=benchmark.budget["configuration"],
        fold=run.fold,
        trainer=run.row.trainer,
        plans=run.plans,
        base="nnUNetPlans",
        settings=None,
        planning=[],
        images=images,
        cases={case: sum(map(os.path.getsize, files)) for case, files in run.pair.images.items()},
        output=place,
        checkpoint=FINAL if benchmark.checkpoint == "last" else None,
        device=benchmark.device,
        processes=1,
    )


def _link_images(place: str, run: Run) -> str:
    """A folder with links to the images of the scored cases."""
    folder = os.path.join(place, "images")
    if not os.path.isdir(folder):
        with folder_aside(folder) as aside:
            for file in (file for files in run.pair.images.values() for file in files):
                os.symlink(os.path.realpath(file), os.path.join(aside, os.path.basename(file)))
            os.replace(aside, folder)
    return folder


def _sources(road: Road, run: Run) -> Iterator[str]:
    return files_of(road.predictions, run.pair.labels, endings=(run.pair.target.file_ending,))


def training_cost(checkpoint: str) -> dict[str, float | None]:
    """Seconds of all epochs together, whatever interrupted them, and the largest GPU memory."""
    logged = load_checkpoint(checkpoint, needed=("logging",))["logging"]
    ends = logged["epoch_end_timestamps"]
    memory = [float(value) for value in logged.get(MEMORY_GB, []) if not math.isnan(value)]
    return {
        "training_seconds": float(sum(ends) - sum(logged["epoch_start_timestamps"][: len(ends)])),
        "memory_gb": max(memory, default=None),
        "epochs": len(ends),
    }
