"""Files that are never half-written: written aside, then renamed. A reader sees the old file or the new one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from nnunetv2.utilities.json_export import recursive_fix_for_json_export


@contextmanager
def replacing(path: str, ending: str = "") -> Iterator[str]:
    """Where to write a file that takes its place when the block ends; nothing is left where the block raises.

    Args:
        path: of the file; its folder is made.
        ending: of the name to write to, for writers that know the format by it.

    Yields:
        A path in the same folder; it carries the process's number, so that two processes never write to one file.
    """
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    aside = f"{path}.{os.getpid()}.tmp{ending}"
    try:
        yield aside
        with open(aside, "rb+") as file:
            os.fsync(file.fileno())  # a machine that goes down right after the rename keeps one of the two files
        os.replace(aside, path)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


@contextmanager
def folder_aside(folder: str) -> Iterator[str]:
    """An empty folder beside `folder`, from which finished files or the whole folder are moved; it is gone after the
    block, whatever happened."""
    aside = f"{folder}.{os.getpid()}.tmp"
    os.makedirs(aside)
    try:
        yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def write_text(text: str, path: str) -> None:
    """Write a text file; line ends stay as they are."""
    with replacing(path) as aside, open(aside, "w", encoding="utf-8", newline="") as file:
        file.write(text)


def write_json(content: dict, path: str) -> None:
    """Write a JSON file. Numpy scalars become JSON numbers."""
    recursive_fix_for_json_export(content)
    write_text(json.dumps(content, indent=4), path)
