"""Runs what a stage has left, with a line before and after it."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable
from pathlib import Path

from nnuda.commands import run_logged
from nnuda.stages.left import AdaptError, Left
from nnuda.stages.progress import duration
from nnuda.stages.road import Road

STAGES = ("plan and preprocess", "train", "predict", "predict by another epoch", "estimate", "report", "postprocess")
PLAN, TRAIN, PREDICT, OTHER, ESTIMATE, REPORT, POSTPROCESS = range(len(STAGES))


def say(line: str) -> None:
    print(line, flush=True)


def title(number: int) -> str:
    return f"[{number + 1}/{len(STAGES)}] {STAGES[number]}"


class Runner:
    """Runs commands with their output in the folder's logs.

    Args:
        road: whose folder.
        lock: descriptor that commands shall hold too: one that outlives a killed nnUDA_adapt still keeps others out.
    """

    def __init__(self, road: Road, lock: int | None) -> None:
        self.logs, self.held = Path(road.folder) / "logs", [] if lock is None else [lock]
        self.logs.mkdir(exist_ok=True)

    def indented(self, line: str) -> None:
        say(f"      {line}")

    def warn(self, line: str) -> None:
        """What planning says loudly must not stay in a log."""
        if line.startswith("WARNING:"):
            self.indented(line)

    def stage(self, number: int, left: Callable[[], Left | None], watch: Callable[[str], None] | None = None) -> None:
        """Nothing, or the command that is left.

        Raises:
            AdaptError: it ended well, and yet its result is not there.
        """
        self.run(title(number), left, watch, prefix=f"{number + 1}_")

    def run(
        self,
        name: str,
        left: Callable[[], Left | None],
        watch: Callable[[str], None] | None = None,
        prefix: str = "0_",
        once: bool = False,
    ) -> float:
        """The same for a step of any name.

        Args:
            name: to print.
            left: asked before the command, and after it.
            watch: called with each line that the command prints. Default: passes warnings on.
            prefix: of the log's name.
            once: do not ask after it.

        Returns:
            Seconds that the command took; 0 without one.
        """
        todo = left()
        if todo is None:
            say(f"{name}: there already")
            return 0.0
        say(f"{name}{f': {todo.note}' if todo.note else ''}")
        self.indented(f"$ {shlex.join(todo.command)}")
        todo.prepare()
        log = self._free_log(prefix + todo.command[0])
        environment = {**os.environ, **todo.environment}
        seconds = run_logged(todo.command, log, environment=environment, watch=watch or self.warn, held=self.held)
        todo.done()
        if not once and left() is not None:
            raise AdaptError(
                f"{todo.command[0]} ended well, but what it should leave is missing or older than what it is made of. "
                f"Look into {log}; run the same nnUDA_adapt again if something changed these files meanwhile."
            )
        self.indented(f"{duration(seconds)}, log: {log}")
        return seconds

    def _free_log(self, name: str) -> Path:
        """A continued command gets a log of its own."""
        names = (f"{name}{f'_{n}' if n else ''}.log" for n in range(10**6))
        return next(file for file in (self.logs / name for name in names) if not file.exists())
