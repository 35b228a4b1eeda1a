"""Commands that do not wait for the import of torch and nnU-Net: one process has imported them and is forked for each."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib import metadata
from pathlib import Path
from typing import TextIO

from nnuda.commands import LoggedCommand

IMPORTED = (
    "torch._dynamo",
    "nnunetv2.run.run_training",
    "nnunetv2.inference.predict_from_raw_data",
    "nnunetv2.experiment_planning.plan_and_preprocess_api",
    "nnuda.training.trainer",
)


class WarmCommand(LoggedCommand):
    """A command of nnuda or nnU-Net, in a process that has imported both. Others start as they always do, and so do all
    where the system has no forkserver.

    What is read at an import, as the number of threads, is that of this process when its first command starts.
    """

    def started(
        self,
        words: Sequence[str],
        output: TextIO,
        folder: Path | None,
        environment: dict[str, str],
        held: Sequence[int],
    ) -> subprocess.Popen | WarmProcess:
        """The process."""
        if words[0] not in _entry_points() or "forkserver" not in multiprocessing.get_all_start_methods():
            return super().started(words, output, folder, environment, held)
        return WarmProcess(words, str(self.log), str(folder or Path.cwd()), environment)


class WarmProcess:
    """What `LoggedCommand` asks of subprocess.Popen."""

    def __init__(self, words: Sequence[str], log: str, folder: str, environment: dict[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(IMPORTED))
        self.process = context.Process(target=_run, args=(list(words), log, folder, environment))
        self.process.start()
        self.pid = self.process.pid

    def poll(self) -> int | None:
        """Exit status; None: it runs."""
        return self.process.exitcode

    def wait(self, timeout: float) -> None:
        """Until it has ended.

        Raises:
            subprocess.TimeoutExpired: it has not, after so many seconds.
        """
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(str(self.pid), timeout)


def _run(words: list[str], log: str, folder: str, environment: dict[str, str]) -> None:
    os.setsid()
    for descriptor, file, how in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        os.dup2(os.open(file, how), descriptor)
    os.dup2(1, 2)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = words
    # nnU-Net's workers too: each would import for itself what is here already
    multiprocessing.get_context = partial(_context, multiprocessing.get_context)
    sys.exit(_entry_points()[words[0]].load()())


def _context(original, method: str | None = None) -> multiprocessing.context.BaseContext:
    return original("forkserver" if method == "spawn" else method)


@cache
def _entry_points() -> dict[str, metadata.EntryPoint]:
    found = metadata.entry_points(group="console_scripts")
    return {entry.name: entry for entry in found if entry.name.startswith(("nnUDA_", "nnUNetv2_"))}
