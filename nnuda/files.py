"""Files that are never half-written: written aside, then renamed. A reader sees the old file or the new one.
And the one gate through which JSON files of others come in."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nnunetv2.utilities.json_export import recursive_fix_for_json_export

from nnuda.errors import NnudaError


class FileError(NnudaError, ValueError):
    """A file that is damaged, is not what it should be, or lies where nothing may be written."""


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
    except RuntimeError as error:  # torch and ITK say "file write failed" and the like, without the reason
        if shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free < 2**20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from error
        raise
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


def sha256(path: str | Path) -> str:
    """Hash of a file's content, in hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def read_json(path: str | Path, what: str, schema: dict | None = None, remedy: str = "") -> Any:
    """Read a JSON file that somebody else may have written or cut off.

    Args:
        path: of the file.
        what: it is, for the message, such as "a plan of nnU-Net's".
        schema: JSON schema of its content; None: an object with anything in it.
        remedy: what to do where it is not as it should be.

    Raises:
        FileError: not there, not JSON, or not of that schema; names the file, the place in it and what was expected.

    >>> read_json("dataset.json", "a dataset.json", {"type": "object", "required": ["labels"]})  # doctest: +SKIP
    """

    def wrong(got: str) -> FileError:
        return FileError(f"{path}: expected {what}; got {got}. {remedy}".rstrip())

    try:
        content = json.loads(Path(path).read_bytes().decode("utf-8"))
    except FileNotFoundError:
        raise wrong("no file") from None
    except IsADirectoryError:
        raise wrong("a folder") from None
    except UnicodeDecodeError:
        raise wrong("a text that is not UTF-8: save it as UTF-8") from None
    except json.JSONDecodeError as error:
        if os.path.getsize(path) == 0:
            raise wrong("an empty file") from None
        if "BOM" in error.msg:
            raise wrong(
                "a text with a byte order mark, which nnU-Net cannot read: save it as UTF-8 without one"
            ) from None
        raise wrong(f"no JSON (line {error.lineno}, column {error.colno}: {error.msg})") from None
    except RecursionError:
        raise wrong("JSON that is nested too deeply") from None
    complaint = schema_complaint(content, schema or {"type": "object"})
    if complaint:
        raise wrong(complaint)
    return content


def schema_complaint(content: Any, schema: dict) -> str:
    """What is wrong with a content, with its place, in one sentence; empty where nothing is."""
    from jsonschema import Draft202012Validator
    from jsonschema.exceptions import best_match

    error = best_match(Draft202012Validator(schema).iter_errors(content))
    if error is None:
        return ""
    where = ".".join(str(part) for part in error.absolute_path)
    text = error.message if len(error.message) < 300 else f"{error.message[:140]} ... {error.message[-140:]}"
    return f"{where}: {text}" if where else text


def inside(root: str, path: str, what: str) -> str:
    """A path that must lie below a folder; the one guard before a name out of a file becomes a place to write or
    delete.

    Args:
        root: the folder.
        path: the place; relative ones count from `root`. Links that already are there are followed.
        what: names the path, for the message.

    Returns:
        The path, joined to `root`.

    Raises:
        FileError: it is `root` itself or lies outside.
    """
    joined = os.path.join(root, path)
    real, real_root = os.path.realpath(joined), os.path.realpath(root)
    if real == real_root or os.path.commonpath([real, real_root]) != real_root:
        raise FileError(f"{what}: {path!r} leads out of {root}. Expected a name without .. or a leading /.")
    return joined
