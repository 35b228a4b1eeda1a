"""Faults on purpose, as SQLite's tests make them: in a process of its own, the n-th touch of a file fails, or is the
last thing that the process does; or it is killed at some moment.

Processes are forked from the test's, which has imported everything and run nothing.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import os
import shutil
import signal
import time
import traceback
from collections.abc import Callable
from pathlib import Path

FAILS, DIES = "fails", "dies"
# what touches files: module, and the function's name there
TOUCHES = [
    (os, "replace"),
    (os, "rename"),
    (os, "remove"),
    (os, "unlink"),
    (os, "mkdir"),
    (os, "fsync"),
    (shutil, "rmtree"),
    (shutil, "copyfile"),
]


class Touches:
    """Counts what a process does to files below a folder, reading included; the n-th is the fault.

    Args:
        root: the folder.
        number: of the touch, from 1; 0: none is a fault.
        kind: FAILS or DIES.
    """

    def __init__(self, root: Path, number: int = 0, kind: str = FAILS) -> None:
        self.root, self.number, self.kind, self.count = str(root), number, kind, 0

    def touch(self, path: object) -> None:
        if isinstance(path, int):  # a descriptor
            path = os.readlink(f"/proc/self/fd/{path}")
        if not isinstance(path, (str, os.PathLike)) or not os.path.abspath(os.fspath(path)).startswith(self.root):
            return
        self.count += 1
        if self.count == self.number:
            if self.kind == DIES:
                os.kill(os.getpid(), signal.SIGKILL)
            raise OSError(errno.EIO, "a fault on purpose", os.fspath(path))

    def begin(self) -> None:
        """From now on, in the whole process."""
        import torch
        from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

        def watched(function: Callable, position: int = 0) -> Callable:
            def touching(*args, **kwargs):
                self.touch(args[position] if len(args) > position else None)
                return function(*args, **kwargs)

            return touching

        for module, name in TOUCHES:
            setattr(module, name, watched(getattr(module, name)))
        builtins.open = io.open = watched(open)
        torch.save, torch.load = watched(torch.save, 1), watched(torch.load)
        nnUNetDatasetBlosc2.save_case = staticmethod(watched(nnUNetDatasetBlosc2.save_case, 3))


def forked(work: Callable[[], None], touches: Touches | None = None, seconds: float | None = None) -> tuple[int, str]:
    """Run something in a process of its own.

    Args:
        work: what is run.
        touches: with a fault among them, or to be counted.
        seconds: after which the process is killed.

    Returns:
        Its status, as a shell has it (negative: a signal), and what it printed; the number of touches at its end.
    """
    reader, writer = os.pipe()
    process = os.fork()
    if process == 0:
        _child(work, touches, reader, writer)
    os.close(writer)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(process, signal.SIGKILL)
    with open(reader, encoding="utf-8", errors="replace") as output:
        said = output.read()
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), said


def _child(work: Callable[[], None], touches: Touches | None, reader: int, writer: int) -> None:
    status = 1
    try:
        os.close(reader)
        for stream in (1, 2):
            os.dup2(writer, stream)
        import sys

        sys.stdout = sys.stderr = os.fdopen(1, "w", buffering=1, encoding="utf-8", closefd=False)
        if touches is not None:
            touches.begin()
        work()
        status = 0
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code)
        status = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            print(f"\ntouches: {touches.count if touches else 0}", flush=True)
        os._exit(status)


def touches_of(said: str) -> int:
    return int(said.rsplit("touches: ", 1)[1])


def leftovers(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if ".tmp" in path.name)
