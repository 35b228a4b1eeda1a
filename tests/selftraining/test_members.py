"""Members of an ensemble: found in results folders, and refused where they do not fit the source."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import torch
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnuda.datasets import Domain
from nnuda.results import ResultsError
from nnuda.selftraining.members import MemberError, find_members
from nnuda.selftraining.predict import predictions_folder

LABELS = {"background": 0, "a": 1}
SOURCE = Domain(
    "Dataset501_S",
    "",
    {
        "channel_names": {"0": "MR"},
        "labels": LABELS,
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "SimpleITKIO",
    },
    {"x": ["x_0000.nii.gz"]},
)


def plans(reader: str) -> dict:
    return {
        "dataset_name": SOURCE.name,
        "plans_name": "nnUNetPlans",
        "image_reader_writer": reader,
        "configurations": {"2d": {}},
    }


@pytest.fixture(autouse=True)
def no_image_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nnuda.datasets.check_whole", lambda file: None)


class RunsCode:
    def __reduce__(self):
        return print, ("code of a checkpoint",)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    for fold in ("fold_0", "fold_all"):
        (folder / fold).mkdir(parents=True)
        for name in ("checkpoint_final.pth", "checkpoint_best.pth"):
            torch.save({"network_weights": {}, "of": f"{fold}/{name}"}, folder / fold / name)
    write(folder, labels={**LABELS, "ignore": 2})
    (folder / "plans.json").write_text(json.dumps(plans("SimpleITKIO")))
    return folder


def write(folder: Path, **changes) -> None:
    (folder / "dataset.json").write_text(json.dumps({**SOURCE.dataset_json, **changes}))


def names(members: list) -> list[str]:
    return [f"{member.fold}/{member.checkpoint}" for member in members]


def test_folds_and_checkpoints(model: Path) -> None:
    members = find_members([str(model)], None, ["checkpoint_final.pth"], SOURCE, SimpleITKIO)
    assert names(members) == ["0/checkpoint_final.pth", "all/checkpoint_final.pth"]
    file = model / "fold_all" / "checkpoint_final.pth"
    assert members[1].sha256 == hashlib.sha256(file.read_bytes()).hexdigest()
    both = find_members(
        [str(model), f"{model}/"], ["all"], ["checkpoint_final.pth", "checkpoint_best.pth"], SOURCE, SimpleITKIO
    )
    assert names(both) == ["all/checkpoint_final.pth", "all/checkpoint_best.pth"]
    with pytest.raises(ResultsError, match="expected fold 3"):
        find_members([str(model)], ["3"], ["checkpoint_final.pth"], SOURCE, SimpleITKIO)
    with pytest.raises(ResultsError, match="expected checkpoint_latest.pth"):
        find_members([str(model)], None, ["checkpoint_latest.pth"], SOURCE, SimpleITKIO)
    with pytest.raises(MemberError, match="with fold_x in it"):
        find_members([str(model.parent)], None, ["checkpoint_final.pth"], SOURCE, SimpleITKIO)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"background": 0, "b": 1}}, "expected the labels of the source"),
        ({"regions_class_order": [1]}, "expected the labels of the source"),
        ({"channel_names": {"0": "MR", "1": "MR"}}, "expected the number of channels"),
        ({"file_ending": ".nrrd"}, "expected the file ending"),
    ],
)
def test_a_model_of_something_else(model: Path, changes: dict, message: str) -> None:
    write(model, **changes)
    with pytest.raises(MemberError, match=message):
        find_members([str(model)], None, ["checkpoint_final.pth"], SOURCE, SimpleITKIO)


def test_another_reader(model: Path) -> None:
    (model / "plans.json").write_text(json.dumps(plans("NibabelIOWithReorient")))
    with pytest.raises(MemberError, match="reads images with NibabelIOWithReorient"):
        find_members([str(model)], None, ["checkpoint_final.pth"], SOURCE, SimpleITKIO)


def test_a_checkpoint_that_runs_code_is_refused(model: Path, capsys: pytest.CaptureFixture) -> None:
    torch.save({"network_weights": RunsCode()}, model / "fold_0" / "checkpoint_final.pth")
    with pytest.raises(ResultsError, match="other Python objects"):
        find_members([str(model)], ["0"], ["checkpoint_final.pth"], SOURCE, SimpleITKIO)
    assert "code of a checkpoint" not in capsys.readouterr().out


def test_predictions_are_those_of_the_same_members(model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    first, second = find_members([str(model)], None, ["checkpoint_final.pth"], SOURCE, SimpleITKIO)
    folder = predictions_folder(SOURCE, [first, second], True, 0.5)
    assert folder == predictions_folder(SOURCE, [second, first], True, 0.5)
    others = [([first], True, 0.5), ([first, second], False, 0.5), ([first, second], True, 0.25)]
    assert len({folder, *(predictions_folder(SOURCE, *other) for other in others)}) == 4
