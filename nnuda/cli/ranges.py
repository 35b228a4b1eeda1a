"""Types of options: what a number may be is said by the parser, before anything else is done."""

from __future__ import annotations

import math
import re
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence

from nnuda.errors import NnudaError, short

MAX_PROCESSES = 1024


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """A whole number within a range."""

    def parse(text: str) -> int:
        if not re.fullmatch(r"[+-]?\d{1,18}", text.strip(), re.ASCII) or not least <= int(text) <= most:
            up_to = f" to {most}" if most < 2**31 - 1 else " on"
            raise ArgumentTypeError(f"expected a whole number from {least}{up_to}; got {short(text)!r}")
        return int(text)

    return parse


def decimal(least: float, most: float, unit: str = "") -> Callable[[str], float]:
    """A finite number within a range."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise ArgumentTypeError(f"expected a number{unit} from {least:g} to {most:g}; got {short(text)!r}")
        return value

    return parse


def fold(text: str) -> str:
    """A fold as nnU-Net names it: a number, or "all"."""
    if not re.fullmatch(r"all|\d{1,4}", text, re.ASCII):
        raise ArgumentTypeError(f"expected the number of a fold, or all; got {short(text)!r}")
    return text


def seed(text: str) -> int:
    """As the setting training.seed has it."""
    from nnuda.settings import largest_seed

    return whole(0, largest_seed())(text)


def ending(*endings: str) -> Callable[[str], str]:
    """A file whose name says its format."""

    def parse(text: str) -> str:
        if not text.lower().endswith(endings):
            raise ArgumentTypeError(f"expected a file that ends with {' or '.join(endings)}; got {short(text)!r}")
        return text

    return parse


def by_class(words: Sequence[str], parse: Callable[[str], float], option: str) -> dict[str | None, float]:
    """["2", "liver=5"] -> {None: 2.0, "liver": 5.0}.

    Raises:
        NnudaError: not a number as `parse` takes it, or two for one class.
    """
    numbers: dict[str | None, float] = {}
    for word in words:
        name, _, number = word.rpartition("=")
        if (name or None) in numbers:
            raise NnudaError(f"{option}: expected one number for {name or 'all classes'}, got a second one: {word}.")
        try:
            numbers[name or None] = parse(number)
        except ArgumentTypeError as error:
            raise NnudaError(f"{option}: {error}. For one class: CLASS=NUMBER.") from None
    return numbers


number_of_processes = whole(1, MAX_PROCESSES)
gigabytes = decimal(0.5, 10_000, " of GB")  # no network of nnU-Net's is so small
