"""Commands that end with whoever runs them."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

from nnuda.commands import CommandFailed, find_program, run_logged

PYTHON = Path(sys.executable).name


def python(code: str) -> list[str]:
    return [PYTHON, "-c", code]


def test_each_line_is_seen_once_and_the_time_is_told(tmp_path):
    seen = []
    seconds = run_logged(python("print('one'); print('two')"), tmp_path / "log", watch=seen.append)
    assert seen == ["one", "two"] and 0 < seconds < 60


def test_a_failure_ends_with_the_log(tmp_path):
    with pytest.raises(CommandFailed, match="status 3.*\n\nthe reason"):
        run_logged(python("print('the reason'); raise SystemExit(3)"), tmp_path / "log")


def test_what_is_not_installed_is_said():
    with pytest.raises(CommandFailed, match="pip install"):
        find_program("nnUDA_no_such_command")


def test_an_interruption_ends_the_command_and_its_children(tmp_path):
    child = "import time; time.sleep(100)"
    code = (
        f"import subprocess, sys, time; c = subprocess.Popen([sys.executable, '-c', {child!r}]);"
        "print(c.pid, flush=True); time.sleep(100)"
    )
    pids = []

    def interrupt(line: str) -> None:
        pids.append(int(line))
        raise KeyboardInterrupt

    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run_logged(python(code), tmp_path / "log", watch=interrupt)
    assert time.monotonic() - start < 20
    for _ in range(50):
        try:
            os.kill(pids[0], 0)
        except ProcessLookupError:
            return
        if "Z" in Path(f"/proc/{pids[0]}/stat").read_text().rsplit(")", 1)[1].split()[0]:
            return
        time.sleep(0.1)
    os.kill(pids[0], signal.SIGKILL)
    pytest.fail("the command's child outlived it")
