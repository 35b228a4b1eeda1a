"""documentation/benchmarks: figures are data, and the pages' tables are made of them."""

from __future__ import annotations

import csv
import importlib.util
import json
import re
from types import ModuleType

import numpy as np
import pytest
import SimpleITK as sitk
from documentation_pages import PAGES, ROOT
from skimage import io

from nnuda.demo.data import make_data
from nnuda.evaluation.conventions import SCORES_NAME
from nnuda.evaluation.scores import evaluate_folder, save_scores
from nnuda.planning.memory import memory_factor
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
    fields = ("pair", "budget", "row", "seed", "class", "cases", "dice", "failures", "cpu_seconds", "machine")
    lines = [
        ("mscmr", "b", row, seed, name, 5, dice, failures, seconds)
        for row, seed, values, failures, seconds in (
            ("source-only", 1, (0.2, 0.4), 2, 10),
            ("source-only", 2, (0.4, 0.6), 0, 10),
            ("adapt", 1, (0.6, 0.8), 0, 25),
        )
        for name, dice in zip(("1", "2", "mean"), (*values, sum(values) / 2))
    ]
    monkeypatch.setattr(
        tables, "results", lambda: [{"machine": "", **dict(zip(fields, map(str, line)))} for line in lines]
    )
    _, _, source_only, adapt = tables.table("mscmr", "b").splitlines()
    # mean over the seeds with their standard deviation; the gain is over the seed that both have
    assert source_only.split(" | ")[1:] == ["2", "0.30 ± 0.14", "0.50 ± 0.14", "0.40 ± 0.14", "", "", "2", "1.0 |"]
    assert adapt.split(" | ")[1:] == ["1", "0.60", "0.80", "0.70", "+0.40", "", "0", "2.5 |"]


def lines_of(*rows: tuple) -> list[dict[str, str]]:
    fields = ("pair", "budget", "row", "seed", "class", "dice", "failures", "cpu_seconds", "machine")
    return [{"machine": "", **dict(zip(fields, map(str, row)))} for row in rows]


def test_a_table_of_what_started_from_a_trained_model_by_hand(monkeypatch):
    tables = module("tables")
    lines = lines_of(
        *(("mscmr", "2d_small_x4", "source-only", seed, "heart", dice, 0, 10) for seed, dice in ((1, 0.2), (2, 0.4))),
        *(("mscmr", "2d_small_x4", "source-only", seed, "mean", dice, 0, 10) for seed, dice in ((1, 0.25), (2, 0.35))),
        ("mscmr", "2d_small", "adapt-from", 2, "heart", 0.5, 0, 30),
        ("mscmr", "2d_small", "adapt-from", 2, "lung", 0.8, 0, 30),
        ("mscmr", "2d_small", "adapt-from", 2, "mean", 0.75, 0, 30),
        ("mscmr", "2d_small", "adapt", 2, "mean", 0.99, 0, 30),  # began from nothing
    )
    monkeypatch.setattr(tables, "results", lambda: lines)
    _, _, trained, adapted = tables.started("2d_small").splitlines()
    assert trained.split(" | ")[1:] == ["start: source-only: nnU-Net's augmentation", "2", "0.30", "0.30 ± 0.07", " |"]
    # the gain is over the seed that both have
    assert adapted.split(" | ")[2:] == ["1", "0.50", "0.75", "+0.40 |"]
    _, _, only = tables.deployed("2d_small").splitlines()
    assert only.split(" | ")[1:] == ["0.30 ± 0.07", "0.75", "+0.40 |"]
    assert "adapt-from" not in tables.table("mscmr", "2d_small") and "0.75" not in tables.table("mscmr", "2d_small")


