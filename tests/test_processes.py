from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnuda.processes import run_cases


def slow_square(number: float) -> tuple[float, int]:
    time.sleep(0.2 * (number == 0))
    return number**2, os.getpid()


def fail(number: int) -> None:
    raise KeyError(number)


@pytest.mark.parametrize("processes", [1, 2])
def test_results_come_in_order(processes):
    results = run_cases(slow_square, [(i,) for i in range(4)], processes, "squares")
    assert [square for square, _ in results] == [0, 1, 4, 9]
    assert (os.getpid() in {pid for _, pid in results}) == (processes == 1)


def test_an_error_of_a_case_is_the_callers():
    with pytest.raises(KeyError):
        run_cases(fail, [(1,), (2,)], 2, "errors")


@pytest.mark.parametrize("processes", [1, 2])
def test_an_error_stands_below_the_progress_bar(processes, capsys):
    with pytest.raises(KeyError) as raised:
        run_cases(fail, [(1,), (2,)], processes, "errors")
    printed = capsys.readouterr().err
    assert raised.value.args and "errors" in printed and printed.endswith("\n")


def test_a_dead_worker_says_what_to_do():
    with pytest.raises(RuntimeError, match="deaths: a worker process died.*Use fewer with -np"):
        run_cases(os._exit, [(1,), (1,)], 2, "deaths")


def test_nothing_to_do():
    assert run_cases(fail, [], 2, "nothing") == []


POOL = """
import os, sys, time
from nnuda.processes import run_cases
run_cases(time.sleep, [(60,), (60,)], 2, "naps", progress=False)
"""
LOADER = """
import multiprocessing, os, signal, time
from nnuda.processes import workers_end_with_us
def work():
    assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    time.sleep(60)
signal.signal(signal.SIGTERM, lambda *_: None)
with workers_end_with_us():
    multiprocessing.get_context("fork").Process(target=work).start()
time.sleep(60)
"""


NAPS = """
import os, sys, time
from nnuda.files import folder_aside
def nap(folder):
    with folder_aside(folder):
        time.sleep(60)
if __name__ == "__main__":
    from nnuda.errors import one_message
    from nnuda.processes import run_cases
    with one_message():
        run_cases(nap, [(sys.argv[1] + "/a",), (sys.argv[1] + "/b",)], 2, "naps", progress=False)
"""


def state(process: int) -> tuple[int, str]:
    """Parent and letter of a process; it is as good as gone where that is Z."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0, "Z"
    return int(fields[1]), fields[0]


def workers_of(parent: int) -> list[int]:
    return [
        int(entry)
        for entry in os.listdir("/proc")
        if entry.isdigit()
        and state(int(entry)) == (parent, "S")
        and b"resource_tracker" not in Path(f"/proc/{entry}/cmdline").read_bytes()
    ]


def wait_until(condition, seconds: float = 60) -> bool:
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.05)
    return condition()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(("program", "workers"), [(POOL, 2), (LOADER, 1)], ids=["pool", "loader"])
def test_no_worker_outlives_the_process_that_started_it(program, workers):
    main = subprocess.Popen([sys.executable, "-c", program])
    assert wait_until(lambda: len(workers_of(main.pid)) == workers)
    time.sleep(1)  # a spawned worker has to get as far as its initializer
    started = workers_of(main.pid)
    assert len(started) == workers
    os.kill(main.pid, signal.SIGKILL)
    main.wait()
    assert wait_until(lambda: all(state(worker)[1] == "Z" for worker in started), 10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "status", "word"), [(signal.SIGINT, 130, "Interr"), (signal.SIGTERM, 143, "Termin")]
)
def test_an_interrupted_pool_ends_at_once_and_clears_away(tmp_path, number, status, word):
    (tmp_path / "naps.py").write_text(NAPS)
    (tmp_path / "work").mkdir()
    main = subprocess.Popen(
        [sys.executable, str(tmp_path / "naps.py"), str(tmp_path / "work")], stderr=subprocess.PIPE, text=True
    )
    assert wait_until(lambda: len(os.listdir(tmp_path / "work")) == 2)
    os.kill(main.pid, number)
    _, error = main.communicate(timeout=20)
    assert main.returncode == status and error.startswith(word) and len(error.splitlines()) == 1
    assert os.listdir(tmp_path / "work") == []
