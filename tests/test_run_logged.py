"""Commands that end with whoever runs them."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnuda.commands import CommandFailed, LoggedCommand, find_program, run_lanes, run_logged

PYTHON = Path(sys.executable).name


def python(code: str) -> list[str]:
    """Ctrl-C ends it, also where these tests were begun in the background, whose processes ignore it."""
    return [PYTHON, "-c", f"import signal; signal.signal(signal.SIGINT, signal.default_int_handler)\n{code}"]


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


def wait_for(file: Path) -> str:
    return (
        f"import pathlib, time\nfor _ in range(600):\n if pathlib.Path({str(file)!r}).exists(): break\n time.sleep(0.1)\n"
        "else: raise SystemExit('it never came')"
    )


def test_lanes_run_side_by_side_and_each_in_its_order(tmp_path):
    """The first command of a lane waits for what the second of the other leaves."""
    a, b = tmp_path / "a", tmp_path / "b"

    def lane(name: str, *codes: str) -> Iterator[LoggedCommand]:
        for number, code in enumerate(codes):
            yield LoggedCommand(python(code), tmp_path / f"{name}{number}.log")

    touch = "import pathlib; pathlib.Path({!r}).touch()"
    run_lanes([lane("one", wait_for(b), touch.format(str(a))), lane("two", touch.format(str(b)), wait_for(a))], 2)
    assert a.exists() and b.exists()


def test_no_more_lanes_at_once_than_asked_for(tmp_path):
    order = []

    def lane(name: str) -> Iterator[LoggedCommand]:
        order.append(f"{name} begins")
        yield LoggedCommand(python("import time; time.sleep(0.3)"), tmp_path / name)
        order.append(f"{name} ends")

    run_lanes([lane("one"), lane("two")], 1)
    assert order == ["one begins", "one ends", "two begins", "two ends"]


def test_a_failure_ends_the_other_lanes(tmp_path):
    other = LoggedCommand(python("import time; time.sleep(100)"), tmp_path / "other")
    start = time.monotonic()
    with pytest.raises(CommandFailed, match="the reason"):
        run_lanes([iter([other]), iter([LoggedCommand(python("raise SystemExit('the reason')"), tmp_path / "log")])], 2)
    assert time.monotonic() - start < 20 and other.process.returncode == -signal.SIGINT
