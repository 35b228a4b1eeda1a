"""documentation/benchmarks: figures are data, and the pages' tables are made of them."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from types import ModuleType

import pytest
from documentation_pages import PAGES, ROOT

from nnuda.settings import effective_settings, preset_names, validate_overrides

FOLDER = ROOT / "documentation" / "benchmarks"
ROWS = json.loads((FOLDER / "rows.json").read_text())


def module(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", FOLDER / f"{name}.py")
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_those_of_the_results(page):
    text = page.read_text(encoding="utf-8")
    assert module("tables").filled(text) == text, "run python documentation/benchmarks/tables.py"


def test_a_table_against_means_by_hand(tmp_path, monkeypatch):
    tables = module("tables")
    fields = ("pair", "budget", "row", "seed", "class", "cases", "dice", "failures", "cpu_seconds")
    lines = [
        ("mscmr", "b", row, seed, name, 5, dice, failures, seconds)
        for row, seed, values, failures, seconds in (
            ("source-only", 1, (0.2, 0.4), 2, 10),
            ("source-only", 2, (0.4, 0.6), 0, 10),
            ("adapt", 1, (0.6, 0.8), 0, 25),
        )
        for name, dice in zip(("1", "2", "mean"), (*values, sum(values) / 2))
    ]
    monkeypatch.setattr(tables, "results", lambda: [dict(zip(fields, map(str, line))) for line in lines])
    _, _, source_only, adapt = tables.table("mscmr", "b").splitlines()
    # mean over the seeds with their standard deviation; the gain is over the seed that both have
    assert source_only.split(" | ")[1:] == ["2", "0.30 ± 0.14", "0.50 ± 0.14", "0.40 ± 0.14", "", "", "2", "1.0 |"]
    assert adapt.split(" | ")[1:] == ["1", "0.60", "0.80", "0.70", "+0.40", "", "0", "2.5 |"]


def test_every_result_says_what_it_was():
    with (FOLDER / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines
    for line in lines:
        assert line["pair"] in ROWS["pairs"] and line["budget"] in ROWS["budgets"] and line["row"] in ROWS["rows"]
        assert re.fullmatch(r"[0-9a-f]{7,40}", line["commit"]) and int(line["seed"]) >= 0
        assert 0 <= float(line["worst"]) <= float(line["dice"]) <= 1
    keys = [tuple(line[name] for name in ("pair", "budget", "row", "seed", "class")) for line in lines]
    assert len(keys) == len(set(keys)), "a row was measured twice"


@pytest.mark.parametrize("row", ROWS["rows"])
def test_the_settings_of_a_row_exist(row):
    settings = ROWS["rows"][row].get("settings", {})
    validate_overrides(settings)
    preset = ROWS["rows"][row]["trainer"].removeprefix("nnUDATrainer").lower()
    assert any(name.replace("_", "") == preset and effective_settings(name, settings) for name in preset_names())


def test_budgets_name_settings_of_trainings():
    for budget in ROWS["budgets"].values():
        validate_overrides(budget["settings"])
