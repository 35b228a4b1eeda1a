"""How every command runs."""

from __future__ import annotations

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import redirect_stdout

from nnuda.environment import check_numbers
from nnuda.errors import HarmlessOutput, NnudaError, one_message

PLANNING_FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed")


def add_force(parser: ArgumentParser) -> None:
    """--force: for commands that write where the user says."""
    parser.add_argument("--force", action="store_true", help="replace files that this command did not write")


def check_variables(variables: Sequence[str]) -> None:
    """Stop where one of nnU-Net's path variables is not set, or leads to the place of another.

    Raises:
        NnudaError: names it.
    """
    for variable in variables:
        if not os.environ.get(variable):
            raise NnudaError(
                f"Environment variable {variable} is not set. Set it as for nnU-Net: a folder's absolute path."
            )
    places = {os.path.realpath(os.environ[variable]): variable for variable in variables}
    if len(places) < len(variables):
        raise NnudaError(
            f"Environment variables {' and '.join(variables)}: expected a folder for each; got {os.environ[variables[0]]} "
            "for two of them. Give each its own."
        )
    for place, variable in places.items():
        for outer, other in places.items():
            within = os.path.relpath(place, outer).split(os.sep)[0]
            if within.startswith("Dataset"):  # nnU-Net and nnuda look for files of that dataset there
                raise NnudaError(
                    f"Environment variable {variable}: expected a folder of its own; got {os.environ[variable]}, which "
                    f"lies in {within} of {other}. Name another place."
                )


def check_folders(folders: Mapping[str, str | None]) -> None:
    """Stop where a folder to read is not there; for what is asked before anything that takes seconds is imported.

    Args:
        folders: option -> folder; None where it was not given.

    Raises:
        NnudaError: names option and folder.
    """
    for option, folder in folders.items():
        if folder is not None and not os.path.isdir(folder):
            raise NnudaError(f"{option}: expected a folder; {folder} {_instead(folder)}. Correct the path.")


def _instead(path: str) -> str:
    """What a path is that is no folder."""
    try:
        os.stat(path)
    except PermissionError:
        return "cannot be looked at with the rights of this account"
    except OSError:
        return "is not there"
    return "is a file"


def check_needed(option: str, value: object, of_it: Mapping[str, object]) -> None:
    """Stop where an option was given without the one that it belongs to, and would change nothing.

    Args:
        option: that the others need.
        value: of it; nothing where it was not given.
        of_it: option -> value; nothing where it was not given.

    Raises:
        NnudaError: names both.
    """
    given = [name for name, what in of_it.items() if what]
    if given and not value:
        raise NnudaError(
            f"Expected {option} with {' and '.join(given)}, which {'belong' if len(given) > 1 else 'belongs'} to it. Add "
            f"{option}, or leave {'them' if len(given) > 1 else given[0]} out."
        )


def check_different(given: Iterable[tuple[str, str]]) -> None:
    """Stop where one folder was given twice, as what is to be compared.

    Args:
        given: option and folder of each.

    Raises:
        NnudaError: names the options.
    """
    known: dict[str, str] = {}
    for option, path in given:
        place = os.path.realpath(path)
        if place in known:
            what = f"the folder of {known[place]} itself" if known[place] != option else "which is there twice"
            raise NnudaError(f"{option}: expected another folder; got {path}, {what}. Name another, or leave it out.")
        known[place] = option


def add_device(parser: ArgumentParser) -> None:
    """Add -device."""
    parser.add_argument(
        "-device", "--device", choices=["cuda", "cpu", "mps"], help="default: cuda where there is one, else cpu"
    )


def usable_device(asked: str | None = None) -> str:
    """The device that was asked for; without, cuda where there is a GPU, else cpu.

    Raises:
        NnudaError: this machine has none of the kind.
    """
    import torch

    here = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    device = asked or ("cuda" if here["cuda"] else "cpu")
    if not here[device]:
        kind = "CUDA" if device == "cuda" else "Apple"
        others = " or ".join(name for name in here if here[name])
        raise NnudaError(f"No {kind} GPU here, or torch was installed without its support. Add -device {others}.")
    return device


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
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    os.environ["MPLBACKEND"] = "agg"  # pictures go to files
    args = parser.parse_args(arguments)
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="backslashreplace")  # a terminal without UTF-8 cannot show every name
    with one_message(), redirect_stdout(HarmlessOutput(sys.stdout)):
        check_numbers()
        check_variables(folders)
        command(args)
