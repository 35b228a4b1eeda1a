"""Commands of this Python environment, run as a user types them: logged, timed, and ended with whoever runs them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from nnuda.errors import NnudaError

TAIL_LINES = 25
POLL_SECONDS = 0.5
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


def run_logged(
    words: Sequence[str],
    log: Path,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    watch: Callable[[str], None] | None = None,
    held: Sequence[int] = (),
) -> float:
    """Run a command with its output in a file.

    It gets a session of its own, and ends with its worker processes where this process is interrupted or terminated.

    Args:
        words: of the command.
        log: file for what it prints.
        folder: to run in. Default: this process's.
        environment: variables. Default: this process's.
        watch: called with each line that it prints.
        held: open files that it shall hold open too, such as a lock.

    Returns:
        Seconds that it took.

    Raises:
        CommandFailed: it is not installed, or ended with an error.
    """
    environment = dict(os.environ if environment is None else environment)
    start = time.perf_counter()
    with log.open("w", encoding="utf-8", errors="replace") as file:
        process = subprocess.Popen(
            [find_program(words[0], environment.get("PATH", "")), *words[1:]],
            cwd=folder,
            env={**environment, "PYTHONUNBUFFERED": "1"},  # else the error stands above what was printed before it
            stdout=file,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            pass_fds=held,
        )
    try:
        status = _wait(process, log, watch)
    except BaseException:
        _end(process)
        raise
    if status != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
        raise CommandFailed(f"{words[0]} ended with status {status}. The end of {log}:\n\n{tail}\n")
    return time.perf_counter() - start


def _wait(process: subprocess.Popen, log: Path, watch: Callable[[str], None] | None) -> int:
    """Until it ends; its status."""
    if watch is None:
        return process.wait()
    with log.open(encoding="utf-8", errors="replace") as file:
        begun = ""
        while True:
            ended = process.poll() is not None
            *lines, begun = (begun + file.read()).split("\n")
            for line in lines:
                watch(line)
            if ended:
                return process.returncode
            time.sleep(POLL_SECONDS)


def _end(process: subprocess.Popen) -> None:
    """End a command and its worker processes: Ctrl-C first, by which nnU-Net ends them itself."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, number)
        except ProcessLookupError:
            return
        try:
            process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            continue