def test_a_summary_by_hand(monkeypatch):
    tables = module("tables")
    lines = lines_of(
        ("mscmr", "b", "source-only", 1, "mean", 0.25, 0, 10),
        ("mscmr", "b", "source-only", 2, "mean", 0.35, 0, 10),
        ("mscmr", "b", "adapt", 2, "mean", 0.75, 0, 30),
        ("mscmr", "other", "strong", 2, "mean", 0.99, 0, 30),  # another budget
        ("acdc", "b", "source-only", 1, "mean", 0.5, 0, 10),  # without the row that the table is about
    )
    monkeypatch.setattr(tables, "results", lambda: lines)
    head, _, only = tables.summary("b").splitlines()
    assert head == "|  | Source-only | `nnUDATrainerAdapt` | Adapt against source-only |"
    assert only == f"| {ROWS['pairs']['mscmr']['title']} | 0.30 ± 0.07 | 0.75 | +0.40 |"


def test_one_piece_by_hand(monkeypatch):
    tables = module("tables")
    fields = ("pair", "budget", "row", "seed", "class", "dice", "one_piece")
    lines = [
        ("mscmr", "b", "adapt", 1, "1", 0.5, 0.6),
        ("mscmr", "b", "adapt", 1, "2", 0.7, 0.65),
        ("mscmr", "b", "adapt", 1, "mean", 0.6, 0.625),
        ("mscmr", "b", "adapt", 2, "1", 0.5, 0.5),
        ("mscmr", "b", "adapt", 2, "2", 0.7, 0.71),
        ("mscmr", "b", "adapt", 2, "mean", 0.6, 0.605),
        ("mscmr", "b", "strong", 2, "mean", 0.6, ""),  # not measured
    ]
    monkeypatch.setattr(tables, "results", lambda: [dict(zip(fields, map(str, line))) for line in lines])
    _, _, only = tables.one_piece().splitlines()
    title = ROWS["rows"]["adapt"]["title"]
    assert only == f"| mscmr, b | {title} | 2 | 0.600 | 0.615 | +0.015 | -0.020, +0.050 |"


@pytest.mark.slow
def test_costs_by_hand(monkeypatch):
    tables = module("tables")
    lines = lines_of(
        ("mscmr", "2d_small", "source-only", 1, "mean", 0.2, 0, 10),
        ("mscmr", "2d_small", "uuds", 1, "mean", 0.2, 0, 25),
        ("mscmr", "2d_small", "uuds", 2, "mean", 0.2, 0, 99),  # no source-only of that seed
        ("mscmr", "2d_small", "uuds", 1, "mean", 0.2, 0, 99, "another"),  # none on that machine
        ("mscmr", "2d_small", "strong-bezier-teacher", 1, "mean", 0.2, 0, 99),  # not what that trainer does alone
        ("acdc", "2d_small", "source-only", 1, "mean", 0.2, 0, 20),
        ("acdc", "2d_small", "uuds-more-throughout", 1, "mean", 0.2, 0, 62),
    )
    monkeypatch.setattr(tables, "results", lambda: lines)
    found = dict(line[2:].split(" | ", 1) for line in tables.costs().splitlines()[2:])
    assert found["`nnUDATrainerUUDS`"] == "2.5 to 3.1 (2) | 3 |"
    assert found["`nnUDATrainerSourceOnly`"] == "1.0 (2) | 1 |"
    assert found["`nnUDATrainerMIC`"] == "not measured | 2 |"
    for trainer, cells in found.items():
        assert float(cells.split(" | ")[1][:-2]) == memory_factor(trainer.strip("`"), {})


