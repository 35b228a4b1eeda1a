from __future__ import annotations

import os
from pathlib import Path

import pytest

from nnuda.benchmark.gpus import VISIBLE, own_gpu


def test_runs_beside_each_other_have_a_gpu_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "2,GPU-a")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with own_gpu(str(tmp_path), "cuda"):
        first = os.environ[VISIBLE]
        monkeypatch.setenv(VISIBLE, "2,GPU-a")  # as another process sees it
        with own_gpu(str(tmp_path), "cuda"):
            second = os.environ[VISIBLE]
            monkeypatch.setenv(VISIBLE, "2,GPU-a")
            with own_gpu(str(tmp_path), "cuda"):
                assert os.environ[VISIBLE] == "2,GPU-a"  # none is free
    assert (first, second) == ("2", "GPU-a")


@pytest.mark.parametrize(("device", "job"), [("cpu", None), ("cuda", "17")])
def test_others_see_what_they_saw(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str, job: str | None
) -> None:
    monkeypatch.setenv(VISIBLE, "0,1")
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    if job:
        monkeypatch.setenv("SLURM_JOB_ID", job)
    with own_gpu(str(tmp_path), device):
        assert os.environ[VISIBLE] == "0,1"
    assert not list(tmp_path.iterdir())
