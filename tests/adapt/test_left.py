"""What is left of a stage, from what lies on the disk."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nnuda.files import FileError
from nnuda.settings import effective_settings
from nnuda.stages import left
from nnuda.stages.left import (
    MAYBE_CUT_OFF,
    AdaptError,
    prediction_left,
    refuse_other_settings,
    result_left,
    training_left,
)
from nnuda.stages.road import FINAL, Road

LATEST = "checkpoint_latest.pth"


@pytest.fixture(autouse=True)
def same_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(left, "_refuse_other_configuration", lambda road: None)


def validated(road: Road, probabilities: bool = True) -> Path:
    """What nnU-Net's validation leaves."""
    folder = Path(road.fold_folder) / "validation"
    folder.mkdir(exist_ok=True)
    cases = [{"prediction_file": str(folder / f"s.{i}.nii.gz")} for i in range(2)]
    for i in range(2):
        (folder / f"s.{i}.{'npz' if probabilities else 'txt'}").write_bytes(b"")
    (folder / "summary.json").write_text(json.dumps({"metric_per_case": cases}))
    return folder / "summary.json"


def test_nothing_there_trains_from_the_start(road):
    found = training_left(road)
    assert found.command == road.train_command() and "--npz" in found.command


def test_a_checkpoint_goes_on(road):
    (Path(road.fold_folder) / LATEST).touch()
    assert training_left(road).command == [*road.train_command(), "--c"]


@pytest.mark.parametrize("there", ["nothing", "no probabilities", "older"])
def test_a_finished_training_may_lack_its_validation(road, there):
    final = Path(road.fold_folder) / FINAL
    final.touch()
    if there != "nothing":
        summary = validated(road, there != "no probabilities")
        if there == "older":
            os.utime(summary, (1, 1))
    assert training_left(road).command == [*road.train_command(), "--val"]


def test_a_finished_and_validated_training_is_there(road):
    (Path(road.fold_folder) / FINAL).touch()
    validated(road)
    assert training_left(road) is None


def test_a_finished_training_of_other_settings_is_refused(road, monkeypatch):
    def refuse(_):
        raise AdaptError("other")

    monkeypatch.setattr(left, "_refuse_other_configuration", refuse)
    (Path(road.fold_folder) / FINAL).touch()
    with pytest.raises(AdaptError, match="other"):
        training_left(road)


def test_other_settings_than_a_training_was_begun_with_are_refused(road):
    plans = {"dataset_name": "D", "plans_name": "P", "image_reader_writer": "R", "configurations": {"2d": {}}}
    begun = {**plans, "domain_adaptation": {"effective_settings": effective_settings("adapt", {"training.seed": 1})}}
    (Path(road.model_folder) / "plans_source.json").write_text(json.dumps(begun))
    refuse_other_settings(road)  # none given: the plan's own
    refuse_other_settings(replace(road, settings={"training.seed": 1}))
    with pytest.raises(AdaptError, match="training.seed: was 1, now 2"):
        refuse_other_settings(replace(road, settings={"training.seed": 2}))


def test_what_a_rule_of_planning_has_set_is_no_other_setting(road):
    plans = {"dataset_name": "D", "plans_name": "P", "image_reader_writer": "R", "configurations": {"2d": {}}}
    rules = [{"rule": "left and right", "settings": {"planning.sided_axes": [2]}}]
    settings = effective_settings("adapt", {"training.seed": 1, "planning.sided_axes": [2]})
    begun = {**plans, "domain_adaptation": {"rules": rules, "effective_settings": settings}}
    (Path(road.model_folder) / "plans_source.json").write_text(json.dumps(begun))
    refuse_other_settings(replace(road, settings={"training.seed": 1}))
    with pytest.raises(AdaptError, match="planning.sided_axes: was .2., now .."):
        refuse_other_settings(replace(road, settings={"training.seed": 1, "planning.sided_axes": []}))


# ---- predictions ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(road: Road) -> Road:
    (Path(road.fold_folder) / FINAL).write_bytes(b"weights")
    return road


def predict(road: Road, cases: list[str]) -> None:
    folder = Path(road.predictions)
    folder.mkdir(exist_ok=True)
    for case in cases:
        np.savez(folder / f"{case}.npz", probabilities=np.zeros(1))
        (folder / f"{case}.nii.gz").write_bytes(b"labels")


def left_of(road: Road) -> left.Left | None:
    return prediction_left(road, FINAL, road.predictions)


def finish(road: Road) -> None:
    """As the runner does."""
    todo = left_of(road)
    todo.prepare()
    predict(road, list(road.cases))
    todo.done()


def test_predictions_that_are_there_are_not_made_again(trained):
    assert left_of(trained).command == trained.predict_command(FINAL, trained.predictions)
    finish(trained)
    assert left_of(trained) is None


def test_a_removed_prediction_is_made_again_and_the_others_stay(trained):
    finish(trained)
    os.remove(Path(trained.predictions) / "case.1.npz")
    todo = left_of(trained)
    todo.prepare()
    assert todo.command[-1] == "--continue_prediction"
    assert sorted(file.name for file in Path(trained.predictions).glob("*.nii.gz")) == [
        "case.0.nii.gz",
        "case.2.nii.gz",
    ]


def test_after_a_kill_the_newest_are_made_again(trained):
    road = replace(trained, cases={f"c{i:02d}": 1 for i in range(MAYBE_CUT_OFF + 5)})
    left_of(road).prepare()
    predict(road, list(road.cases))  # all of them, but the command was killed: the last ones may be half a file
    for i, case in enumerate(road.cases):
        os.utime(Path(road.predictions) / f"{case}.nii.gz", (i, i))
    todo = left_of(road)
    assert todo.command[-1] == "--continue_prediction"
    todo.prepare()
    kept = sorted(file.name for file in Path(road.predictions).glob("*.nii.gz"))
    assert kept == [f"c{i:02d}.nii.gz" for i in range(5)]


def test_half_a_file_of_probabilities_is_made_again(trained):
    finish(trained)
    (Path(trained.predictions) / "case.0.npz").write_bytes(b"PK half")
    os.remove(Path(trained.predictions) / "case.1.npz")
    left_of(trained).prepare()
    assert [file.name for file in Path(trained.predictions).glob("*.nii.gz")] == ["case.2.nii.gz"]


@pytest.mark.parametrize("change", ["checkpoint", "image"])
def test_another_checkpoint_or_image_predicts_anew(trained, change):
    finish(trained)
    if change == "checkpoint":
        (Path(trained.fold_folder) / FINAL).write_bytes(b"other weights")
    else:
        trained = replace(trained, cases={**trained.cases, "case.0": 99})
    todo = left_of(trained)
    assert "--continue_prediction" not in todo.command
    todo.prepare()
    assert not Path(trained.predictions).exists()


def test_an_image_that_was_added_leaves_the_rest(trained):
    finish(trained)
    assert left_of(replace(trained, cases={**trained.cases, "new": 5})).command[-1] == "--continue_prediction"


def test_somebody_elses_folder_is_left_alone(trained):
    predict(trained, ["theirs"])
    with pytest.raises(FileError, match="new or empty"):
        left_of(trained)


# ---- results ----------------------------------------------------------------------------------------------------------


def test_a_result_is_made_where_it_is_missing_or_older(tmp_path):
    result, source = tmp_path / "result", tmp_path / "source"
    source.touch()
    assert result_left(["make"], str(result), iter([str(source)])).command == ["make"]
    result.touch()
    assert result_left(["make"], str(result), iter([str(source)])) is None
    os.utime(result, (1, 1))
    assert result_left(["make"], str(result), iter([str(source)])) is not None
