"""The engine with real processes: killed and continued, and through SLURM. In place of a training a run counts to three."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from one_node_slurm import CannotStart, one_node_slurm

pytest.importorskip("snakemake")
pytestmark = pytest.mark.slow
ROWS = [{"name": name, "trainer": "nnUDATrainerSourceOnly"} for name in ("broken", "plain")]
STAND_IN = """
import json, os, sys, time, types
from pathlib import Path

def walk_run(folder, benchmark, run, lock):
    place = Path(folder) / "runs" / run.name
    file, said = place / "count.txt", place.parent.parent / "said.txt"
    count = int(file.read_text()) if file.exists() else 0
    with said.open("a") as out:
        out.write(f"{run.name} {count} {os.environ.get('SLURM_JOB_ID')}\\n")
    while count < 3:
        time.sleep(SECONDS)
        count += 1
        file.write_text(str(count))
    if run.row.name == "broken":
        raise RuntimeError("broken on purpose")
    scores = {"per_case": {}, "per_class": {}, "foreground_mean": {"Dice": 0.5}, "labels": {"box": 1}, "unit": "mm"}
    for case in ("case0", "case1"):
        scores["per_case"][case] = {"box": {"Dice": 0.5, "n_reference": 9, "empty": "none"}}
    scores["per_class"]["box"] = {"Dice": {"mean": 0.5, "std": 0.0, "n": 2}}
    (place / "scores.json").write_text(json.dumps(scores))
    return {"training_seconds": 1.0, "memory_gb": None, "epochs": 3}

sys.modules["nnuda.benchmark.stages"] = types.SimpleNamespace(walk_run=walk_run)
from nnuda.benchmark import step
step._plan = lambda *_: None
step.main(sys.argv[1:])
"""
START = """
import sys
from nnuda.benchmark import engine
engine.STEP = [sys.executable, sys.argv[1]]
from nnuda.cli.benchmark import main
main(sys.argv[2:])
"""


@pytest.fixture
def start(described: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts nnUDA_benchmark with the stand-in."""
    started: list[subprocess.Popen] = []

    def begin(*options: str, seconds: float = 0.1) -> subprocess.Popen:
        stand_in = tmp_path / "stand_in.py"
        stand_in.write_text(STAND_IN.replace("SECONDS", str(seconds)))
        words = [sys.executable, "-c", START, str(stand_in), described(rows=ROWS, seeds=[1])]
        words += ["-o", str(tmp_path / "out"), *options]
        started.append(subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return started[-1]

    yield begin
    for process in started:
        process.kill()


def states(folder: Path) -> dict[str, str]:
    return {file.parent.name: json.loads(file.read_text())["status"] for file in folder.glob("runs/*/run.json")}


def until_a_run_counts(process: subprocess.Popen, out: Path) -> None:
    until = time.monotonic() + 400
    while not list(out.glob("runs/*/count.txt")):
        assert time.monotonic() < until and process.poll() is None, process.stdout.read()
        time.sleep(0.1)


def test_killed_and_continued_and_a_failed_run_stops_no_other(start: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    first = start("-n", "1", seconds=3)
    until_a_run_counts(first, out)
    os.kill(first.pid, signal.SIGKILL)
    text, _ = start("-n", "1").communicate(timeout=500)
    assert states(out) == {"toy_broken_seed1_foldall": "failed", "toy_plain_seed1_foldall": "done"}, text
    said = [line.split()[:2] for line in (out / "said.txt").read_text().splitlines()]
    names = [name.split("_")[1] for name, _ in said]
    assert names == ["broken", "broken", "plain"], "what was begun goes first, and is not begun beside itself"
    assert said[1][1] == "3", "the second start waits for the run that outlived the first, then tries it again"
    assert "1 of 2 runs failed" in text and "1 of 2 runs done, 1 failed" in text
    assert text.rstrip().endswith("\nRuntimeError: broken on purpose")
    assert "broken on purpose" in (out / "benchmark.html").read_text()
    state = json.loads((out / "runs/toy_plain_seed1_foldall/run.json").read_text())
    assert state["starts"][0]["versions"]["nnunetv2"] and state["identity"]["data"]["source"]


def test_ctrl_c_ends_its_runs(start: Callable, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start("-n", "1", seconds=1)
    until_a_run_counts(process, out)
    assert alive(tmp_path)
    process.send_signal(signal.SIGINT)
    text, _ = process.communicate(timeout=120)
    assert process.returncode == 130 and "Traceback" not in text, text
    assert not alive(tmp_path) and "done" not in states(out).values()


def alive(folder: Path) -> list[str]:
    """What runs with this folder's stand-in."""
    stand_in = str(folder / "stand_in.py").encode()
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            words = file.read_bytes().split(b"\0")
            if stand_in in words and b"-c" not in words:
                found.append(file.parent.name)
    return found


def test_through_slurm(start: Callable, tmp_path: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="slurm", dir="/tmp") as folder:
        try:
            with one_node_slurm(Path(folder)):
                text, _ = start("-n", "2", "--slurm", "partition=main", "runtime=5", "memory=100").communicate(
                    timeout=400
                )
        except CannotStart as reason:
            pytest.skip(f"no SLURM: {reason}")
    said = [line.split() for line in (tmp_path / "out" / "said.txt").read_text().splitlines()]
    assert states(tmp_path / "out") == {"toy_plain_seed1_foldall": "done", "toy_broken_seed1_foldall": "failed"}, text
    assert all(job.isdigit() for _, _, job in said) and len({job for _, _, job in said}) == 2