@pytest.mark.slow
def test_the_picture_of_the_readme(tmp_path):
    """From a demo folder made by hand: the Dice below a panel is that of its image."""
    demo = tmp_path / "demo"
    data = make_data(demo / "nnUNet_raw", demo / "target_labels")
    truth = {case: io.imread(data.test_labels / f"{case}.png") for case in ("case00", "case01")}
    for row, shown in (("source-only", 0), ("strong", 1), ("adapted", 2), ("one-piece", 2)):
        (demo / "predictions" / row).mkdir(parents=True)
        for case, label in truth.items():
            io.imsave(demo / "predictions" / row / f"{case}.png", label * (label <= shown), check_contrast=False)
        folder, dataset_json = demo / "predictions" / row, json.loads((data.source / "dataset.json").read_text())
        scores = evaluate_folder(str(data.test_labels), str(folder), dataset_json, missing_ok=True)
        save_scores(scores, str(folder / SCORES_NAME))
    assert (
        module("picture").draw(demo, tmp_path / "a.png")
        == [["its labels", "no labels", "Dice 0.00", "Dice 0.50", "Dice 1.00", "Dice 1.00"]] * 2
    )
    for file in (tmp_path / "a.png", ROOT / "documentation" / "pictures" / "adaptation.png"):
        assert io.imread(file).ndim == 3 and file.stat().st_size < 300_000


def test_tables_of_estimates_by_hand(monkeypatch):
    """Three candidates of two classes: estimates 0.8, 0.7, 0.4 of a true 0.6, 0.7, 0.3."""
    tables = module("tables")
    lines = [
        {"pair": "mscmr", "budget": "b", "rows": f"{row}/1", "checkpoint": "final", "place": str(place), "tie": tie}
        | {
            "verdict": "plausible",
            "calibration": "shifted",
            "class": name,
            "cases": "5",
            "true": str(true),
            "value": str(value),
        }
        | {"low": str(value - 0.15), "high": str(value + 0.15), "soft_dice": str(value), "atc": "", "agreement": ""}
        | {"within": str(int(abs(value - true) <= 0.15)), "case_error": "0.1", "cases_within": "0.5"}
        for place, (row, tie, value, true) in enumerate(
            [("adapt", "0", 0.8, 0.6), ("strong", "1", 0.7, 0.7), ("source-only", "0", 0.4, 0.3)], 1
        )
        for name in ("1", "2", "mean")
    ]
    monkeypatch.setattr(tables, "estimates", lambda: lines)
    _, _, first, second, _ = tables.estimate_table("mscmr", "b").splitlines()
    assert first == "| 1 | adapt 1 | final | 0.80 |  |  | 0.80 | 0.65 to 0.95 | 0.60 | plausible |"
    assert second.startswith("| 2 = | strong 1 ")
    _, _, soft, estimate = tables.estimate_summary().splitlines()
    assert soft.startswith("| mscmr, b: 3 candidates, 5 cases, source images shifted | soft Dice | +0.10 | 0.10 |")
    # errors 0.2, 0, 0.1; within 2 of 3; ranks 3 2 1 against 2 3 1: 0.5; the chosen has 0.6, the best 0.7
    assert estimate == "|  | **estimate** | +0.10 | 0.10 | 67 % | 0.10 | 50 % | 0.50 | 0.10 |"
    assert tables.correlation([1, 2, 2, 3], [1, 2, 3, 4]) == "0.95"  # scipy.stats.spearmanr: 0.9487


