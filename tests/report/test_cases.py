"""Cases of the target: ranked without labels, scored where there are references."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
from made_run import SOURCE, TARGET, make_run, plans, write_images, write_predictions

from nnuda.datasets import DatasetError
from nnuda.evaluation.reading import EvaluationError
from nnuda.report.case_scores import ENTROPY, SIZES, CaseScores, dice_of_epochs, evaluate, score_cases
from nnuda.report.cases import cases_alarms, cases_section
from nnuda.report.page import Folded, Legend, Pictures, Table, Text
from nnuda.report.predictions import BEFORE, find_predictions
from nnuda.report.run import ReportError, Run, read_run

SHIFTS = {"a": 0, "b": 2, "c": 8, "d": 4}
SURE = {"a": 0.9, "b": 0.8, "c": 0.4, "d": 0.7}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return read_run(str(make_run(tmp_path / "results")))


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    """Predictions that are the worse the less sure they are."""
    return {
        "predictions": str(write_predictions(tmp_path / "predictions", SHIFTS, SURE)),
        "labels": str(write_predictions(tmp_path / "labels", dict.fromkeys("abc", 0))),
        "before": str(write_predictions(tmp_path / "before", dict.fromkeys("abcd", 6))),
        "images": str(write_images(tmp_path / "images", list("abcd"))),
    }


def texts(blocks: list) -> str:
    return "\n".join(block.text for block in blocks if isinstance(block, Text))


def test_cases_are_ranked_by_entropy(run: Run, folders: dict[str, str]) -> None:
    found = score_cases(run, find_predictions(run, folders["predictions"]), 1)
    rest = {case: (1 - p) / 2 for case, p in SURE.items()}
    for case, p in SURE.items():
        assert found.values[case] == pytest.approx(-p * math.log(p) - 2 * rest[case] * math.log(rest[case]), rel=1e-5)
    assert found.kind == ENTROPY and list(found.shown.items()) == [
        ("least certain", "c"),
        ("median", "b"),
        ("most certain", "a"),
    ]


def test_without_probabilities_by_sizes_and_it_is_said(run: Run, tmp_path: Path) -> None:
    folder = write_predictions(tmp_path / "p", SHIFTS)
    write_predictions(tmp_path / "q", {"d": 4}, ring=False)
    (tmp_path / "q" / "d.png").replace(folder / "d.png")
    predictions = find_predictions(run, str(folder))
    found = score_cases(run, predictions, 1)
    assert found.kind == SIZES and found.ranked[-1] == "d" and found.values["a"] == 0
    assert found.values["d"] == pytest.approx(math.log(300) / 2)  # the ring's 300 voxels became 0, which count as one
    assert "fallback" in texts(cases_section(run, predictions, found).blocks)


def test_few_cases_are_shown_once() -> None:
    assert CaseScores(SIZES, {"x": 1.0}, {}).shown == {"least usual": "x"}
    assert CaseScores(SIZES, {"x": 1.0, "y": 0.5}, {}).shown == {"least usual": "x", "most usual": "y"}


def test_pictures_and_scores(run: Run, folders: dict[str, str]) -> None:
    predictions = find_predictions(run, folders["predictions"], folders["before"], folders["labels"], folders["images"])
    found = score_cases(run, predictions, 1)
    blocks = cases_section(run, predictions, found).blocks
    legend, this, before, folded = blocks[:4]
    assert isinstance(legend, Legend) and set(legend.colours) == {"disc", "ring"}
    assert "dotted: the reference" in legend.text
    assert [picture.caption.split(";")[0] for picture in this.pictures] == ["worst: c", "median: b", "best: a"]
    assert "Dice 1.000" in this.pictures[-1].caption and isinstance(folded, Folded)
    assert all(BEFORE in picture.caption and "Dice" not in picture.caption for picture in before.pictures)
    for of_case in zip(this.pictures, before.pictures, folded.blocks[0].pictures):
        assert len({picture.file for picture in of_case}) == 3
    assert "oracle: true" in texts(blocks)
    table = next(block for block in blocks if isinstance(block, Table))
    assert table.rows[0][1] == "Dice" and table.rows[0][-2] == "Dice before"
    assert table.rows[-1][1] == f"{found.scores['foreground_mean']['Dice']:.3f}"
    assert found.scores == evaluate(run, folders["labels"], folders["predictions"], 1)


def test_the_rows_have_the_names_that_are_given(run: Run, folders: dict[str, str]) -> None:
    (Path(folders["predictions"]) / "plans.json").write_text(json.dumps({**plans(), "plans_name": "of a round"}))
    given = find_predictions(run, *(folders[name] for name in ("predictions", "before", "labels", "images")))
    found = score_cases(run, given, 1)
    for predictions, names, alarms in (
        (given, ("this run", "before"), 1),
        (replace(given, names=("round 1", "adapted")), ("round 1", "adapted"), 0),
    ):
        _, *rows, _ = cases_section(run, predictions, found).blocks[:4]
        for row, name in zip(rows, names):
            assert all(f"; {name}" in picture.caption and picture.alt.endswith(name) for picture in row.pictures)
        table = next(block for block in cases_section(run, predictions, found).blocks if isinstance(block, Table))
        assert table.rows[0][-2] == f"Dice {names[1]}"
        assert sum("not with this run's" in alarm for alarm in cases_alarms(run, predictions, found)) == alarms


def test_without_references_nothing_is_said_of_an_oracle(run: Run, folders: dict[str, str]) -> None:
    predictions = find_predictions(run, folders["predictions"], None, None, folders["images"])
    blocks = cases_section(run, predictions, score_cases(run, predictions, 1)).blocks
    assert "oracle" not in texts(blocks) and blocks[0].text == "" and isinstance(blocks[1], Pictures)


def test_images_are_those_that_nnunet_noted(run: Run, folders: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    predictions = find_predictions(run, folders["predictions"])
    assert not predictions.images
    assert "Name their folder with -i" in texts(
        cases_section(run, predictions, score_cases(run, predictions, 1)).blocks
    )
    (Path(folders["predictions"]) / "predict_from_raw_data_args.json").write_text(
        json.dumps({"list_of_lists_or_source_folder": folders["images"]})
    )
    assert set(find_predictions(run, folders["predictions"]).images) == set("abcd")


def test_folders_that_do_not_fit_are_refused(run: Run, folders: dict[str, str], tmp_path: Path) -> None:
    more = str(write_predictions(tmp_path / "more", dict.fromkeys("abcde", 0)))
    with pytest.raises(EvaluationError, match="prediction for each reference; 1 are missing.*: e"):
        find_predictions(run, folders["predictions"], None, more, None)
    with pytest.raises(EvaluationError, match="before and after; .* lacks d"):
        find_predictions(run, folders["predictions"], folders["labels"], None, None)
    with pytest.raises(EvaluationError, match="folder of predictions; .* does not exist"):
        find_predictions(run, str(tmp_path / "nothing"), None, None, None)
    with pytest.raises(ReportError, match="an image of each predicted case"):
        find_predictions(run, more, None, None, folders["images"])
    with pytest.raises(DatasetError, match="No images in"):
        find_predictions(run, more, None, None, folders["labels"])


def test_alarms(run: Run, tmp_path: Path) -> None:
    folder = write_predictions(tmp_path / "p", SHIFTS, ring=False)
    (folder / "plans.json").write_text(json.dumps({**plans(), "plans_name": "another"}))
    predictions = find_predictions(run, str(folder))
    found = score_cases(run, predictions, 1)
    assert cases_alarms(run, predictions, found) == [
        "ring is not predicted in 4 of 4 target cases.",
        "The predictions were made with the plan another of Dataset501_One, not with this run's.",
    ]
    found.sizes = {"a": [100, 5], "b": [100, 100], "c": [100, 100], "d": [11, 0]}
    alarm = "ring: less than a tenth of the median size in 2 of 4 target cases, a, d."
    assert cases_alarms(run, predictions, found)[0] == alarm
    found.sizes = {"a": [0, 5], "b": [100, 100], "c": [100, 100], "d": [90, 90]}
    alarm = "disc, ring: less than a tenth of the median size in 1 of 4 target cases, a."
    assert cases_alarms(run, predictions, found)[0] == alarm


def test_dice_of_epochs_is_that_of_the_evaluation(run: Run, folders: dict[str, str]) -> None:
    epochs = {5: folders["before"], 3: folders["labels"]}
    found = dice_of_epochs(run, epochs, folders["labels"], 1)
    assert list(found) == [3, 5] and found[3] == 1.0
    assert found[5] == evaluate(run, folders["labels"], folders["before"], 1)["foreground_mean"]["Dice"] < 1


@pytest.mark.parametrize("noted", [False, True])
def test_cases_of_the_source_are_no_predictions_of_the_target(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, noted: bool
) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    of_source = write_images(tmp_path / SOURCE / "imagesTr", ["s1", "s2"])
    write_images(tmp_path / TARGET / "imagesTr", ["t1", "s2"])
    write_images(tmp_path / TARGET / "imagesTs", ["x1"])
    folder = write_predictions(tmp_path / "p", {"s1": 0})
    if noted:
        notes = {"list_of_lists_or_source_folder": str(of_source)}
        (folder / "predict_from_raw_data_args.json").write_text(json.dumps(notes))
    with pytest.raises(ReportError, match=f"--predictions: .* target {TARGET}; s1 in .* of the source {SOURCE}. .* -i"):
        find_predictions(run, str(folder))
    assert find_predictions(run, str(folder), images=str(of_source)).images
    for number, case in enumerate(("s2", "t1", "x1", "elsewhere")):
        of_target = write_predictions(tmp_path / f"q{number}", {case: 0})
        assert find_predictions(run, str(of_target)).cases == [case]
