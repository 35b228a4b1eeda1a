"""Files that are never half-written: written aside, then renamed. A reader sees the old file or the new one.
Leftovers of processes that were killed are swept, and a lock keeps two programs out of one folder.
And the one gate through which JSON files of others come in."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import re
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, TYPE_CHECKING, Any

from nnuda.errors import NnudaError, short

if TYPE_CHECKING:
    import numpy as np

PICTURE_METADATA, PICTURE_MARK = {"Software": "nnuda"}, b"Software\0nnuda"  # how a PNG of ours begins
_ROOM = 2**20  # bytes, below which a disk is full

try:
    import fcntl
except ImportError:  # Windows: no locks
    fcntl = None

LOCK = "nnuda.lock"  # within a folder that one program at a time may write to
_HOST = re.sub(r"[^A-Za-z0-9_]", "-", socket.gethostname()) or "host"
_LEFTOVER = re.compile(r".+?\.(?P<host>[\w-]+)-(?P<process>\d+)\.tmp[\w.]*")
_A_DAY = 24 * 3600
_STARTED = time.time()
_swept: set[str] = set()  # folders in which this process has looked for leftovers
_locks: set[int] = set()  # descriptors of the locks that this process holds


class FileError(NnudaError, ValueError):
    """A file that is damaged, is not what it should be, or lies where nothing may be written."""


class LockedError(NnudaError, RuntimeError):
    """Another program is at work where this one was to write."""


# ---- written aside, then renamed ------------------------------------------------------------------------------------


@contextmanager
def replacing(path: str, ending: str = "") -> Iterator[str]:
    """Where to write a file that takes its place when the block ends; nothing is left where the block raises.

    Args:
        path: of the file; its folder is made.
        ending: of the name to write to, for writers that know the format by it.

    Yields:
        A path in the same folder; it carries the host's name and the process's number, so that two processes never
        write to one file.
    """
    folder = os.path.dirname(os.path.abspath(path))
    os.makedirs(folder, exist_ok=True)
    _sweep_once(folder)
    aside = f"{_aside(path)}{ending}"
    try:
        with _saying_that_the_disk_is_full(path):
            yield aside
        into_place(aside, path)
    finally:
        if os.path.exists(aside):
            os.remove(aside)


@contextmanager
def folder_aside(folder: str) -> Iterator[str]:
    """An empty folder beside `folder`, from which finished files or the whole folder are moved (`into_place`); it is
    gone after the block, whatever happened."""
    _sweep_once(os.path.dirname(os.path.abspath(folder)))
    aside = _aside(folder)
    if os.path.isdir(aside):  # of a killed process that had this one's number
        shutil.rmtree(aside)
    os.makedirs(aside)
    try:
        with _saying_that_the_disk_is_full(folder):
            yield aside
    finally:
        shutil.rmtree(aside, ignore_errors=True)


@contextmanager
def _saying_that_the_disk_is_full(path: str) -> Iterator[None]:
    """torch and ITK say "file write failed" and the like, without the reason."""
    try:
        yield
    except RuntimeError as error:
        if shutil.disk_usage(os.path.dirname(os.path.abspath(path))).free < _ROOM:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path) from error
        raise


def into_place(aside: str, path: str) -> None:
    """Move a finished file, or folder, to its name. A machine that goes down meanwhile keeps the old or the new one."""
    for file in [aside] if os.path.isfile(aside) else (entry for entry in Path(aside).rglob("*") if entry.is_file()):
        with open(file, "rb+") as content:
            os.fsync(content.fileno())
    os.replace(aside, path)
    _sync_folder(os.path.dirname(os.path.abspath(path)))


def _aside(path: str) -> str:
    return f"{path}.{_HOST}-{os.getpid()}.tmp"


def _sync_folder(folder: str) -> None:
    """Let the rename reach the disk, where the file system has such a thing."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


# ---- leftovers ------------------------------------------------------------------------------------------------------


