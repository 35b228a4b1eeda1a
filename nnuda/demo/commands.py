"""The demo's commands: echoed, logged, timed."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from nnuda.commands import LoggedCommand, run_lanes
from nnuda.demo.warm import WarmCommand

Lane = Iterator[LoggedCommand]


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
        self.environment = {**os.environ, **variables}
        self.count = 0
        for name, value in variables.items():
            print(f"export {name}={shlex.quote(value)}")
        print(f"cd {shlex.quote(str(folder))}", flush=True)

    def run(self, command: str) -> None:
        """Echoes a command line, runs it, and says how long it took.

        Args:
            command: as a user types it.

        Raises:
            CommandFailed: it is not installed, or ended with an error.
        """
        run_lanes([self.lane([command])], 1)

    def lane(self, commands: Iterable[str], name: str = "", watch: Callable[[str], None] | None = None) -> Lane:
        """The same for one command after the other, beside other lanes.

        Args:
            commands: as a user types them.
            name: of the lane, before what is said of it.
            watch: called with each line that they print.
        """
        for command in commands:
            self.count += 1
            words = shlex.split(command)
            log = self.logs / f"{self.count:02d}_{words[0]}.log"
            print(f"\n$ {command}", flush=True)
            running = WarmCommand(words, log, self.folder, self.environment, watch)
            yield running
            print(f"  {name and f'{name}: '}{running.seconds:.0f} s, log: {log.relative_to(self.folder)}", flush=True)
