"""How every command runs."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from nnuda.errors import NnudaError

PLANNING_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed")
DEBUG = "nnUDA_DEBUG"


def run_command(
    parser: ArgumentParser,
    command: Callable[[Namespace], None],
    arguments: list[str] | None,
    folders: Sequence[str] = (),
) -> None:
    """Parse, then run. An error meant for the user is said without a traceback, and the exit status is 1.

    Args:
        parser: of the command's options.
        command: called with the parsed options.
        arguments: in place of the command line's.
        folders: environment variables of nnU-Net's that the command needs.

    The environment variable nnUDA_DEBUG=1 shows the traceback.
    """
    args = parser.parse_args(arguments)
    try:
        for variable in folders:
            if variable not in os.environ:
                raise NnudaError(
                    f"Environment variable {variable} is not set. Set it as for nnU-Net: a folder's absolute path."
                )
        command(args)
    except NnudaError as error:
        if os.environ.get(DEBUG) == "1":
            raise
        sys.exit(f"Error: {error}")
