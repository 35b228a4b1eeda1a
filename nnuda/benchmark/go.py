"""From a description to all runs done: checks, the engine, and a line whenever a run has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping

from nnuda.benchmark.description import Benchmark, BenchmarkError
from nnuda.benchmark.engine import ENGINE_LOG, freeze, start_engine
from nnuda.benchmark.identity import DataHashes
from nnuda.benchmark.places import FAILED, FINISHED, RUNNING, WAITING, find_stale, own_error, read_state, remove_stale
from nnuda.commands import TAIL_LINES
from nnuda.stages.progress import duration

POLL_SECONDS = 1
PATIENCE_SECONDS = 60  # for runs that were asked to end
SHOWN = 5


def say(line: str) -> None:
    print(line, flush=True)


def refuse_or_remove_stale(folder: str, benchmark: Benchmark, again: bool) -> None:
    """Results of other data, budgets or settings never stay beside those that are asked for.

    Raises:
        BenchmarkError: there are some, and they were not to be made again; lists them with what has changed.
    """
    stale = find_stale(folder, benchmark, DataHashes(folder))
    if not stale:
        return
    listed = [f"  {name}: {'; '.join(changed[:SHOWN])}" for name, changed in stale.items()]
    more = [f"  ... and {len(listed) - SHOWN} more"] if len(listed) > SHOWN else []
    shown = "\n".join([*listed[:SHOWN], *more])
    if not again:
        raise BenchmarkError(
            f"{folder} holds results that were made from something else:\n{shown}\nThey cannot stand in one table with "
            "new ones. Run them again with --again, which removes them, or name another folder with -o."
        )
    remove_stale(folder, benchmark, stale)
    say(f"Removed, to be made again:\n{shown}")


def go(folder: str, file: str, benchmark: Benchmark, at_a_time: int, slurm: Mapping[str, str] | None) -> None:
    """All runs, as far as they can be done.

    Args:
        folder: of the benchmark.
        file, benchmark: the description and what it says.
        at_a_time: runs.
        slurm: resources of each job; None runs on this machine.

    Raises:
        BenchmarkError: the engine ended before it came to the runs.
    """
    freeze(folder, file, benchmark)
    log = os.path.join(folder, ENGINE_LOG)
    before = os.path.getsize(log) if os.path.isfile(log) else 0
    began, engine = time.time(), start_engine(folder, benchmark, at_a_time, slurm)
    try:
        _watch(folder, benchmark, engine, at_a_time)
    except BaseException:
        _end(engine)
        raise
    states = [read_state(folder, run) for run in benchmark.runs]
    if engine.returncode != 0 and not any(_ended_since(state, began) for state in states):
        with open(log, "rb") as file:
            file.seek(before)
            said = file.read().decode(errors="replace")
        error = own_error(said)
        shown = error if error.startswith("Error: ") else "\n".join(said.splitlines()[-TAIL_LINES:])
        raise BenchmarkError(f"No run was begun; all that was said is in {log}. Its end:\n{shown}")


def _ended_since(state: Mapping, moment: float) -> bool:
    return state.get("ended", 0) >= moment


def _watch(folder: str, benchmark: Benchmark, engine: subprocess.Popen, at_a_time: int) -> None:
    """A line whenever a run has ended or begun, until the engine ends."""
    began, last = time.time(), ""
    while True:
        over = engine.poll() is not None
        line = progress([read_state(folder, run) for run in benchmark.runs], began, at_a_time)
        if line != last:
            say(line)
            last = line
        if over:
            return
        time.sleep(POLL_SECONDS)


def progress(states: list[Mapping], began: float, at_a_time: int) -> str:
    """How many runs are done, failed, at work; and the time left by the mean of those that have ended.

    Args:
        states: of all runs.
        began: when this start of the engine was; what failed or was killed before
            it does not count, the run is tried again.
        at_a_time: runs.
    """
    done = sum(state["status"] == FINISHED for state in states)
    failed = sum(state["status"] == FAILED and _ended_since(state, began) for state in states)
    running = sum(state["status"] == RUNNING and state["began"] >= began for state in states)
    parts = [f"{done} of {len(states)} runs done", *([f"{failed} failed"] if failed else [])]
    parts += [f"{running} at work"] if running else []
    took = [state["ended"] - state["began"] for state in states if state["status"] == FINISHED]
    left = len(states) - done - failed
    if took and left:
        parts.append(f"about {duration(sum(took) / len(took) * left / min(at_a_time, left))} left")
    return ", ".join(parts)


def _end(engine: subprocess.Popen) -> None:
    """End the engine and its runs: they end their commands, which go on from their checkpoints the next time. By Ctrl-C
    first: after SIGTERM alone the engine leaves jobs on a cluster."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(engine.pid, number)
        except ProcessLookupError:
            return
        try:
            engine.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            continue


def plan_text(folder: str, benchmark: Benchmark) -> str:
    """What would be done, a line a run."""
    lines = []
    for run in benchmark.runs:
        status = read_state(folder, run)["status"]
        todo = {FINISHED: "there already", WAITING: "to be run"}.get(status, "goes on where it stopped")
        lines.append(f"  {run.name}: {run.row.trainer} on {run.domain.name} -> {run.pair.target.name}: {todo}")
    return "\n".join([f"{len(lines)} runs of budget {benchmark.budget['configuration']}:", *lines])
