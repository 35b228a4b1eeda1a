"""What nnUNetv2_find_best_configuration leaves, for the winner: ready commands, the same as data, and its predictions."""

from __future__ import annotations

import os
import shlex
import shutil
import textwrap
from collections.abc import Sequence
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.ensembling.ensemble import merge_files
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.choosing.candidates import Candidate
from nnuda.choosing.estimates import Pool, model_of
from nnuda.choosing.predictions import How
from nnuda.choosing.ranking import WIDTH, Ranked
from nnuda.evaluation.quality import Model
from nnuda.files import folder_aside, into_place, read_json, write_json
from nnuda.results import ESTIMATE
from nnuda.selftraining.members import Member

INSTRUCTIONS, INFORMATION = "inference_instructions.txt", "inference_information.json"
PREDICTIONS = "predictions"


def commands(candidate: Candidate, dataset: str, how: How) -> list[str]:
    """nnU-Net's commands that label INPUT_FOLDER as the candidate was estimated: its networks one by one, and
    nnUNetv2_ensemble of their probabilities."""
    members = candidate.members
    several = len(members) > 1
    outputs = [f"OUTPUT_FOLDER_MODEL_{n}" for n in range(1, len(members) + 1)] if several else ["OUTPUT_FOLDER"]
    lines = [_predict(member, dataset, output, several, how) for member, output in zip(members, outputs)]
    return [*lines, f"nnUNetv2_ensemble -i {' '.join(outputs)} -o OUTPUT_FOLDER"] if several else lines


def _predict(member: Member, dataset: str, output: str, save: bool, how: How) -> str:
    trainer, plans, configuration = os.path.basename(member.folder).split("__")
    words = ["nnUNetv2_predict", "-d", dataset, "-i", "INPUT_FOLDER", "-o", output, "-f", member.fold, "-tr", trainer]
    words += ["-c", configuration, "-p", plans, "-chk", member.checkpoint]
    words += [] if how.mirroring else ["--disable_tta"]
    words += [] if how.step_size == 0.5 else ["-step_size", str(how.step_size)]
    return shlex.join([*words, *(["--save_probabilities"] if save else [])])


def instructions(winner: Ranked, dataset: str, how: How, remarks: Sequence[str]) -> str:
    """The content of inference_instructions.txt."""
    lines = ["***Run inference like this:***", ""]
    if len(winner.candidate.members) > 1:
        lines += ["An ensemble won! Predict with its members, then average their probabilities:", ""]
    lines += [*commands(winner.candidate, dataset, how), ""]
    lines += ["***Run postprocessing like this, by the labels of the source:***", ""]
    lines += [f"nnUDA_postprocess -d {dataset} -i OUTPUT_FOLDER -o OUTPUT_FOLDER_PP", ""]
    lines += ["***How sure this is:***", ""]
    for remark in [*remarks, "The estimate is of the predictions before postprocessing."]:
        lines += textwrap.wrap(remark, WIDTH, initial_indent="- ", subsequent_indent="  ", break_long_words=False)
    return "\n".join(lines) + "\n"


def information(
    ranked: Sequence[Ranked],
    dataset: str,
    target: str,
    ensembling: bool,
    tied: Sequence[Ranked],
    remarks: Sequence[str],
) -> dict[str, Any]:
    """The content of inference_information.json: nnU-Net's keys, where they have a meaning without labels, and what was
    estimated. `all_results` are expected Dice, best first."""
    best = ranked[0]
    models = {tuple(group.parts): None for one in ranked for group in one.candidate.groups}
    return {
        "folds": sorted({member.fold for one in ranked for member in one.candidate.members}),
        "dataset_name_or_id": dataset,
        "target": target,
        "considered_models": [_model(parts) for parts in models],
        "ensembling_allowed": ensembling,
        "all_results": {one.candidate.name: one.estimate["mean"]["value"] for one in ranked},
        "best_model_or_ensemble": {
            "name": best.candidate.name,
            "expected_dice": best.estimate["mean"]["value"],
            "interval": [best.estimate["mean"]["low"], best.estimate["mean"]["high"]],
            "verdict": best.estimate["verdict"],
            "reasons": best.estimate["reasons"],
            "ties": [one.candidate.name for one in tied],
            "selected_model_or_models": [
                {**_model(group.parts), "folds": group.folds, "checkpoint": group.checkpoint}
                for group in best.candidate.groups
            ],
        },
        "estimates": {
            one.candidate.name: {
                **{key: one.estimate[key] for key in ("verdict", "mean", "per_class", "notes")},
                "models": [
                    {**_model(group.parts), "folds": group.folds, "checkpoint": group.checkpoint}
                    for group in one.candidate.groups
                ],
            }
            for one in ranked
        },
        "remarks": list(remarks),
    }


def _model(parts: Sequence[str]) -> dict[str, str]:
    return dict(zip(("trainer", "plans_identifier", "configuration"), parts))


def write_predictions(winner: Ranked, pool: Pool) -> str:
    """The winner's predictions with its estimate beside them, made by nnU-Net's ensembling; the folder."""
    folder = join(pool.output, PREDICTIONS)
    estimate = join(folder, ESTIMATE)
    if isfile(estimate) and read_json(estimate, "an estimate").get("made_from") == winner.estimate["made_from"]:
        return folder
    model, sources = model_of(winner.candidate.members[0]), pool.folders(winner.candidate.members)
    with folder_aside(folder) as aside:
        for case in sorted(pool.sizes):
            _merge(sources, case, aside, model)
        write_json(model.dataset_json, join(aside, "dataset.json"))
        write_json(model.plans, join(aside, "plans.json"))
        write_json({**winner.estimate, "predictions": folder}, join(aside, ESTIMATE))
        if isdir(folder):
            shutil.rmtree(folder)
        into_place(aside, folder)
    return folder


def _merge(folders: Sequence[str], case: str, output: str, model: Model) -> None:
    files = [join(folder, f"{case}.npz") for folder in folders]
    writer = PlansManager(model.plans).image_reader_writer_class()
    merge_files(files, join(output, case), model.ending, writer, model.manager, save_probabilities=True)
