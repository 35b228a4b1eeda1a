"""How every command runs."""

from __future__ import annotations

import os
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Sequence

from nnuda.errors import NnudaError, one_message

PLANNING_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed")


def run_command(
    parser: ArgumentParser,
    command: Callable[[Namespace], None],
    arguments: list[str] | None,
    folders: Sequence[str] = (),
) -> None:
    """Parse, then run. What the user can put right is said in one message, without a traceback.

    Args:
        parser: of the command's options.
        command: called with the parsed options.
        arguments: in place of the command line's.
        folders: environment variables of nnU-Net's that the command needs.

    The exit status is 1 after an error, 130 after Ctrl-C, 143 after SIGTERM; nnUDA_DEBUG=1 shows the traceback.
    """
    args = parser.parse_args(arguments)
    with one_message():
        for variable in folders:
            if variable not in os.environ:
                raise NnudaError(
                    f"Environment variable {variable} is not set. Set it as for nnU-Net: a folder's absolute path."
                )
        command(args)
