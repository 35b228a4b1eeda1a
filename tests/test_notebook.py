"""The notebook: its code cells run in order in one namespace, with fewer cases, epochs and steps."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import matplotlib
import pytest
import torch
from command_server import commands
from documentation_pages import ROOT

from nnuda.demo import data

NOTEBOOK = ROOT / "documentation" / "notebooks" / "adapt.ipynb"
CONTENT = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
CODE = [cell for cell in CONTENT["cells"] if cell["cell_type"] == "code"]


def test_it_is_a_small_notebook_of_format_4() -> None:
    assert CONTENT["nbformat"] == 4 and NOTEBOOK.stat().st_size < 300_000
    assert len({cell["id"] for cell in CONTENT["cells"]}) == len(CONTENT["cells"])
    for cell in CONTENT["cells"]:
        assert cell["cell_type"] in ("code", "markdown") and "".join(cell["source"]).strip()
        assert cell["cell_type"] == "markdown" or {"outputs", "execution_count"} <= cell.keys()
    assert not any(str(Path.home()) in json.dumps(cell) for cell in CODE)


@pytest.mark.slow
def test_its_cells_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results", "nnUNet_n_proc_DA", "nnUNet_compile"):
        monkeypatch.setenv(name, os.environ.get(name, ""))  # put back after it
    monkeypatch.setenv("nnUNet_def_n_proc", "1")
    monkeypatch.setattr(sys, "executable", str(commands().folder / "python"))  # beside which nnuda finds commands
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(data, "CASES_TRAINING", 6)
    monkeypatch.setattr(data, "CASES_TEST", 4)
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    shown: list[int] = []
    monkeypatch.setattr(plt, "show", lambda: (shown.append(len(plt.gcf().axes)), plt.close()))
    names: dict = {"__name__": "__main__"}
    for number, cell in enumerate(CODE):
        exec(compile("".join(cell["source"]), f"{NOTEBOOK.name}, code cell {number}", "exec"), names)
        if "parameters" in cell["metadata"].get("tags", []):
            names |= {"EPOCHS": 1, "STEPS_AN_EPOCH": 2, "LOOP_STEPS": 2}
    assert shown == [4] * 5
    adapted = names["adapted"]
    assert adapted.report.is_file() and (adapted.model / "fold_0" / adapted.checkpoint).is_file()
    assert sorted(file.name for file in adapted.predictions.glob("*.png")) == [f"case{n:02d}.png" for n in range(4)]
    assert set(adapted.estimate["per_class"]) == set(names["scores"]["per_class"]) == {"liver", "kidney"}
    one, other = (torch.cat([p.flatten() for p in names[name].parameters()]) for name in ("without", "with_loss"))
    assert other.isfinite().all() and (one != other).any()
    printed = capsys.readouterr().out
    assert "nnUNetv2_train 901 2d_demo" in printed and "and confident_pseudo_label_loss: mean Dice" in printed
