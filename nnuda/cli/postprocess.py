"""nnUDA_postprocess: one piece where the source has one."""

from __future__ import annotations

import argparse
import shlex
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import join

from nnuda.cli.domain_arguments import add_source
from nnuda.cli.evaluate import add_inputs, load_inputs
from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import check_folders, run_command
from nnuda.datasets import load_dataset
from nnuda.results import POSTPROCESSING

SHOWN = 5  # warnings about single cases


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_postprocess",
        "nnU-Net's postprocessing without labels of the target: keeps the largest component alone of each class that "
        "the source's labels show in one piece.",
        ["-d 501 -i predictions -o postprocessed"],
    )
    add_source(parser)
    parser.add_argument(
        "-i", required=True, metavar="FOLDER", help="predicted labels, as nnUNetv2_predict writes them; they stay"
    )
    parser.add_argument("-o", required=True, metavar="FOLDER", help="new folder, or one that this command wrote")
    add_inputs(parser, "-i, as nnUNetv2_predict leaves it")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_postprocess."""
    run_command(build_parser(), _postprocess, arguments)


def _postprocess(args: argparse.Namespace) -> None:
    check_folders({"-i": args.i})
    source = load_dataset(args.d, labelled=True)
    dataset_json, plans = load_inputs(args.i, args.djfile, args.pfile)
    from nnuda.choosing.postprocessing import PICKLE, find_predictions, postprocess, shapes_of
    from nnuda.evaluation.scores import check_same_classes

    find_predictions(args.i, args.o, dataset_json["file_ending"])
    remedy = "Name the dataset that the model was trained on with -d."
    check_same_classes(source.dataset_json, dataset_json, args.i, source.name, remedy)
    record = postprocess(args.i, args.o, shapes_of(source, args.np), dataset_json, plans, source.name, args.np)
    _report(record, args.o)
    words = ["nnUNetv2_apply_postprocessing", "-i", "PREDICTIONS", "-o", "FOLDER", "-pp_pkl_file", join(args.o, PICKLE)]
    print_next("the same for further predictions", shlex.join(words))


def _report(record: dict[str, Any], output: str) -> None:
    from rich import box
    from rich.table import Table

    from nnuda.choosing.postprocessing import doubtful
    from nnuda.evaluation.table import print_table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("class", no_wrap=True)
    for column in ("source: one piece", "kept", "removed", "in cases"):
        table.add_column(column, justify="right", no_wrap=True)
    for name, said in record["classes"].items():
        voxels = [case[name] for case in record["per_case"].values() if name in case]
        total, removed = (sum(case[key] for case in voxels) for key in ("voxels", "removed"))
        changed = sum(case["removed"] > 0 for case in voxels)
        table.add_row(
            name,
            f"{said['in_one_piece']} of {said['cases']} cases",
            said["kept"],
            f"{removed / total:.1%}" if total else "-",
            f"{changed} of {len(record['per_case'])}",
        )
    print_table(table)
    doubts = doubtful(record)
    for case, name, share in doubts[:SHOWN]:
        print(f"WARNING: {case}: {share:.0%} of {name} was removed; look whether its largest piece is the right one.")
    if len(doubts) > SHOWN:
        print(f"WARNING: and {len(doubts) - SHOWN} more such, in {POSTPROCESSING}.")
    print(f"Postprocessed: {output}")


if __name__ == "__main__":
    main()
