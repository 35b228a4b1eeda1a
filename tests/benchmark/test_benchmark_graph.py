"""The graph, what makes a result stale, and what progress says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import SOURCE

from nnuda.benchmark import engine
from nnuda.benchmark.description import BenchmarkError, read_benchmark
from nnuda.benchmark.engine import check_engine, parse_slurm
from nnuda.benchmark.go import go, progress, refuse_or_remove_stale
from nnuda.benchmark.identity import DataHashes, changes, identity_of_pair, identity_of_run
from nnuda.benchmark.places import pair_folder, read_state, run_folder, write_state
from nnuda.files import write_json


@pytest.fixture
def folder(tmp_path: Path) -> str:
    return str(tmp_path / "out 1")


def as_if_done(folder: str, benchmark) -> None:
    hashes = DataHashes(folder)
    for run in benchmark.runs:
        write_state(folder, run, status="done", identity=identity_of_run(benchmark, run, hashes))
        ready = {"identity": identity_of_pair(benchmark, run.pair, run.row.on, hashes)}
        write_json(ready, os.path.join(pair_folder(folder, run.prepared), "ready.json"))


@pytest.mark.slow
def test_the_engine_reads_the_graph_as_it_is_meant(
    described: Callable[..., str], folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for the step notes what it is called with; one run fails, and the others go on."""
    pytest.importorskip("snakemake")
    benchmark = read_benchmark(described())
    os.makedirs(folder)
    stand_in = tmp_path / "step.py"
    stand_in.write_text(
        "import os, sys\n"
        "folder, kind, name = sys.argv[1:]\n"
        "open(os.path.join(folder, 'called.txt'), 'a').write(f'{kind} {name}\\n')\n"
        "if name == 'toy_strong_seed1_foldall': sys.exit(1)\n"
        "place = os.path.join(folder, kind + 's', name)\n"
        "os.makedirs(place, exist_ok=True)\n"
        "open(os.path.join(place, 'ready.json' if kind == 'pair' else 'done'), 'w').close()\n"
    )
    file = Path(folder) / "Snakefile"
    monkeypatch.setattr(engine, "STEP", [sys.executable, str(stand_in)])
    file.write_text(engine.graph(benchmark))
    words = [sys.executable, "-m", "snakemake", "-s", str(file), "-d", folder, "--cores", "2", "--keep-going"]
    ended = subprocess.run([*words, "--scheduler", "greedy"], capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    called = (Path(folder) / "called.txt").read_text().splitlines()
    assert called[0] == "pair toy", ended.stderr
    assert sorted(called[1:]) == sorted(f"run {run.name}" for run in benchmark.runs)
    assert sorted(path.parent.name for path in Path(folder).glob("runs/*/done")) == [
        run.name for run in sorted(benchmark.runs, key=lambda run: run.name) if run.name != "toy_strong_seed1_foldall"
    ]


def test_what_was_begun_comes_first(described: Callable[..., str]) -> None:
    text = engine.graph(read_benchmark(described()), {"toy_plain_seed2_foldall"})
    rules = [rule for rule in text.split("\n\n") if rule.startswith("rule run_")]
    priorities = [int(rule.split("priority: ")[1].split()[0]) for rule in rules]
    assert "toy_plain_seed2_foldall" in rules[0] and priorities == sorted(priorities, reverse=True)
    assert len(set(priorities)) == 4


def test_what_has_not_changed_is_not_stale(described: Callable[..., str], folder: str) -> None:
    benchmark = read_benchmark(described())
    as_if_done(folder, benchmark)
    refuse_or_remove_stale(folder, read_benchmark(described(title="other", seeds=[1, 2, 3])), False)
    assert all(read_state(folder, run)["status"] == "done" for run in benchmark.runs)


@pytest.mark.parametrize(
    ("changed", "what"),
    [
        ({"budget": {"configuration": "2d", "settings": {"training.num_epochs": 3}}}, "num_epochs: was 2, now 3"),
        ({"budget": {"configuration": "3d_fullres"}}, "budget.configuration: was '2d'"),
        ({"checkpoint": "selected"}, "checkpoint: was 'last', now 'selected'"),
        ({"device": "cuda"}, "device: was 'cpu'"),
    ],
)
@pytest.mark.slow
def test_another_budget_is_refused(described: Callable[..., str], folder: str, changed: dict, what: str) -> None:
    as_if_done(folder, read_benchmark(described()))
    with pytest.raises(BenchmarkError, match=what):
        refuse_or_remove_stale(folder, read_benchmark(described(**changed)), False)


@pytest.mark.parametrize(
    ("place", "what"),
    [
        (f"raw/{SOURCE}/imagesTr/case0_0000.nii.gz", "data.source"),
        (f"raw/{SOURCE}/labelsTr/case1.nii.gz", "data.source"),
        ("raw/Dataset502_ToyTarget/imagesTr/case2_0000.nii.gz", "data.target"),
        ("labels/case1.nii.gz", "data.labels"),
    ],
)
def test_changed_data_are_refused(
    described: Callable[..., str], folder: str, tmp_path: Path, place: str, what: str
) -> None:
    benchmark = read_benchmark(described())
    as_if_done(folder, benchmark)
    file = tmp_path / place
    os.utime(file)
    refuse_or_remove_stale(folder, benchmark, False)  # another time, the same content
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(BenchmarkError, match=f"{what}: the files have changed"):
        refuse_or_remove_stale(folder, benchmark, False)


def test_again_removes_what_is_stale_and_nothing_else(described: Callable[..., str], folder: str) -> None:
    before = read_benchmark(described())
    as_if_done(folder, before)
    rows = [
        {"name": "plain", "trainer": "nnUDATrainerSourceOnly"},
        {"name": "strong", "trainer": "nnUDATrainerSourceOnly", "settings": {"training.augmentation": "da5"}},
    ]
    refuse_or_remove_stale(folder, read_benchmark(described(rows=rows)), True)
    left = {run.row.name for run in before.runs if os.path.isdir(run_folder(folder, run))}
    assert left == {"plain"} and os.path.isdir(pair_folder(folder, "toy"))


def test_changes_name_the_place() -> None:
    old, new = {"data": {"source": "a"}, "fold": "0"}, {"data": {"source": "b"}, "fold": "0", "on": "source"}
    assert changes(old, new) == ["data.source: the files have changed", "on: was None, now 'source'"]


def test_progress_counts_and_extrapolates() -> None:
    def ended(status: str, seconds: float) -> dict:
        return {"status": status, "began": 1000.0, "ended": 1000.0 + seconds}

    states = [ended("done", 60), ended("done", 120), ended("failed", 5), {"status": "running", "began": 1007.0}]
    states += [{"status": "running", "began": 800.0}]  # killed
    assert progress(states, 900, 2) == "2 of 5 runs done, 1 failed, 1 at work, about 90 s left"
    assert progress(states, 1006, 1) == "2 of 5 runs done, 1 at work, about 4 min left"  # tried again: three left
    assert progress([{"status": "waiting"}], 0, 1) == "0 of 1 runs done"


@pytest.mark.parametrize("own", ["Error: budget: no such thing.", ""])
def test_an_engine_that_began_no_run_ends_with_the_own_error(
    described: Callable[..., str], folder: str, monkeypatch: pytest.MonkeyPatch, own: str
) -> None:
    os.makedirs(folder)
    log, file = Path(folder) / "engine.log", described()
    log.write_text("Error: of an earlier start\n")

    def start(*_: object) -> subprocess.Popen:
        said = f"rule pair_p:\n{own}\nError in rule pair_p:\nWorkflowError:\nAt least one job did not complete.\n"
        code = f"import sys; sys.stdout.write({said!r}); sys.exit(1)"
        with log.open("a") as output:
            return subprocess.Popen([sys.executable, "-c", code], stdout=output)

    monkeypatch.setattr("nnuda.benchmark.go.start_engine", start)
    with pytest.raises(BenchmarkError, match="No run was begun") as raised:
        go(folder, file, read_benchmark(file), 1, None)
    said = str(raised.value)
    assert said.endswith(own or "At least one job did not complete.") and "earlier" not in said


def test_a_folder_that_the_engine_would_misread_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="without braces"):
        check_engine("/data/{a}", False)


def test_slurm_words() -> None:
    assert parse_slurm(["partition=gpu", "extra=--qos=a"]) == {"partition": "gpu", "extra": "--qos=a"}
    for words in (["gpu"], ["=1"], ["gpu="], ["gpu=1", "gpu=2"]):
        with pytest.raises(BenchmarkError, match=f"each key once; got '{words[-1]}'"):
            parse_slurm(words)
    with pytest.raises(
        BenchmarkError, match="--slurm: expected one of partition, .*; got partion. Did you mean partition"
    ):
        parse_slurm(["partion=gpu"])


def test_the_state_is_json_that_others_can_read(described: Callable[..., str], folder: str) -> None:
    run = read_benchmark(described()).runs[0]
    write_state(folder, run, status="done", identity={})
    assert os.path.isfile(os.path.join(run_folder(folder, run), "done"))
    write_state(folder, run, status="failed")
    assert not os.path.isfile(os.path.join(run_folder(folder, run), "done"))
    with open(os.path.join(run_folder(folder, run), "run.json")) as file:
        assert json.load(file) == {"status": "failed", "identity": {}}