def sweep(folder: str) -> list[str]:
    """Remove the files and folders written aside in a folder by processes that were killed.

    Those of running processes stay; so do those of other hosts, unless nobody has touched them for a day.

    Args:
        folder: it alone is looked at, not what is below it.

    Returns:
        Names of what was removed.
    """
    if not os.path.isdir(folder):
        return []
    _swept.add(os.path.abspath(folder))
    left = [entry for entry in os.scandir(folder) if _is_left_over(entry)]
    for entry in left:
        if entry.is_dir(follow_symlinks=False):
            shutil.rmtree(entry.path, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # another process sweeps, too
                os.remove(entry.path)
    return sorted(entry.name for entry in left)


def _sweep_once(folder: str) -> None:
    if folder not in _swept:
        sweep(folder)


def _is_left_over(entry: os.DirEntry) -> bool:
    match = _LEFTOVER.fullmatch(entry.name)
    if not match:
        return False
    try:
        touched = entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:
        return False
    process = int(match["process"])
    if match["host"] != _HOST:
        return touched < time.time() - _A_DAY
    if process == os.getpid():
        return touched < _STARTED
    return not _runs(process)


def _runs(process: int) -> bool:
    if os.name == "nt":  # where os.kill is no question
        return True
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


# ---- locks ----------------------------------------------------------------------------------------------------------


@contextmanager
def locked(path: str, what: str) -> Iterator[int | None]:
    """Keeps other programs out while the block runs. The operating system lets go of the lock when a process ends,
    however it ends.

    Args:
        path: of the lock file, which is there while the block runs; <folder>/nnuda.lock (`LOCK`) for a folder.
        what: is locked, for the message, such as "results folder .../fold_0".

    Yields:
        The lock's descriptor: a program that is started with it holds the lock, too, and goes on holding it where this
        one is killed. None on a file system without locks.

    Raises:
        LockedError: says who holds it, since when and on which host.
    """
    descriptor = _lock(path, what)
    try:
        yield descriptor
    finally:
        if descriptor is not None:
            with contextlib.suppress(OSError):
                os.remove(path)  # while it is held: who opened it meanwhile sees that it is gone and makes another
            _locks.discard(descriptor)
            os.close(descriptor)


def _let_go_after_fork() -> None:
    for descriptor in _locks:  # else a worker that outlives this process for a moment would hold them on
        os.close(descriptor)
    _locks.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)


def _lock(path: str, what: str) -> int | None:
    """A locked file's descriptor; None where locks are not to be had."""
    if fcntl is None:
        return None
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _is(descriptor, path):  # whoever held it has just removed it
                os.close(descriptor)
                continue
        except OSError as error:
            holder = os.read(descriptor, 1000).decode("utf-8", "replace").strip()
            os.close(descriptor)
            if error.errno in (errno.EAGAIN, errno.EACCES):
                raise LockedError(
                    f"Another program is at work in {what}: {holder or 'unknown'}. Wait until it has ended, or end it; "
                    "then run the same command again."
                ) from None
            return None  # a file system without locks
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        with contextlib.suppress(OSError):  # on a full disk the lock holds without its words
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()} since {since}\n".encode())
        _locks.add(descriptor)
        return descriptor


