"""Commands run as a user types them: echoed, logged, timed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

from nnuda.errors import NnudaError

TAIL_LINES = 25


class CommandFailed(NnudaError, RuntimeError):
    """A command ended with an error; the message holds the end of its log."""


class Shell:
    """Runs commands of this Python environment in a folder, with nnU-Net's variables set.

    Args:
        folder: working folder; logs go to its folder `logs`.
        variables: environment variables, on top of those that are set.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.folder = folder
        self.logs = folder / "logs"
        self.logs.mkdir()
        # else the error stands above what was printed before it
        self.environment = {**os.environ, "PYTHONUNBUFFERED": "1", **variables}
        self.count = 0
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"cd {shlex.quote(str(folder))}", flush=True)

    def _program(self, name: str) -> str:
        """The command of the environment that nnuda runs in, whether or not it is activated."""
        beside_python = os.path.dirname(sys.executable)
        program = shutil.which(name, path=os.pathsep.join([beside_python, self.environment.get("PATH", "")]))
        if program is None:
            raise CommandFailed(
                f"Expected the command {name} beside {sys.executable} or on the PATH; it is not there. "
                "Install nnuda in this environment: pip install ."
            )
        return program

    def run(self, command: str) -> None:
        """Echoes a command line, runs it, and says how long it took.

        Raises:
            CommandFailed: it is not installed, or ended with an error.
        """
        self.count += 1
        words = shlex.split(command)
        log = self.logs / f"{self.count:02d}_{words[0]}.log"
        print(f"\n$ {command}", flush=True)
        start = time.perf_counter()
        with log.open("w", encoding="utf-8", errors="replace") as file:
            status = subprocess.run(
                [self._program(words[0]), *words[1:]],
                cwd=self.folder,
                env=self.environment,
                stdout=file,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
            ).returncode
        if status != 0:
            tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-TAIL_LINES:])
            raise CommandFailed(f"{words[0]} ended with status {status}. The end of {log}:\n\n{tail}\n")
        print(f"  {time.perf_counter() - start:.0f} s, log: {log.relative_to(self.folder)}", flush=True)