def test_every_estimate_says_what_it_was():
    with (FOLDER / "estimates.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines
    for line in lines:
        assert line["pair"] in ROWS["pairs"] and line["budget"] in ROWS["budgets"]
        assert all(row.split("/")[0] in ROWS["rows"] for row in line["rows"].split(" + "))
        assert 0 <= float(line["low"]) <= float(line["value"]) <= float(line["high"]) <= 1
        assert int(line["within"]) == (float(line["low"]) <= float(line["true"]) <= float(line["high"]))
    keys = [tuple(line[name] for name in ("pair", "budget", "calibration", "candidate", "class")) for line in lines]
    assert len(keys) == len(set(keys))


def test_every_result_says_what_it_was():
    with (FOLDER / "results.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert lines
    for line in lines:
        assert line["pair"] in ROWS["pairs"] and line["budget"] in ROWS["budgets"] and line["row"] in ROWS["rows"]
        assert re.fullmatch(r"[0-9a-f]{7,40}", line["commit"]) and re.fullmatch(r"\d+b?", line["seed"])
        assert 0 <= float(line["worst"]) <= float(line["dice"]) <= 1
    keys = [tuple(line[name] for name in ("pair", "budget", "row", "seed", "class", "machine")) for line in lines]
    assert len(keys) == len(set(keys)), "a row was measured twice"


@pytest.mark.parametrize(
    "row", [row for row, described in ROWS["rows"].items() if "trainer" in described and "round_of" not in described]
)
def test_the_settings_of_a_row_exist(row):
    settings = ROWS["rows"][row].get("settings", {})
    validate_overrides(settings)
    preset = ROWS["rows"][row]["trainer"].removeprefix("nnUDATrainer").lower()
    assert any(name.replace("_", "") == preset and effective_settings(name, settings) for name in preset_names())


def test_budgets_name_settings_of_trainings():
    for budget in ROWS["budgets"].values():
        validate_overrides(budget["settings"])


def test_the_image_free_map_by_hand():
    """Three cases of one row of voxels: class 1 lies left of the centre in all, class 2 right of it in two of them."""
    free = module("image_free")
    labels = [np.array(row)[None, None] for row in ([0, 1, 1, 2, 0, 0], [0, 1, 1, 2, 0, 0], [0, 0, 1, 0, 0, 0])]
    made, spacing = free.mean_map(labels, [(1.0, 1.0, 1.0)] * 3, [1, 2])
    # 7 voxels of foreground in 3 cases: 2 places; of those that are foreground in two cases both are kept
    assert made[0, 0].tolist() == [0, 1, 1, 2, 0, 0] and spacing == (1, 1, 1)
    # on a grid of half the spacing each voxel is there twice, with the same centre
    assert free.at_offsets(made, spacing, (1, 1, 12), (1, 1, 0.5))[0, 0].tolist() == [
        0,
        0,
        1,
        1,
        1,
        1,
        2,
        2,
        0,
        0,
        0,
        0,
    ]
    # beyond the map is background
    assert free.at_offsets(made, spacing, (1, 1, 10), (1, 1, 1))[0, 0].tolist() == [0, 0, 0, 1, 1, 2, 0, 0, 0, 0]


def test_the_image_free_prediction_never_looks_at_the_image(tmp_path):
    free, rng = module("image_free"), np.random.default_rng(0)
    label = np.zeros((4, 8, 8), np.uint8)
    label[1:3, 2:5, 2:5] = 1
    for name, array in (("source", label), ("a", rng.normal(size=label.shape)), ("b", np.zeros(label.shape))):
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.0, 1.0, 3.0))
        image.SetOrigin((5.0, 6.0, 7.0))
        sitk.WriteImage(image, str(tmp_path / f"{name}.nii.gz"))
    free.predict(
        [tmp_path / "source.nii.gz"], [1], {f"{n}_.nii.gz": tmp_path / f"{n}.nii.gz" for n in "ab"}, tmp_path / "out"
    )
    for name in "ab":
        made = sitk.ReadImage(str(tmp_path / "out" / f"{name}_.nii.gz"))
        assert (sitk.GetArrayFromImage(made) == label).all()
        assert made.GetSpacing() == (1, 1, 3) and made.GetOrigin() == (5, 6, 7)


def test_an_oracle_is_refused_where_it_learns_a_scored_case(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    run = module("run")
    for folder, cases in (("oracle/labelsTr", "ab"), ("labels", "bc")):
        (tmp_path / folder).mkdir(parents=True)
        for case in cases:
            (tmp_path / folder / f"{case}.nii.gz").touch()
    pair = {"source": "s", "target": "t", "labels": "labels"}
    assert run.oracle(pair, tmp_path) is None
    with pytest.raises(SystemExit, match="b.nii.gz are also in labels"):
        run.oracle({**pair, "oracle": "oracle"}, tmp_path)
    (tmp_path / "labels" / "b.nii.gz").unlink()
    assert run.oracle({**pair, "oracle": "oracle"}, tmp_path)["source"] == "oracle"
