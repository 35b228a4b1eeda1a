"""nnUDA_report: one page on a run: what was adapted to what, whether it worked, what is wrong."""

from __future__ import annotations

import argparse
import os
import re
from typing import TYPE_CHECKING

from nnunetv2.configuration import default_num_processes

from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import ending, number_of_processes, whole
from nnuda.cli.run_command import add_force, check_different, check_folders, check_needed, run_command
from nnuda.errors import ReportError
from nnuda.files import check_output, write_text
from nnuda.report.page import PAGE_MARK
from nnuda.results import FOLD

if TYPE_CHECKING:
    from nnuda.report.run import Run
    from nnuda.report.run_page import Request

FEATURE_CASES = 3
OUTPUT_NAME = "nnuda_report.html"


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_report."""
    parser = new_parser(
        "nnUDA_report",
        "A page that needs no other file: settings, curves, label-free scores, both domains, and with "
        "predictions the least certain, median and most certain target case.",
        ["FOLD_FOLDER", "FOLD_FOLDER --predictions predictions", "FOLD_FOLDER --predictions predictions -gt labelsTs"],
    )
    parser.add_argument("fold_folder", help="fold_x of a training with a trainer of nnuda, in nnUNet_results")
    parser.add_argument(
        "-o",
        type=ending(".html"),
        metavar="FILE",
        help=f"the page (.html) (default: fold_folder/{OUTPUT_NAME})",
    )
    parser.add_argument(
        "--predictions",
        metavar="FOLDER",
        help="target images as this run labels them, by nnUNetv2_predict, best with "
        "--save_probabilities: pictures of the least certain, median and most certain case",
    )
    parser.add_argument(
        "-i",
        metavar="IMAGES",
        help="with --predictions: folder of the images (default: the one that "
        "nnUNetv2_predict noted, else imagesTs or imagesTr of the target in nnUNet_raw)",
    )
    parser.add_argument(
        "-gt",
        metavar="FOLDER",
        help="with --predictions: reference labels to score with. The page then says oracle: true",
    )
    parser.add_argument(
        "--before-predictions",
        metavar="FOLDER",
        help="with --predictions: the same images as another model labels them, such as source-only",
    )
    parser.add_argument(
        "--names",
        nargs=2,
        metavar=("PREDICTIONS", "BEFORE"),
        help="with --before-predictions: what the page calls both, where they are not this run's and those before it, "
        "such as 'round 1' adapted (default: 'this run' before)",
    )
    parser.add_argument(
        "--epoch-predictions",
        metavar="FOLDER",
        help="with -gt: folder with a folder epoch_N of predictions of the same images for "
        "some epochs: what each way of choosing an epoch would have lost",
    )
    parser.add_argument(
        "--histogram-cases",
        type=whole(0),
        default=8,
        metavar="N",
        help="cases of each domain to read for the histograms of intensities; 0: no histograms (default: 8)",
    )
    parser.add_argument(
        "--before",
        metavar="FOLDER",
        help="results folder or fold folder of a model without adaptation, whose features are drawn beside this run's",
    )
    parser.add_argument(
        "--feature-cases",
        type=whole(0),
        metavar="N",
        help="cases of each domain that go through the network for the picture of features; "
        f"0: no picture (default: {FEATURE_CASES}, 0 for a 3D network without a GPU)",
    )
    parser.add_argument(
        "-np",
        type=number_of_processes,
        default=default_num_processes,
        help=f"with -gt: number of processes (default: {default_num_processes})",
    )
    add_force(parser)
    return parser


def epoch_folders(folder: str) -> dict[int, str]:
    """epoch -> folder, of the folders epoch_N in a folder.

    Raises:
        ReportError: there is none.
    """
    names = os.listdir(folder) if os.path.isdir(folder) else []
    matches = filter(None, (re.fullmatch(r"epoch_(\d+)", name) for name in names))
    found = {int(match[1]): os.path.join(folder, match[0]) for match in matches}
    if not found:
        raise ReportError(f"Expected folders epoch_0, epoch_1, ... of predictions in {folder}; found none.")
    return found


def _request(arguments: argparse.Namespace, run: Run) -> Request:
    """What the options ask for, checked before any long work."""
    from nnuda.evaluation.scores import first_names
    from nnuda.report.features_section import find_before, is_cheap
    from nnuda.report.predictions import BEFORE, THIS, find_predictions
    from nnuda.report.run_page import Request

    before = {"--before-predictions": arguments.before_predictions}
    check_needed("--predictions", arguments.predictions, {"-i": arguments.i, "-gt": arguments.gt, **before})
    check_needed("-gt", arguments.gt, {"--epoch-predictions": arguments.epoch_predictions})
    check_needed("--before-predictions", arguments.before_predictions, {"--names": arguments.names})
    folders = epoch_folders(arguments.epoch_predictions) if arguments.epoch_predictions else {}
    scored = {record["epoch"] for record in run.selection["epochs"]} if run.selection else set()
    if folders and not scored & folders.keys():
        raise ReportError(
            f"Expected predictions of epochs that {arguments.fold_folder} has label-free scores of; got "
            f"{first_names(sorted(map(str, folders)))}, and scores of {len(scored)} epochs."
        )
    predictions = None
    if arguments.predictions:
        predictions = find_predictions(
            run,
            arguments.predictions,
            arguments.before_predictions,
            arguments.gt,
            arguments.i,
            tuple(arguments.names or (THIS, BEFORE)),
        )
        for folder in folders.values():
            find_predictions(run, folder, references=arguments.gt, images=arguments.i)
    feature_cases = arguments.feature_cases
    if feature_cases is None:
        feature_cases = FEATURE_CASES if is_cheap(run) else 0
    before = find_before(arguments.before, run) if arguments.before else None
    if before:
        folder = os.path.join(before.folder, FOLD + before.fold)
        check_different([("fold_folder", run.folder), ("--before", folder)])
    return Request(predictions, folders, arguments.histogram_cases, before, feature_cases, arguments.np)


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_report."""
    run_command(build_parser(), _report, arguments)


def _report(arguments: argparse.Namespace) -> None:
    read = {
        "--predictions": arguments.predictions,
        "-i": arguments.i,
        "-gt": arguments.gt,
        "--before": arguments.before,
    }
    before = arguments.before_predictions
    check_folders({"fold_folder": arguments.fold_folder, **read, "--before-predictions": before})
    predictions = [("--predictions", arguments.predictions), ("--before-predictions", before)]
    check_different((option, folder) for option, folder in predictions if folder)
    output = arguments.o or os.path.join(arguments.fold_folder, OUTPUT_NAME)
    from nnuda.report.run import read_run
    from nnuda.report.run_page import report_html

    run = read_run(arguments.fold_folder)
    check_output(output, "-o", PAGE_MARK, arguments.force)
    page = report_html(run, _request(arguments, run))
    write_text(page, output)
    print(f"Written: {output} ({len(page.encode()) / 1e6:.1f} MB, one file that loads nothing)")


if __name__ == "__main__":
    main()
