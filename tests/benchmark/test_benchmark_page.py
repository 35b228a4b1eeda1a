"""The page, CSV and Markdown of made-up scores, with an oracle and a run that failed."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from toy import write_dataset

from nnuda.benchmark.description import read_benchmark
from nnuda.benchmark.identity import provenance
from nnuda.benchmark.page import published_rows, save_pages
from nnuda.benchmark.places import own_error, run_folder, write_state
from nnuda.published.results import load_published

ROWS = [
    {"name": "plain", "trainer": "nnUDATrainerSourceOnly"},
    {"name": "strong", "trainer": "nnUDATrainerSourceOnly", "title": "strong & <b>bold</b>"},
    {"name": "oracle", "trainer": "nnUDATrainerSourceOnly", "on": "target"},
]
DICE = {"plain": {1: 0.20, 2: 0.25}, "strong": {1: 0.31, 2: 0.34}, "oracle": {1: 0.425}}


def scores(dice: float) -> dict:
    """Two cases and two classes, whose mean is as said; below 0.3 the class b is not found."""
    b = 0.0 if dice < 0.3 else 0.2
    means = {"a": 2 * dice - b, "b": b}
    per_case = {
        case: {
            name: {"Dice": mean + shift * (mean > 0), "n_reference": 9, "empty": "none"} for name, mean in means.items()
        }
        for case, shift in (("case0", 0.05), ("case1", -0.05))
    }
    per_class = {name: {"Dice": {"mean": mean, "std": 0.07, "n": 2}} for name, mean in means.items()}
    labels = {"a": 1, "b": 2}
    return {
        "per_case": per_case,
        "per_class": per_class,
        "foreground_mean": {"Dice": dice},
        "labels": labels,
        "unit": "mm",
    }


@pytest.fixture
def made(described: Callable[..., str], tmp_path: Path) -> tuple[Path, list[str]]:
    oracle = tmp_path / "raw" / "Dataset503_Oracle"
    write_dataset(oracle, labelled=True, inverted=True, cases=2, shape=(4, 12, 12))
    for file in oracle.rglob("case*"):
        file.rename(file.with_name(file.name.replace("case", "other")))
    pair = {"name": "toy", "source": 501, "target": 502, "labels": "labels", "oracle": 503}
    pair["published"] = "mmwhs_mr_to_ct"
    benchmark, folder = read_benchmark(described(rows=ROWS, pairs=[pair], title="A & B")), str(tmp_path / "out")
    for run in benchmark.runs:
        made_with = provenance("cpu") | {"commit": f"c{run.seed}"}
        if run.seed not in DICE[run.row.name]:
            write_state(folder, run, status="failed", identity={}, starts=[made_with], error="Error: no <luck>")
            continue
        cost = {"training_seconds": 60.0 * run.seed, "memory_gb": None, "epochs": 2}
        write_state(folder, run, status="done", identity={}, starts=[made_with], cost=cost)
        Path(run_folder(folder, run), "scores.json").write_text(json.dumps(scores(DICE[run.row.name][run.seed])))
        Path(run_folder(folder, run), "report.html").touch()
    return Path(folder), save_pages(folder, benchmark)


def test_what_is_missing_is_named(made: tuple[Path, list[str]]) -> None:
    assert made[1] == ["toy_oracle_seed2_foldall"]


def test_markdown_has_spread_gap_worst_class_failures_and_cost(made: tuple[Path, list[str]]) -> None:
    lines = (made[0] / "benchmark.md").read_text().splitlines()
    plain, strong, oracle = (next(line for line in lines if line.startswith(f"| {name}")) for name in DICE)
    assert "| 2 | 0.225 ± 0.035 |" in plain and "| b 0.000 | 2 of 4 | 0 % |" in plain and "| 90 s |" in plain
    assert "| 2 | 0.325 ± 0.021 |" in strong and "| b 0.200 | 0 of 4 | 50 % |" in strong  # 0.10 of 0.20
    assert "| 1 of 2 | 0.425 |" in oracle and "| - (1 seeds) |" in oracle
    text = "\n".join(lines)
    assert "Some runs are missing or failed" in text and "more than one commit: c1; c2" in text
    assert "With 2 cases and 2 tests no corrected p over cases can be below 1" in text


def test_csv_is_a_line_a_run_and_class(made: tuple[Path, list[str]]) -> None:
    with (made[0] / "benchmark.csv").open() as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 5 * 3
    found = {(line["row"], line["seed"], line["class"]): line for line in lines}
    assert float(found["strong", "2", "mean"]["dice"]) == 0.34
    a = found["plain", "1", "a"]
    assert (float(a["dice"]), float(a["worst"]), a["cases"]) == (0.4, 0.35, "2")


def test_page_links_reports_and_shows_what_failed(made: tuple[Path, list[str]]) -> None:
    text = (made[0] / "benchmark.html").read_text()
    link = "runs/toy_plain_seed1_foldall/report.html"
    assert f'href="{link}"' in text and os.path.isfile(made[0] / link)
    assert "Error: no &lt;luck&gt;" in text and "<b>bold" not in text and "A &amp; B" in text


def test_published_figures_stand_apart(made: tuple[Path, list[str]]) -> None:
    page, text = (made[0] / "benchmark.html").read_text(), (made[0] / "benchmark.md").read_text()
    for whole, heading in ((page, 'id="published--toy"'), (text, "### Published: toy")):
        own, papers = whole.split(heading)
        assert "not comparable line by line" in papers and "not comparable" not in own
        assert "similarity-based prototypes" in papers and "similarity-based prototypes" not in own
        assert "https://arxiv.org/abs/2510.20596" in papers
    assert (
        "| similarity-based prototypes | target images | 0.775 | - | - | 0.817 | 0.643 | [2] comparison on MM-WHS |"
        in text
    )
    assert "| EntMin | target images | 0.725 | - | - | - | - | [2] comparison on MM-WHS |" in text
    assert "EntMin" not in (made[0] / "benchmark.csv").read_text()


def test_published_figures_keep_their_decimals() -> None:
    rows = {row[0]: row for row in published_rows(load_published("crossmoda_cet1_to_hrt2"))}
    assert rows[""][2:5] == ["mean Dice", "vestibular schwannoma", "cochlea"]
    assert rows["PAST"][2:] == ["0.8395", "-", "-", "[3] abstract; validation of 2021"]
    assert rows["COSMOS"][2:5] == ["-", "0.871", "0.842"]


def test_an_error_is_said_in_one_line() -> None:
    failed = "Error: nnUNetv2_train ended with status 1. The end of log:\n\ntail\n"
    assert own_error(failed) == failed.splitlines()[0]
    assert own_error(failed + "Error: Case a.\nRuleException:\nError in rule pair_p:\n") == "Error: Case a."
    assert own_error("Traceback (most recent call last):\n  File\nValueError: odd\n") == "ValueError: odd"
    assert own_error("") == ""
