"""How the parser of every command is made: help with examples, and --version."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import NoReturn

from nnuda import __version__
from nnuda.errors import NnudaError


class OptionsError(NnudaError, ValueError):
    """Options that stand in a file, or in a call, and that the parser does not take."""


class _Formatter(argparse.HelpFormatter):
    """Fills each line of a text by itself; one that is indented is a command to copy, and stays as it is."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        fill = super()._fill_text
        return "\n".join(line if line.startswith(" ") else fill(line, width, indent) for line in text.splitlines())


class _Version(argparse.Action):
    """Prints and ends, as --help does."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(f"nnuda {__version__}, nnunetv2 {_version('nnunetv2')}, torch {_version('torch')}")
        parser.exit()


class _Parser(argparse.ArgumentParser):
    """An empty text, such as a variable that is not set leaves in a script, is no value."""

    def parse_known_args(self, args=None, namespace=None) -> tuple[argparse.Namespace, list[str]]:
        found, rest = super().parse_known_args(args, namespace)
        for action in self._actions:
            value = getattr(found, action.dest, None)
            if value != action.const and (value == "" or (isinstance(value, list) and "" in value)):
                self.error(
                    f"argument {'/'.join(action.option_strings) or action.dest}: expected a value, got an empty text"
                )
        return found, rest


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def new_parser(name: str, description: str, examples: Sequence[str], more: str = "") -> argparse.ArgumentParser:
    """A parser to add options to.

    Args:
        name: what the user types.
        description: what the command does.
        examples: commands without their name, as they can be typed; a long one in lines that end with a backslash.
        more: stands before the examples.
    """
    lines = [f"  {name} {example}".rstrip().replace("\n", "\n      ") for example in examples]
    parser = _Parser(
        prog=name,
        description=description,
        epilog="\n".join([*([more, ""] if more else []), "examples:", *lines]),
        formatter_class=_Formatter,
    )
    parser.add_argument(
        "--version",
        action=_Version,
        nargs=0,
        default=argparse.SUPPRESS,
        help="print the versions of nnuda, nnunetv2 and torch, and end",
    )
    return parser


def parse_words(
    words: Sequence[str], where: str, *groups: Callable[[argparse.ArgumentParser], None]
) -> argparse.Namespace:
    """Options that were not typed, but stand in a file.

    Args:
        words: options and their values.
        where: they stand, for the message.
        groups: each adds the options of one kind.

    Raises:
        OptionsError: instead of a usage and the end of the program.
    """

    def refuse(message: str) -> NoReturn:
        known = [name for action in parser._actions for name in action.option_strings]
        raise OptionsError(f"{where}: {message}. Expected some of {', '.join(known)}.")

    parser = _Parser(add_help=False)
    for add in groups:
        add(parser)
    parser.error = refuse  # type: ignore[method-assign]
    return parser.parse_args(list(words))
