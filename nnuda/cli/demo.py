"""nnUDA_demo: adaptation from one drawn scanner to another, on a CPU."""

from __future__ import annotations

import argparse
from pathlib import Path

from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import run_command
from nnuda.files import check_own_folder


def build_parser() -> argparse.ArgumentParser:
    """One option: the folder."""
    parser = new_parser(
        "nnUDA_demo",
        "Makes a small two-domain data set, trains source-only, with strong augmentation, "
        "nnUDATrainerAdapt and an oracle through the commands that a user types, prints their scores and draws a picture. "
        "Nothing is downloaded. It takes four minutes on two CPU cores, and 70 MB.",
        ["", "-o /scratch/nnuda_demo"],
    )
    parser.add_argument("-o", default="nnuda_demo", metavar="FOLDER", help="new folder (default: ./nnuda_demo)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_demo."""
    run_command(build_parser(), _demo, arguments)


def _demo(arguments: argparse.Namespace) -> None:
    check_own_folder(arguments.o, "-o")
    from nnuda.demo.workflow import run_demo  # imports torch: only once the folder is known to be free

    run_demo(Path(arguments.o))


if __name__ == "__main__":
    main()
