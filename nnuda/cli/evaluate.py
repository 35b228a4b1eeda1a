"""nnUDA_evaluate: overlap, surface and volume scores of folders of predictions."""

from __future__ import annotations

import argparse
import os
import shlex
from dataclasses import dataclass

from nnunetv2.configuration import default_num_processes

from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import by_class, decimal, ending, number_of_processes
from nnuda.cli.run_command import add_force, check_different, check_folders, run_command
from nnuda.errors import EvaluationError
from nnuda.evaluation.conventions import DEFINITIONS, PRESETS, SCORES_NAME
from nnuda.files import check_output, read_json
from nnuda.results import read_dataset_json


def build_parser() -> argparse.ArgumentParser:
    """Arguments as nnUNetv2_evaluate_folder has them."""
    parser = new_parser(
        "nnUDA_evaluate",
        "Dice, ASSD, HD95, NSD and volume differences of folders of predictions against reference labels, "
        "per case and class.",
        [
            "labelsTs predictions",
            "labelsTs predictions_a predictions_b",
            "labelsTs predictions --nsd-tolerance 2 liver=5",
            "labelsTs predictions --preset flare",
        ],
        more="definitions:\n" + "\n".join(f"{name}: {text}" for name, text in DEFINITIONS.items()),
    )
    parser.add_argument("gt_folder", help="folder with reference labels")
    parser.add_argument(
        "pred_folder", nargs="+", help="folder with predicted labels, as nnUNetv2_predict writes it; or several of them"
    )
    add_inputs(parser, "pred_folder, as nnUNetv2_predict leaves it")
    parser.add_argument(
        "-o",
        type=ending(".json"),
        help=f"output file (.json) of one pred_folder; a table (.csv) is written beside it (default: "
        f"pred_folder/{SCORES_NAME})",
    )
    parser.add_argument(
        "--missing-ok",
        action="store_true",
        help="leave references without a prediction out of the score, instead of an error",
    )
    parser.add_argument(
        "--preset", choices=PRESETS, help="a challenge's convention: columns, NSD tolerances, empty masks"
    )
    parser.add_argument(
        "--nsd-tolerance",
        nargs="+",
        default=[],
        metavar="MM",
        help="tolerance of NSD, or CLASS=MM for each class (default: 1 mm, or the preset's)",
    )
    add_force(parser)
    return parser


def add_inputs(parser: argparse.ArgumentParser, folder: str, when: str = "") -> None:
    """What lies beside predictions, as `load_inputs` takes it, and the processes that read them.

    Args:
        parser: gets the options.
        folder: where these files are by default.
        when: the options count, as their help begins.
    """
    parser.add_argument("-djfile", help=f"{when}dataset.json (default: the one in {folder})")
    parser.add_argument("-pfile", help=f"{when}plans.json, which names the reader (default: the one in {folder})")
    parser.add_argument(
        "-np",
        type=number_of_processes,
        default=default_num_processes,
        help=f"{when}number of processes; 1 runs in this one (default: {default_num_processes})",
    )


OTHER_JSON = "Give the dataset.json that belongs to these files with -djfile."


def parse_tolerances(words: list[str]) -> dict[str | None, float]:
    """Of --nsd-tolerance."""
    return by_class(words, decimal(0, 1000, " of mm"), "--nsd-tolerance")


READER_SCHEMA = {  # what is read of the plans.json beside predictions
    "type": "object",
    "required": ["image_reader_writer"],
    "properties": {"image_reader_writer": {"type": "string"}},
}


def _default_file(given: str | None, folder: str, name: str) -> str | None:
    path = given or os.path.join(folder, name)
    return path if given or os.path.isfile(path) else None


