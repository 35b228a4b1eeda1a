"""What a result depends on: data, budget, settings. A result of something else is stale, and is never put into a table."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nnuda.benchmark.description import Benchmark, Pair, Run
from nnuda.datasets import Domain, label_files
from nnuda.files import FileError, read_json, write_text
from nnuda.images import digest, stamp

HASHES = "data_hashes.json"
PACKAGES = ("nnuda", "nnunetv2", "torch", "numpy", "snakemake")


def write_json(content: Mapping[str, Any], path: str) -> None:
    """As that of nnuda.files, for content without NumPy's numbers: it does not need nnU-Net, which imports torch."""
    write_text(json.dumps(content, indent=4), path)


class DataHashes:
    """Hashes of the contents of sets of files; read again where a file's size or time has changed.

    Args:
        folder: of the benchmark, where they are kept.
    """

    def __init__(self, folder: str) -> None:
        self.file = os.path.join(folder, HASHES)
        try:
            self.known = read_json(self.file, "hashes of data")
        except FileError:  # not there, or damaged: made again
            self.known = {}

    def of(self, name: str, files: list[str]) -> str:
        """Hash of all contents."""
        now = {"files": files, "stamp": stamp(files)}
        old = self.known.get(name, {})
        if {key: old.get(key) for key in now} != now:
            self.known[name] = {**now, "hash": digest(files)}
            write_json(self.known, self.file)
        return self.known[name]["hash"]


def _raw_files(domain: Domain, labelled: bool) -> list[str]:
    files = [os.path.join(domain.folder, "dataset.json")]
    files += [file for case in sorted(domain.images) for file in domain.images[case]]
    labels = label_files(domain) if labelled else {}
    return files + [labels[case] for case in sorted(labels)]


def data_of(pair: Pair, on: str, hashes: DataHashes) -> dict[str, str]:
    """Hashes of all data that a run of the pair sees."""
    source, ending = pair.trained_on(on), pair.target.file_ending
    scored = sorted(pair.images)
    return {
        "source": hashes.of(f"source {source.folder}", _raw_files(source, labelled=True)),
        "target": hashes.of(f"target {pair.target.folder}", _raw_files(pair.target, labelled=False)),
        "images": hashes.of(f"images {pair.name}", [file for case in scored for file in pair.images[case]]),
        "labels": hashes.of(f"labels {pair.labels}", [os.path.join(pair.labels, case + ending) for case in scored]),
    }


def identity_of_pair(benchmark: Benchmark, pair: Pair, on: str, hashes: DataHashes) -> dict[str, Any]:
    """What planning and preprocessing depend on."""
    data = data_of(pair, on, hashes)
    budget = {key: benchmark.budget.get(key) for key in ("configuration", "add")}
    return {"data": {key: data[key] for key in ("source", "target")}, "budget": budget}


def identity_of_run(benchmark: Benchmark, run: Run, hashes: DataHashes) -> dict[str, Any]:
    """What a run's scores depend on."""
    return {
        "data": data_of(run.pair, run.row.on, hashes),
        "budget": {key: benchmark.budget.get(key) for key in ("configuration", "add")},
        "trainer": run.row.trainer,
        "settings": benchmark.effective(run),
        "plan": list(run.row.plan),
        "on": run.row.on,
        "fold": run.fold,
        "checkpoint": benchmark.checkpoint,
        "device": benchmark.device,
    }


def changes(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """What differs between two identities, a line each."""
    found = []
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            found += changes(before, now, f"{prefix}{key}.")
        elif before != now:
            changed = "the files have changed" if prefix == "data." else f"was {before!r}, now {now!r}"
            found.append(f"{prefix}{key}: {changed}")
    return found


# ---- where it was made ----------------------------------------------------------------------------------------------


def provenance(device: str) -> dict[str, Any]:
    """Versions, commit and machine."""
    return {
        "versions": {"python": platform.python_version(), **{name: _version(name) for name in PACKAGES}},
        "commit": _commit(),
        "machine": {
            "host": platform.node(),
            "system": platform.platform(),
            "processors": os.cpu_count(),
            "device": _device_name(device),
            "slurm_job": os.environ.get("SLURM_JOB_ID"),
        },
        "command": [sys.executable, *sys.argv],
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
    }


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Of the checkout that nnuda runs from; None where it was installed from a wheel."""
    folder = Path(__file__).resolve().parents[2]
    if not (folder / ".git").exists():
        return None
    words = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*"]
    try:
        return subprocess.run(words, capture_output=True, text=True, check=True, timeout=30).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def _device_name(device: str) -> str:
    if device != "cuda":
        return platform.processor() or platform.machine()
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