def _is(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


# ---- content --------------------------------------------------------------------------------------------------------


def write_text(text: str, path: str) -> None:
    """Write a text file; line ends stay as they are, names that are no UTF-8 are shown as they can be."""
    with replacing(path) as aside, open(aside, "w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)


def write_json(content: dict, path: str) -> None:
    """Write a JSON file. Numpy scalars become JSON numbers."""
    from nnunetv2.utilities.json_export import recursive_fix_for_json_export  # imports torch

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
        content = json.loads(Path(path).read_bytes().decode("utf-8"), object_pairs_hook=_each_key_once)
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
    except _TwiceError as error:
        raise wrong(f"the entry {error} twice in one object") from None
    except ValueError as error:  # a number of thousands of digits
        raise wrong(f"no JSON ({error})") from None
    except RecursionError:
        raise wrong("JSON that is nested too deeply") from None
    complaint = schema_complaint(content, schema or {"type": "object"})
    if complaint:
        raise wrong(complaint)
    return content


class _TwiceError(NnudaError, ValueError):
    """A key that an object has twice: of which one counts, nobody knows."""


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        raise _TwiceError(short(repr(next(name for name in names if names.count(name) > 1))))
    return content


def _is_integer(_: Any, value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63


def _is_number(_: Any, value: Any) -> bool:
    return _is_integer(_, value) or (isinstance(value, float) and math.isfinite(value))


def _is_nan(_: Any, value: Any) -> bool:
    return isinstance(value, float) and math.isnan(value)


@cache
def schema_validator() -> type:
    """Of JSON Schema, with numbers that can be reckoned with: Python's json also reads NaN, Infinity and whole numbers
    beyond 64 bits, and 1e3 is no integer where range() is to count to it. Where a mean of nothing may be meant, a schema
    allows the type "nan" too."""
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    types = {"integer": _is_integer, "number": _is_number, "nan": _is_nan}
    return extend(Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many(types))


def schema_complaint(content: Any, schema: dict) -> str:
    """What is wrong with a content, with its place, in one sentence; empty where nothing is."""
    from jsonschema.exceptions import best_match

    error = best_match(schema_validator()(schema).iter_errors(content))
    if error is None:
        return ""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "type" and isinstance(error.instance, float) and not math.isfinite(error.instance):
        return f"{where}: expected a finite number, not NaN or infinity; it is {error.instance}"
    return f"{where}: {short(error.message)}" if where else short(error.message)


def read_arrays(path: str | Path, what: str, remedy: str = "") -> dict[str, np.ndarray]:
    """Read an .npz that somebody else may have written or cut off; no code that is in it runs.

    Args:
        path: of the file.
        what: it is, for the message, such as "probabilities of nnUNetv2_predict".
        remedy: what to do where it is not as it should be.

    Raises:
        FileError: not there, damaged, or holding Python objects.
    """
    import zipfile
    import zlib

    import numpy as np

    try:
        with np.load(path, allow_pickle=False) as arrays:
            twice = next((name for name in arrays.files if arrays.files.count(name) > 1), None)
            if twice is not None:
                raise ValueError(f"{twice} is in it twice")
            return {name: arrays[name] for name in arrays.files}
    except FileNotFoundError:
        reason = "no file"
    except IsADirectoryError:
        reason = "a folder"
    except PermissionError:
        raise
    except (AttributeError, TypeError):  # a single array, an .npy
        reason = "another kind of file"
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile, zlib.error) as error:
        python = "pickle" in str(error).lower()
        reason = "Python objects, which are not read" if python else f"a damaged file ({short(str(error))})"
    raise FileError(f"{path}: expected {what} (.npz); got {reason}. {remedy}".rstrip())


def check_output(path: str, option: str, mark: bytes = b"", force: bool = False) -> None:
    """Stop before any long work where a file could not be written in the end, or would replace another one's.

    Args:
        path: of the file that is going to be written.
        option: of the command that names it, for the message.
        mark: what begins (4096 bytes) each file of this kind that nnuda writes: such a one is replaced.
        force: replace any.

    Raises:
        FileError: the place is a folder, cannot be written to or is full, or holds a file of the user's.
    """
    if os.path.isdir(path):
        raise FileError(f"{option}: expected a file to write; {path} is a folder. Name a file in it.")
    if os.path.exists(path) and not os.path.isfile(path):
        raise FileError(f"{option}: expected a file to write; {path} is a device or the like. Name a file.")
    if os.path.lexists(path) and not force and not _begins_with(path, mark):
        raise FileError(
            f"{option}: {path} is there, and this command did not write it. Name another file, or replace it with "
            "--force."
        )
    check_output_folder(os.path.dirname(os.path.abspath(path)), option, os.path.basename(path))


def check_output_folder(folder: str, option: str, name: str = "") -> None:
    """Stop before any long work where nothing could be written in a folder, which need not be there yet.

    Args:
        folder: that is going to be written in.
        option: of the command that names it, for the message.
        name: of a file to be written there, where it is known.

    Raises:
        FileError: what is there is no folder, or cannot be written to, or is full.
    """
    there = os.path.abspath(folder)
    while not os.path.lexists(there):
        there = os.path.dirname(there)
    if not os.path.isdir(there):
        raise FileError(
            f"{option}: expected a folder to write in; {there} is a file. Move it away, or name another folder."
        )
    try:
        _sweep_once(there)
        named = name and there == os.path.abspath(folder)
        with _trial(os.path.join(there, name)) if named else TemporaryFile(dir=there) as file:
            file.write(bytes(2**16))
            if shutil.disk_usage(there).free < _ROOM:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    except OSError as error:
        file = f", so no {short(name, 100)}" if name else ""
        raise FileError(
            f"{option}: nothing can be written in {folder}{file} ({error.strerror}). Make that possible, or name "
            "another place."
        ) from error


@contextmanager
def _trial(path: str) -> Iterator[IO[bytes]]:
    """A file of about that name, which is gone after the block."""
    aside = _aside(path)
    try:
        with open(aside, "wb") as file:
            yield file
    finally:
        with suppress(OSError):
            os.remove(aside)


def check_own_folder(folder: str, option: str, record: str = "") -> None:
    """Stop before any long work where a folder to write in holds what this command did not write, or takes no files.

    Args:
        folder: that is going to be written in; it need not be there yet.
        option: of the command that names it, for the message.
        record: name of the file by which the command knows a folder of its own; empty where it takes none twice.

    Raises:
        FileError: the folder is not empty and has no record, or as `check_output_folder`.
    """
    check_output_folder(folder, option)
    held = sorted(name for name in os.listdir(folder) if name != LOCK) if os.path.isdir(folder) else []
    if held and record not in held:
        own = ", or one that this command wrote" if record else ""
        raise FileError(
            f"{option}: expected a new or empty folder{own}; {folder} holds {short(', '.join(held[:3]))}. Name another, or "
            "move that away."
        )


def _begins_with(path: str, mark: bytes) -> bool:
    try:
        with open(path, "rb") as file:
            return bool(mark) and mark in file.read(4096)
    except OSError:
        return False


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
