"""nnUDA_compare: several folders of predictions on the same cases."""

from __future__ import annotations

import argparse
import os
import textwrap
from typing import TYPE_CHECKING

from nnuda.cli.evaluate import OTHER_JSON, add_inputs, load_inputs, note_same_folder, parse_tolerances
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import add_force, check_folders, check_needed, run_command
from nnuda.errors import EvaluationError
from nnuda.evaluation.conventions import PRESETS, scores_file
from nnuda.files import check_output

if TYPE_CHECKING:
    from nnuda.evaluation.comparison import Comparison

WIDTH = 80  # of the notes


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_compare."""
    parser = new_parser(
        "nnUDA_compare",
        "Tables, paired tests and a page with plots from several folders of predictions on the same cases.",
        [
            "before=predictions_a after=predictions_b",
            "before=predictions_a after=predictions_b oracle=predictions_c \\\n"
            "--source-only before --oracle oracle -gt labelsTs -o comparison",
        ],
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="[NAME=]RESULT",
        help="folders of predictions that nnUDA_evaluate has scored, or its JSON files; "
        "NAME is what the row is called (default: the folder's or file's name)",
    )
    parser.add_argument("--source-only", help="name of the result that is 0 %% of the gap")
    parser.add_argument("--oracle", help="name of the result that is 100 %% of the gap")
    parser.add_argument(
        "--against",
        help="name of the result that the others are tested against (default: that of --source-only, else the first)",
    )
    parser.add_argument(
        "-gt",
        metavar="FOLDER",
        help="folder with reference labels: score all folders anew, and write nothing there",
    )
    add_inputs(parser, "each folder", "with -gt: ")
    parser.add_argument("--preset", choices=PRESETS, help="with -gt: a challenge's convention")
    parser.add_argument(
        "--nsd-tolerance",
        nargs="+",
        default=[],
        metavar="MM",
        help="with -gt: tolerance of NSD, or CLASS=MM for each class",
    )
    parser.add_argument("-o", default="nnuda_comparison", help="output folder (default: ./nnuda_comparison)")
    add_force(parser)
    return parser


def named_paths(words: list[str]) -> dict[str, str]:
    """["a=x/y", "x/z"] -> {"a": "x/y", "z": "x/z"}.

    Raises:
        EvaluationError: two results of one name, or one under two.
    """
    named: dict[str, str] = {}
    for word in words:
        name, found, path = word.partition("=")
        if not found or os.path.exists(word):
            name, path = os.path.basename(os.path.normpath(word)).removesuffix(".json"), word
        if not name or not path:
            raise EvaluationError(f"Expected NAME=RESULT or RESULT; got {word}.")
        if name in named:
            raise EvaluationError(
                f"Expected a name for each result; {named[name]} and {path} are both called {name}. "
                f"Name them: first={named[name]} second={path}."
            )
        named[name] = path
    _check_different(named)
    return named


def _check_different(named: dict[str, str]) -> None:
    files: dict[str, str] = {}
    for name, path in named.items():
        other = files.setdefault(os.path.realpath(scores_file(path)), name)
        if other != name:
            raise EvaluationError(f"Expected different results; {other} and {name} are both {path}. Name it once.")


def _scored(path: str, arguments: argparse.Namespace) -> dict:
    from nnuda.evaluation.comparison import read_result
    from nnuda.evaluation.scores import evaluate_folder

    if arguments.gt is None:
        return read_result(path)
    note_same_folder(arguments.gt, path)
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
        remedy=OTHER_JSON,
    )


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_compare."""
    run_command(build_parser(), _compare, arguments)


def _compare(arguments: argparse.Namespace) -> None:
    check_folders({"-gt": arguments.gt})
    of_scoring = {"--preset": arguments.preset, "--nsd-tolerance": arguments.nsd_tolerance}
    check_needed("-gt", arguments.gt, {**of_scoring, "-djfile": arguments.djfile, "-pfile": arguments.pfile})
    if arguments.oracle is not None and arguments.oracle == (arguments.source_only or arguments.oracle):
        raise EvaluationError(
            f"--oracle: expected another result with --source-only, the other end of the gap; got {arguments.oracle}"
            f"{' for both' if arguments.source_only else ' alone'}. Name both, or neither."
        )
    named = named_paths(arguments.results)
    from nnuda.evaluation.comparison import compare
    from nnuda.report.comparison_report import MARKS, save_comparison

    for name, mark in MARKS.items():
        check_output(os.path.join(arguments.o, name), "-o", mark, arguments.force)
    scores = {name: _scored(path, arguments) for name, path in named.items()}
    comparison = compare(scores, arguments.source_only, arguments.oracle, arguments.against)
    paths = save_comparison(comparison, arguments.o)
    _print(comparison)
    print(f"Written: {', '.join(paths)}")


def _print(comparison: Comparison) -> None:
    from nnuda.evaluation.table import metric_title, print_table, table_of
    from nnuda.report.comparison_report import metric_table, notes

    unit = comparison.scores[comparison.against]["unit"]
    for metric in comparison.metrics:
        print_table(table_of(metric_table(comparison, metric), title=metric_title(metric, unit)))
    for note in notes(comparison):
        print(textwrap.fill(note, WIDTH, initial_indent="- ", subsequent_indent="  "))


if __name__ == "__main__":
    main()
