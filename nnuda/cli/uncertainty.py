"""nnUDA_uncertainty: entropy maps of saved probabilities."""

from __future__ import annotations

import argparse
import os

from nnuda.cli.evaluate import load_inputs
from nnuda.cli.run_command import add_force, run_command
from nnuda.evaluation.entropy_maps import DEFINITIONS, SUMMARY_NAME, uncertainty_folder


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_uncertainty."""
    parser = argparse.ArgumentParser(
        prog="nnUDA_uncertainty",
        description="Entropy map of each case, as NIfTI on the image's grid, from the probabilities that "
        f"nnUNetv2_predict --save_probabilities leaves: {DEFINITIONS[False]}; {DEFINITIONS[True]}",
    )
    parser.add_argument("pred_folder", help="folder that nnUNetv2_predict --save_probabilities wrote")
    parser.add_argument("-o", help="[OPTIONAL] output folder. Default: pred_folder/entropy")
    parser.add_argument("-djfile", help="[OPTIONAL] dataset.json. Default: the one in pred_folder")
    parser.add_argument("-pfile", help="[OPTIONAL] plans.json, which names the reader. Default: the one in pred_folder")
    add_force(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_uncertainty."""
    run_command(build_parser(), _write_maps, arguments)


def _write_maps(arguments: argparse.Namespace) -> None:
    output = arguments.o or os.path.join(arguments.pred_folder, "entropy")
    dataset_json, plans = load_inputs(arguments.pred_folder, arguments.djfile, arguments.pfile)
    result = uncertainty_folder(arguments.pred_folder, output, dataset_json, plans, True, arguments.force)
    print(f"{len(result['per_case'])} maps in {output}: {result['definition']}")
    print(f"Means of each case: {os.path.join(output, SUMMARY_NAME)}")


if __name__ == "__main__":
    main()
