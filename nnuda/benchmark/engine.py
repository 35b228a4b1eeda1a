"""The graph of runs, written for Snakemake and given to it."""

from __future__ import annotations

import ctypes
import difflib
import importlib.util
import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Mapping, Sequence

from nnuda.benchmark.description import Benchmark, BenchmarkError, read_description
from nnuda.benchmark.identity import write_json
from nnuda.benchmark.places import DESCRIPTION, DONE, FROZEN, READY, RUNNING, pair_folder, read_state, run_folder
from nnuda.files import write_text

STEP = [sys.executable, "-m", "nnuda.benchmark.step"]
FIRST = 10**6  # priority from which the rules count down, so that runs begin in the order of the description
GRAPH, ENGINE_LOG = "Snakefile", "engine.log"
SLURM_PLUGIN = "snakemake_executor_plugin_slurm"
_SHORT = {"partition": "slurm_partition", "account": "slurm_account", "extra": "slurm_extra", "memory": "mem_mb"}
_OF_EXECUTOR = (
    *(
        "runtime",
        "gpu",
        "gpu_model",
        "gres",
        "cpus_per_task",
        "mem",
        "mem_mb",
        "mem_mb_per_cpu",
        "disk_mb",
        "constraint",
    ),
    *("qos", "reservation", "clusters", "nodes", "tasks", "tasks_per_gpu", *_SHORT.values()),
)
_PASSED_ON = ("nnUNet_", "nnUDA_", "OMP_")  # variables that a run sees on whichever machine
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def check_engine(folder: str, slurm: bool) -> None:
    """Stop before any work where the engine is not installed, or does not take the folder's name.

    Raises:
        BenchmarkError: says what to do.
    """
    if {"{", "}"} & set(folder):
        raise BenchmarkError(f"-o: expected a folder without braces in its path, Snakemake's wildcards; got {folder}.")
    wanted = ["snakemake", *([SLURM_PLUGIN] if slurm else [])]
    missing = [name for name in wanted if importlib.util.find_spec(name) is None]
    if missing:
        raise BenchmarkError(
            f"Expected {', '.join(missing)} in this environment: pip install 'nnuda[benchmark]' (Python 3.11 or later)."
        )
    if slurm and shutil.which("sbatch") is None:
        raise BenchmarkError(
            "--slurm: expected the command sbatch, which is not there. Run this on a node that submits."
        )


def freeze(folder: str, file: str, benchmark: Benchmark) -> None:
    """Keep the description, its settings and the variables in the folder, as the runs will read them.

    Args:
        folder: of the benchmark.
        file, benchmark: the description, whose relative paths become absolute, and what it says.
    """
    write_json(read_description(file), os.path.join(folder, DESCRIPTION))
    variables = {key: value for key, value in os.environ.items() if key.startswith(_PASSED_ON)}
    write_json({"environment": variables, "values": benchmark.values}, os.path.join(folder, FROZEN))


def graph(benchmark: Benchmark, begun: Collection[str] = ()) -> str:
    """The Snakefile: a rule a prepared pair, a rule a run, and one that wants all. Paths count from the benchmark's folder.

    Args:
        benchmark: what is asked for.
        begun: names of runs that come first: one that outlived a killed engine then takes one of the places, which waits
            for it, and no more runs than allowed are at work.
    """
    pairs = {run.prepared: os.path.join(pair_folder("", run.prepared), READY) for run in benchmark.runs}
    runs = {run.name: os.path.join(run_folder("", run), DONE) for run in benchmark.runs}
    blocks = [f"rule all:\n    input: {json.dumps(list(runs.values()))}"]
    for name, output in pairs.items():
        blocks.append(_rule("pair", name, len(blocks), [], output))
    for run in sorted(benchmark.runs, key=lambda run: run.name not in begun):
        blocks.append(_rule("run", run.name, len(blocks), [pairs[run.prepared]], runs[run.name]))
    return "\n\n".join([*blocks, ""])


def _rule(kind: str, name: str, number: int, inputs: Sequence[str], output: str) -> str:
    command = shlex.join([*STEP, ".", kind, name]).replace("{", "{{").replace("}", "}}")
    lines = [f"rule {kind}_{number}:", f"    name: {json.dumps(f'{kind}_{name}')}"]
    lines += [f"    input: {json.dumps(inputs)}", f"    priority: {FIRST - number}"] if inputs else []
    lines += [f"    output: {json.dumps(output)}", f"    shell: {json.dumps(command)}"]
    return "\n".join(lines)


def engine_words(folder: str, at_a_time: int, slurm: Mapping[str, str] | None) -> list[str]:
    """The engine's command.

    Args:
        folder: of the benchmark.
        at_a_time: runs.
        slurm: resources of each job; None runs on this machine.
    """
    words = [sys.executable, "-m", "snakemake", "--snakefile", os.path.join(folder, GRAPH), "--directory", folder]
    words += ["--keep-going", "--rerun-incomplete", "--rerun-triggers", "mtime", "--scheduler", "greedy", "--nolock"]
    words += ["--nocolor", "--latency-wait", "30" if slurm is not None else "5"]
    if slurm is None:
        return [*words, "--cores", str(at_a_time)]
    words += ["--executor", "slurm", "--jobs", str(at_a_time), "--slurm-status-command", _status_command()]
    resources = [f"{_SHORT.get(key, key)}={value}" for key, value in {"disk_mb": "1", **slurm}.items()]
    return [*words, "--default-resources", *resources]


def _status_command() -> str:
    """Without accounting sacct knows no job, and the engine would wait for ever."""
    works = shutil.which("sacct") and subprocess.run(["sacct", "-n"], capture_output=True).returncode == 0
    return "sacct" if works else "squeue"


def parse_slurm(words: Sequence[str]) -> dict[str, str]:
    """["partition=gpu", "runtime=600"] as a dictionary.

    Raises:
        BenchmarkError: a word without key or value, a key twice, or one that is no resource (names the nearest that is).
    """
    found: dict[str, str] = {}
    known = list(dict.fromkeys((*_SHORT, *_OF_EXECUTOR)))
    for word in words:
        key, _, value = word.partition("=")
        if not key or not value or key in found:
            raise BenchmarkError(f"--slurm: expected KEY=VALUE such as partition=gpu, each key once; got {word!r}.")
        if key not in known:
            nearest = difflib.get_close_matches(key, known, n=1, cutoff=0.4)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise BenchmarkError(f"--slurm: expected one of {', '.join(known)}; got {key}.{hint}")
        found[key] = value
    return found


def start_engine(
    folder: str, benchmark: Benchmark, at_a_time: int, slurm: Mapping[str, str] | None
) -> subprocess.Popen:
    """Write the graph and start the engine on it; it ends with this process, however that ends."""
    begun = {run.name for run in benchmark.runs if read_state(folder, run)["status"] == RUNNING}
    write_text(graph(benchmark, begun), os.path.join(folder, GRAPH))
    parent = os.getpid()

    def die_with_parent() -> None:
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(1)

    with open(os.path.join(folder, ENGINE_LOG), "a", encoding="utf-8") as log:
        return subprocess.Popen(
            engine_words(folder, at_a_time, slurm),
            stdout=log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=die_with_parent if sys.platform == "linux" else None,
        )
