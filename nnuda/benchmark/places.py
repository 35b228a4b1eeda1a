"""Where everything of a benchmark lies below its folder, and the state of its runs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from typing import Any

from nnuda.benchmark.description import Benchmark, Run
from nnuda.benchmark.identity import DataHashes, changes, identity_of_pair, identity_of_run, write_json
from nnuda.files import FileError, read_json

DESCRIPTION, FROZEN, READY, STATE, DONE = "benchmark.json", "frozen.json", "ready.json", "run.json", "done"
SCORES, LOG = "scores.json", "logs"
WAITING, RUNNING, FAILED, FINISHED = "waiting", "running", "failed", "done"
_STATE = {"type": "object", "required": ["status", "identity"]}


def pair_folder(folder: str, prepared: str) -> str:
    """nnU-Net's raw and preprocessed folders of a pair."""
    return os.path.join(folder, "pairs", prepared)


def run_folder(folder: str, run: Run) -> str:
    """Results, predictions, scores, report and logs of a run."""
    return os.path.join(folder, "runs", run.name)


def nnunet_folders(folder: str, run: Run) -> dict[str, str]:
    """nnU-Net's three variables for a run."""
    pair = pair_folder(folder, run.prepared)
    kinds = {kind: os.path.join(pair, kind) for kind in ("raw", "preprocessed")}
    kinds["results"] = os.path.join(run_folder(folder, run), "results")
    return {f"nnUNet_{kind}": path for kind, path in kinds.items()}


def read_state(folder: str, run: Run) -> dict[str, Any]:
    """What is known of a run; its status is WAITING where nothing is."""
    try:
        return read_json(os.path.join(run_folder(folder, run), STATE), "the state of a run", _STATE)
    except FileError:  # not there yet, or damaged: the run is looked through again
        return {"status": WAITING, "identity": None}


def own_error(text: str) -> str:
    """The line of a log or a message that says what went wrong: the last one that a command of nnuda's ended with, else
    the last."""
    lines = text.strip().splitlines() or [""]
    return next((line for line in reversed(lines) if line.startswith("Error: ")), lines[-1])


def write_state(folder: str, run: Run, **entries: Any) -> None:
    """Add to what is known of a run; the marker that the engine looks for follows the status."""
    state, marker = {**read_state(folder, run), **entries}, os.path.join(run_folder(folder, run), DONE)
    write_json(state, os.path.join(run_folder(folder, run), STATE))
    if state["status"] == FINISHED:
        open(marker, "w").close()
    elif os.path.exists(marker):
        os.remove(marker)


def find_stale(folder: str, benchmark: Benchmark, hashes: DataHashes) -> dict[str, list[str]]:
    """Name of a run or prepared pair -> what has changed since it was begun."""
    stale: dict[str, list[str]] = {}
    for run in benchmark.runs:
        ready = os.path.join(pair_folder(folder, run.prepared), READY)
        if os.path.isfile(ready):
            wanted = identity_of_pair(benchmark, run.pair, run.row.on, hashes)
            _note(stale, run.prepared, read_json(ready, "a prepared pair")["identity"], wanted)
        old = read_state(folder, run)["identity"]
        if old is not None:
            _note(stale, run.name, old, identity_of_run(benchmark, run, hashes))
    return stale


def _note(stale: dict[str, list[str]], name: str, old: Mapping, wanted: Mapping) -> None:
    changed = changes(dict(old), dict(wanted))
    if changed:
        stale[name] = changed


def remove_stale(folder: str, benchmark: Benchmark, stale: Mapping[str, list[str]]) -> None:
    """Remove what is stale, and every run on a pair that is."""
    for run in benchmark.runs:
        if run.name in stale or run.prepared in stale:
            shutil.rmtree(run_folder(folder, run), ignore_errors=True)
            preprocessed = os.path.join(pair_folder(folder, run.prepared), "preprocessed", run.domain.name)
            plan = os.path.join(preprocessed, f"{run.plans}.json")
            if os.path.isfile(plan):
                os.remove(plan)
    for run in benchmark.runs:
        if run.prepared in stale:
            shutil.rmtree(pair_folder(folder, run.prepared), ignore_errors=True)
