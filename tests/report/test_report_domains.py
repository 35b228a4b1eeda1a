"""Both domains side by side."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_run import make_run

from nnuda.datasets import spread
from nnuda.histograms import common_area
from nnuda.report.domains import domains_section, fingerprint_table
from nnuda.report.run import read_run


def test_the_table_has_both_domains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_preprocessed", raising=False)
    rows = {row[0]: row[1:] for row in fingerprint_table(read_run(str(make_run(tmp_path)))).rows}
    assert rows["cases"] == ["4", "7"] and rows["labels"] == ["disc, ring", "never opened by training"]
    assert rows["voxel spacing, mm (median)"] == ["1 × 1", "2 × 2"]
    assert rows["shape after crop, voxels (median)"] == ["64 × 80; from 64 × 80 to 64 × 96", "64 × 80"]
    assert rows["channel"] == ["T1", "T2 <fat & water>"] and rows["intensities: mean ± standard deviation"] == [
        "5 ± 1",
        "-",
    ]


def test_what_lies_elsewhere_by_now_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
        (tmp_path / name).mkdir()
    texts = [block.text for block in domains_section(read_run(str(make_run(tmp_path))), 2).blocks[1:]]
    for domain in ("source", "target"):
        assert f"Raw images of the {domain} were not found in nnUNet_raw: no histogram of them." in texts
        expected = f"Preprocessed cases of the {domain} were not found in nnUNet_preprocessed: no histogram of them."
        assert expected in texts


def test_common_area() -> None:
    values = np.random.default_rng(0).normal(size=10_000)
    assert common_area({"source": values, "target": values}, (-3, 3)) == pytest.approx(1)
    assert common_area({"source": values, "target": values + 50}, (-5, 60)) == pytest.approx(0)
    assert common_area({"source": values, "target": values * 2 + 1}, (-8, 8)) == pytest.approx(0.62, abs=0.03)


def test_cases_are_spread_over_all() -> None:
    assert spread([f"{i:02}" for i in range(11)], 3) == ["00", "05", "10"] and spread(["b", "a"], 8) == ["a", "b"]
