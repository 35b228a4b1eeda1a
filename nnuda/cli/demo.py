"""nnUDA_demo: adaptation from one drawn scanner to another, on a CPU."""
from __future__ import annotations

import argparse
import sys
from pathlib import Path

from nnuda.demo.commands import CommandFailed


def build_parser() -> argparse.ArgumentParser:
    """One option: the folder."""
    parser = argparse.ArgumentParser(
        prog="nnUDA_demo",
        description="Makes a small two-domain data set, trains source-only, with strong augmentation, "
                    "nnUDATrainerAdapt and an oracle through the commands that a user types, prints their scores and draws a picture.")
    parser.add_argument("-o", default="nnuda_demo", metavar="FOLDER",
                        help="[OPTIONAL] new folder. Default: ./nnuda_demo")
    return parser


def main() -> None:
    """Console script nnUDA_demo."""
    folder = Path(build_parser().parse_args().o)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        sys.exit(f"nnUDA_demo: Expected a new or empty folder; {folder} holds something. "
                 "Remove it, or give another with -o.")
    from nnuda.demo.run import run_demo  # imports torch: only once the folder is known to be free

    try:
        run_demo(folder)
    except CommandFailed as error:
        sys.exit(f"\nnUDA_demo: {error}")


if __name__ == "__main__":
    main()
