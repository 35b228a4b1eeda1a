"""nnUDA_uncertainty: entropy maps of saved probabilities."""

from __future__ import annotations

import argparse
import os

from nnuda.cli.evaluate import load_inputs
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import add_force, check_folders, run_command
from nnuda.evaluation.conventions import ENTROPY_DEFINITIONS


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_uncertainty."""
    parser = new_parser(
        "nnUDA_uncertainty",
        "Entropy map of each case, as NIfTI on the image's grid, from the probabilities that "
        f"nnUNetv2_predict --save_probabilities leaves: {ENTROPY_DEFINITIONS[False]}; {ENTROPY_DEFINITIONS[True]}",
        ["predictions", "predictions -o entropy"],
    )
    parser.add_argument("pred_folder", help="folder that nnUNetv2_predict --save_probabilities wrote")
    parser.add_argument("-o", help="output folder (default: pred_folder/entropy)")
    parser.add_argument("-djfile", help="dataset.json (default: the one in pred_folder)")
    parser.add_argument("-pfile", help="plans.json, which names the reader (default: the one in pred_folder)")
    add_force(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_uncertainty."""
    run_command(build_parser(), _write_maps, arguments)


def _write_maps(arguments: argparse.Namespace) -> None:
    check_folders({"pred_folder": arguments.pred_folder})
    output = arguments.o or os.path.join(arguments.pred_folder, "entropy")
    dataset_json, plans = load_inputs(arguments.pred_folder, arguments.djfile, arguments.pfile)
    from nnuda.evaluation.entropy_maps import SUMMARY_NAME, uncertainty_folder

    result = uncertainty_folder(arguments.pred_folder, output, dataset_json, plans, True, arguments.force)
    print(f"{len(result['per_case'])} maps in {output}: {result['definition']}")
    print(f"Means of each case: {os.path.join(output, SUMMARY_NAME)}")


if __name__ == "__main__":
    main()
