"""Commands of this Python environment, run as a user types them: logged, timed, and ended with whoever runs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from nnuda.errors import NnudaError

TAIL_LINES = 25
POLL_SECONDS = 0.1
PATIENCE_SECONDS = 15  # for a command that was asked to end


class CommandFailed(NnudaError, RuntimeError):
    """A command ended with an error; the message holds the end of its log."""


def find_program(name: str, path: str = "") -> str:
    """The command of the environment that nnuda runs in, whether or not it is activated.

    Args:
        name: of the command.
        path: where else to look, as the variable PATH has it.

    Raises:
        CommandFailed: it is not installed.
    """
    program = shutil.which(name, path=os.pathsep.join([os.path.dirname(sys.executable), path]))
    if program is None:
        raise CommandFailed(
            f"Expected the command {name} beside {sys.executable} or on the PATH; it is not there. "
            "Install nnuda in this environment: pip install ."
        )
    return program


class LoggedCommand:
    """A command that was started with its output in a file, in a session of its own.

    Args:
        words: of the command.
        log: file for what it prints.
        folder: to run in. Default: this process's.
        environment: variables. Default: this process's.
        watch: called with each line that it prints.
        held: open files that it shall hold open too, such as a lock.

    Raises:
        CommandFailed: it is not installed.
    """

    def __init__(
        self,
        words: Sequence[str],
        log: Path,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
        watch: Callable[[str], None] | None = None,
        held: Sequence[int] = (),
    ) -> None:
        environment = dict(os.environ if environment is None else environment)
        self.name, self.log, self.watch = words[0], log, watch
        self.start, self.begun = time.perf_counter(), ""
        with log.open("w", encoding="utf-8", errors="replace") as file:
            self.process = self.started(words, file, folder, {**environment, "PYTHONUNBUFFERED": "1"}, held)
        self.reader = log.open(encoding="utf-8", errors="replace")

    def started(
        self,
        words: Sequence[str],
        output: TextIO,
        folder: Path | None,
        environment: dict[str, str],
        held: Sequence[int],
    ) -> subprocess.Popen:
        """The process. It prints without a buffer: else an error stands above what was printed before it."""
        return subprocess.Popen(
            [find_program(words[0], environment.get("PATH", "")), *words[1:]],
            cwd=folder,
            env=environment,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=held,
        )

    def ended(self) -> bool:
        """Whether it has ended; passes on what it has printed since.

        Raises:
            CommandFailed: it ended with an error.
        """
        status = self.process.poll()
        *lines, self.begun = (self.begun + self.reader.read()).split("\n")
        for line in lines if self.watch else ():
            self.watch(line)
        if status is None:
            return False
        self.reader.close()
        self.seconds = time.perf_counter() - self.start
        if status != 0:
            tail = "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
            raise CommandFailed(f"{self.name} ended with status {status}. The end of {self.log}:\n\n{tail}\n")
        return True

    def end(self) -> None:
        """End it and its worker processes: Ctrl-C first, by which nnU-Net ends them itself."""
        self.reader.close()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
            except ProcessLookupError:
                return
            try:
                self.process.wait(PATIENCE_SECONDS)
            except subprocess.TimeoutExpired:
                continue


def run_lanes(lanes: Iterable[Iterator[LoggedCommand]], at_once: int) -> None:
    """Run lanes side by side, in each lane one command after the other.

    Args:
        lanes: each starts a command when it is asked for the next.
        at_once: so many lanes at a time, in their order.

    Raises:
        CommandFailed: of the command that ended with an error first; all others were ended.
    """
    waiting, running = deque(lanes), {}

    def go_on(lane: Iterator[LoggedCommand]) -> None:
        running.pop(lane, None)
        command = next(lane, None)
        if command is not None:
            running[lane] = command

    try:
        while waiting or running:
            for lane in [lane for lane, command in running.items() if command.ended()]:
                go_on(lane)
            while waiting and len(running) < at_once:
                go_on(waiting.popleft())
            time.sleep(POLL_SECONDS)
    except BaseException:
        for command in running.values():
            command.end()
        raise


def run_logged(words: Sequence[str], log: Path, **options: Any) -> float:
    """Run one command with its output in a file; the arguments are those of `LoggedCommand`.

    It ends with its worker processes where this process is interrupted or terminated.

    Returns:
        Seconds that it took.

    Raises:
        CommandFailed: it is not installed, or ended with an error.
    """
    command = LoggedCommand(words, log, **options)
    run_lanes([iter([command])], 1)
    return command.seconds