def load_inputs(pred_folder: str, djfile: str | None = None, pfile: str | None = None) -> tuple[dict, dict | None]:
    """Contents of dataset.json and, where there is one, of plans.json: those given, else those beside the predictions.

    Raises:
        EvaluationError: no dataset.json, or labels that nnU-Net does not take.
        FileError: a file that is not there, damaged, or another one.
    """
    dataset_file = _default_file(djfile, pred_folder, "dataset.json")
    plans_file = _default_file(pfile, pred_folder, "plans.json")
    if dataset_file is None:
        raise EvaluationError(
            f"Expected a dataset.json in {pred_folder}, as nnUNetv2_predict leaves one; "
            "found none. Give one with -djfile."
        )
    dataset_json = read_dataset_json(dataset_file, OTHER_JSON)
    from nnuda.evaluation.scores import label_manager

    label_manager(dataset_json)
    remedy = "Give the one that belongs to these files with -pfile."
    return dataset_json, read_json(plans_file, "a plans.json", READER_SCHEMA, remedy) if plans_file else None


def _report(scores: dict, output: str) -> None:
    from nnuda.evaluation.scores import first_names
    from nnuda.evaluation.table import print_table, score_table

    print_table(score_table(scores))
    if scores["unit"] == "pixels":
        print("Distances are in pixels: these files hold no spacing.")
    for key, text in (
        ("missing_predictions", "references without a prediction, left out of the score"),
        ("extra_predictions", "predictions without a reference, not scored"),
    ):
        names = scores[key]
        if names:
            print(f"{len(names)} {text}: {first_names(names)}")
    print(f"Scores per case and class, definitions and versions: {output}; table: .csv beside it")


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_evaluate."""
    run_command(build_parser(), _evaluate, arguments)


@dataclass(frozen=True)
class Job:
    """One folder of predictions, what lies beside them, and where its scores go."""

    folder: str
    dataset_json: dict
    plans: dict | None
    output: str

    @property
    def table(self) -> str:
        return f"{os.path.splitext(self.output)[0]}.csv"


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.o and len(arguments.pred_folder) > 1:
        raise EvaluationError(
            f"Expected one pred_folder beside -o; got {len(arguments.pred_folder)}. Without -o each folder gets its own "
            f"{SCORES_NAME}."
        )
    check_folders({"gt_folder": arguments.gt_folder})
    check_different(("pred_folder", folder) for folder in arguments.pred_folder)
    for folder in arguments.pred_folder:
        check_folders({"pred_folder": folder})
    jobs = [
        Job(
            folder,
            *load_inputs(folder, arguments.djfile, arguments.pfile),
            arguments.o or os.path.join(folder, SCORES_NAME),
        )
        for folder in arguments.pred_folder
    ]
    tolerances = parse_tolerances(arguments.nsd_tolerance)
    from nnuda.evaluation.scores import SCORES_MARK, TABLE_MARK

    for job in jobs:
        check_output(job.output, "-o", SCORES_MARK, arguments.force)
        check_output(job.table, "-o", TABLE_MARK, arguments.force)
    for job in jobs:
        _score(job, arguments, tolerances)
    if len(jobs) == 1:
        words = [f"this={jobs[0].folder}", "other=FOLDER", "-gt", arguments.gt_folder]
        print_next("beside another folder of predictions of the same images", shlex.join(["nnUDA_compare", *words]))
    else:
        print_next("paired tests and a page", shlex.join(["nnUDA_compare", *(job.folder for job in jobs)]))


def note_same_folder(references: str, predictions: str) -> None:
    """Say that scores of a folder against itself say nothing."""
    if os.path.realpath(references) == os.path.realpath(predictions):
        print(
            f"NOTE: references and predictions are the same folder, {references}: perfect scores that say nothing.",
            flush=True,
        )


def _score(job: Job, arguments: argparse.Namespace, tolerances: dict[str | None, float]) -> None:
    from nnuda.evaluation.scores import evaluate_folder, save_scores, save_table

    if len(arguments.pred_folder) > 1:
        print(f"\n{job.folder}", flush=True)
    note_same_folder(arguments.gt_folder, job.folder)
    scores = evaluate_folder(
        arguments.gt_folder,
        job.folder,
        job.dataset_json,
        job.plans,
        arguments.np,
        arguments.missing_ok,
        progress=True,
        preset=arguments.preset,
        tolerances=tolerances,
        remedy=OTHER_JSON,
    )
    save_scores(scores, job.output)
    save_table(scores, job.table)
    _report(scores, job.output)


if __name__ == "__main__":
    main()
