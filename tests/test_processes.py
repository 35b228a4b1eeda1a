from __future__ import annotations

import os
import time

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


def test_a_dead_worker_says_what_to_do():
    with pytest.raises(RuntimeError, match="deaths: a worker process died.*Use fewer with -np"):
        run_cases(os._exit, [(1,), (1,)], 2, "deaths")


def test_nothing_to_do():
    assert run_cases(fail, [], 2, "nothing") == []
