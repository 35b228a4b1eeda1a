"""One node of the graph, as the engine runs it: `python -m nnuda.benchmark.step FOLDER pair|run NAME`.

What is done is not done again; what another process is at is waited for, so that an engine that was killed can be started
again while its runs still train.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from nnuda.benchmark.description import Benchmark, BenchmarkError, Run, read_benchmark
from nnuda.benchmark.gpus import own_gpu
from nnuda.benchmark.identity import DataHashes, changes, identity_of_pair, identity_of_run, provenance, write_json
from nnuda.benchmark.places import (
    DESCRIPTION,
    FAILED,
    FINISHED,
    FROZEN,
    LOG,
    READY,
    RUNNING,
    nnunet_folders,
    pair_folder,
    read_state,
    run_folder,
    write_state,
)
from nnuda.commands import run_logged
from nnuda.errors import message_of, one_message
from nnuda.files import LOCK, LockedError, locked, read_json
from nnuda.plan_key import read_plans

POLL_SECONDS = 2


def main(words: list[str]) -> None:
    folder, kind, name = os.path.abspath(words[0]), *words[1:]
    with one_message():
        frozen = read_json(os.path.join(folder, FROZEN), "what a benchmark was begun with")
        os.environ |= frozen["environment"]
        benchmark = read_benchmark(os.path.join(folder, DESCRIPTION), frozen["values"])
        if kind == "pair":
            prepare(folder, benchmark, next(run for run in benchmark.runs if run.prepared == name))
        else:
            do_run(folder, benchmark, next(run for run in benchmark.runs if run.name == name))


@contextmanager
def when_free(place: str) -> Iterator[int | None]:
    """A folder's lock, once another process has let go of it."""
    said = False
    with ExitStack() as held:
        while True:
            try:
                lock = held.enter_context(locked(os.path.join(place, LOCK), f"the folder {place}"))
                break
            except LockedError as error:
                if not said:
                    print(f"Waiting. {error}", flush=True)
                said = True
                time.sleep(POLL_SECONDS)
        yield lock


# ---- a pair ---------------------------------------------------------------------------------------------------------


def prepare(folder: str, benchmark: Benchmark, run: Run) -> None:
    """Raw data as links, plan with the budget's configuration, preprocessed cases; anew where it was interrupted."""
    place = pair_folder(folder, run.prepared)
    with when_free(f"{place}.preparing") as lock:
        identity = identity_of_pair(benchmark, run.pair, run.row.on, DataHashes(folder))
        ready = os.path.join(place, READY)
        if os.path.isfile(ready) and read_json(ready, "a prepared pair")["identity"] == identity:
            return
        shutil.rmtree(place, ignore_errors=True)
        for kind in ("raw", "preprocessed", LOG):
            os.makedirs(os.path.join(place, kind))
        for domain in (run.domain, run.pair.target):
            os.symlink(domain.folder, os.path.join(place, "raw", domain.name))
        _plan(folder, benchmark, run, [] if lock is None else [lock])
        write_json({"identity": identity, **provenance(benchmark.device)}, ready)


def _plan(folder: str, benchmark: Benchmark, run: Run, held: list[int]) -> None:
    place, domains = Path(pair_folder(folder, run.prepared)), ["-d", run.domain.name, "-t", run.pair.target.name]
    environment = {**os.environ, **nnunet_folders(folder, run)}
    preprocess = [
        "nnUDA_preprocess",
        "-d",
        run.domain.name,
        "-p",
        "nnUNetPlans",
        "-c",
        benchmark.budget["configuration"],
    ]
    for number, words in enumerate(
        (["nnUDA_extract_fingerprint", *domains], ["nnUDA_plan_experiment", *domains], preprocess), 1
    ):
        if words is preprocess:
            from nnuda.benchmark.added import with_configuration  # imports torch

            file = str(place / "preprocessed" / run.domain.name / "nnUNetPlans.json")
            write_json(with_configuration(benchmark.budget, read_plans(file), run.domain.dataset_json), file)
        run_logged(words, place / LOG / f"{number}_{words[0]}.log", environment=environment, held=held)


# ---- a run ----------------------------------------------------------------------------------------------------------


def do_run(folder: str, benchmark: Benchmark, run: Run) -> None:
    """Train, predict, score and report; goes on where it was interrupted.

    Raises:
        BenchmarkError: what lies there was made from something else.
    """
    place = run_folder(folder, run)
    os.makedirs(place, exist_ok=True)
    with when_free(place) as lock:
        state, identity = read_state(folder, run), identity_of_run(benchmark, run, DataHashes(folder))
        if state["identity"] is not None and (changed := changes(state["identity"], identity)):
            raise BenchmarkError(f"{place} was made from something else: {'; '.join(changed)}.")
        if state["status"] == FINISHED:
            write_state(folder, run)  # the engine removes the marker of what it did not see end
            return
        starts = [*state.get("starts", []), provenance(benchmark.device)]
        write_state(folder, run, status=RUNNING, identity=identity, starts=starts, began=time.time(), error=None)
        try:
            from nnuda.benchmark.stages import walk_run  # imports torch

            with own_gpu(folder, benchmark.device):
                cost = walk_run(folder, benchmark, run, lock)
        except BaseException as error:
            said = message_of(error) or "".join(traceback.format_exception(error))
            write_state(folder, run, status=FAILED, error=said[-4000:], ended=time.time())
            raise
        write_state(folder, run, status=FINISHED, cost=cost, ended=time.time())


if __name__ == "__main__":
    main(sys.argv[1:])
