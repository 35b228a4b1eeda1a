"""nnUDA_compare: several folders of predictions on the same cases."""

from __future__ import annotations

import argparse
import os

from nnunetv2.configuration import default_num_processes

from nnuda.cli.evaluate import load_inputs, parse_tolerances
from nnuda.cli.ranges import number_of_processes
from nnuda.cli.run_command import add_force, run_command
from nnuda.evaluation.comparison import compare, read_result
from nnuda.evaluation.conventions import PRESETS
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.scores import evaluate_folder
from nnuda.files import check_output
from nnuda.report.comparison_report import MARKS, markdown_text, save_comparison


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_compare."""
    parser = argparse.ArgumentParser(
        prog="nnUDA_compare",
        description="Tables, paired tests and a page with plots from several folders of predictions on the same cases.",
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="[NAME=]RESULT",
        help="folders of predictions that nnUDA_evaluate has scored, or its JSON files; "
        "NAME is what the row is called. Default: the folder's or file's name",
    )
    parser.add_argument("--source-only", help="[OPTIONAL] name of the result that is 0 %% of the gap")
    parser.add_argument("--oracle", help="[OPTIONAL] name of the result that is 100 %% of the gap")
    parser.add_argument(
        "--against",
        help="[OPTIONAL] name of the result that the others are tested against. Default: "
        "that of --source-only, else the first",
    )
    parser.add_argument(
        "-gt",
        metavar="FOLDER",
        help="[OPTIONAL] folder with reference labels: score all folders anew, and write nothing there",
    )
    parser.add_argument("-djfile", help="[OPTIONAL] with -gt: dataset.json. Default: the one in each folder")
    parser.add_argument("-pfile", help="[OPTIONAL] with -gt: plans.json. Default: the one in each folder")
    parser.add_argument(
        "-np",
        type=number_of_processes,
        default=default_num_processes,
        help=f"[OPTIONAL] with -gt: number of processes. Default: {default_num_processes}",
    )
    parser.add_argument("--preset", choices=PRESETS, help="[OPTIONAL] with -gt: a challenge's convention")
    parser.add_argument(
        "--nsd-tolerance",
        nargs="+",
        default=[],
        metavar="MM",
        help="[OPTIONAL] with -gt: tolerance of NSD, or CLASS=MM for each class",
    )
    parser.add_argument("-o", default="nnuda_comparison", help="[OPTIONAL] output folder. Default: ./nnuda_comparison")
    add_force(parser)
    return parser


def named_paths(words: list[str]) -> dict[str, str]:
    """["a=x/y", "x/z"] -> {"a": "x/y", "z": "x/z"}.

    Raises:
        EvaluationError: two results of one name.
    """
    named: dict[str, str] = {}
    for word in words:
        name, found, path = word.partition("=")
        if not found or os.path.exists(word):
            name, path = os.path.basename(os.path.normpath(word)).removesuffix(".json"), word
        if name in named:
            raise EvaluationError(
                f"Expected a name for each result; {named[name]} and {path} are both called {name}. "
                f"Name them: first={named[name]} second={path}."
            )
        named[name] = path
    return named


def _scored(path: str, arguments: argparse.Namespace) -> dict:
    if arguments.gt is None:
        return read_result(path)
    dataset_json, plans = load_inputs(path, arguments.djfile, arguments.pfile)
    return evaluate_folder(
        arguments.gt,
        path,
        dataset_json,
        plans,
        arguments.np,
        progress=True,
        preset=arguments.preset,
        tolerances=parse_tolerances(arguments.nsd_tolerance),
    )


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_compare."""
    run_command(build_parser(), _compare, arguments)


def _compare(arguments: argparse.Namespace) -> None:
    if arguments.gt is None and (arguments.preset or arguments.nsd_tolerance):
        raise EvaluationError(
            "Expected -gt with --preset and --nsd-tolerance: scores that were computed before keep their convention."
        )
    for name, mark in MARKS.items():
        check_output(os.path.join(arguments.o, name), "-o", mark, arguments.force)
    scores = {name: _scored(path, arguments) for name, path in named_paths(arguments.results).items()}
    comparison = compare(scores, arguments.source_only, arguments.oracle, arguments.against)
    paths = save_comparison(comparison, arguments.o)
    print(markdown_text(comparison))
    print(f"Written: {', '.join(paths)}")


if __name__ == "__main__":
    main()
