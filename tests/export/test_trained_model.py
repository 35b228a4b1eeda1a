from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from nnuda.errors import NnudaError
from nnuda.export.trained_model import ExportError, TrainedModel, find_model

NAME = "nnUDATrainerSourceOnly"


def find(**options) -> TrainedModel:
    given = {
        "dataset": "501",
        "trainer": NAME,
        "plans_name": "exported",
        "configuration": "2d_toy",
        "folds": ["all"],
        "checkpoint": "checkpoint_final.pth",
    }
    return find_model(**{**given, **options})


def link_folder(trained: Path, name: str) -> Path:
    """A results folder beside the trained one, with the same files."""
    folder = trained.parent / name
    folder.mkdir()
    for entry in trained.iterdir():
        (folder / entry.name).symlink_to(entry)
    return folder


def test_the_model_that_the_options_name(toy_environment, trained):
    model = find(folds=["0", "1", "0"])
    assert Path(model.folder) == trained and model.folds == ("0", "1")
    assert model.plain_folder_name == "nnUNetTrainer__exported_SourceOnly_toDataset502_ToyTarget__2d_toy"


@pytest.mark.parametrize(
    "options, message",
    [
        (
            {"trainer": "nnUDATrainerNone"},
            "No trained model nnUDATrainerNone__exported__2d_toy .*nnUDATrainerSourceOnly__exported__2d_toy",
        ),
        ({"dataset": "999"}, "No dataset 999"),
        ({"dataset": "Dataset999_None"}, "there are: none"),
        ({"folds": ["all", "3"]}, "expected fold 3 .*fold_0, fold_1, fold_all"),
        ({"checkpoint": "checkpoint_x.pth"}, "expected checkpoint_x.pth .*checkpoint_best.pth, checkpoint_final.pth"),
    ],
)
def test_what_is_missing_is_named(toy_environment, trained, options, message):
    with pytest.raises(NnudaError, match=message):
        find(**options)


def test_a_plain_nnunet_on_the_extended_plan_is_refused(toy_environment, trained):
    """Its plans.json has the key too, but normalises as the source needs it."""
    folder = link_folder(trained, "nnUNetTrainer__exported__2d_toy")
    (folder / "plans_source.json").unlink()
    try:
        with pytest.raises(ExportError, match="not trained by a trainer of nnuda"):
            find(trainer="nnUNetTrainer")
    finally:
        shutil.rmtree(folder)


def test_a_target_whose_name_leads_elsewhere_is_refused(toy_environment, trained):
    folder = link_folder(trained, "nnUDATrainerSourceOnly__leads__2d_toy")
    plans = json.loads((folder / "plans.json").read_text())
    plans["domain_adaptation"]["target"]["name"] = "../../elsewhere"
    (folder / "plans.json").unlink()
    (folder / "plans.json").write_text(json.dumps(plans))
    try:
        with pytest.raises(NnudaError, match="plans.json, domain_adaptation.target.name: expected letters"):
            find(plans_name="leads")
    finally:
        shutil.rmtree(folder)


def test_the_sources_normalisation_is_refused(toy_environment, trained):
    folder = link_folder(trained, "nnUDATrainerSourceOnly__swapped__2d_toy")
    (folder / "plans.json").unlink()
    shutil.copy(trained / "plans_source.json", folder / "plans.json")
    try:
        with pytest.raises(ExportError, match="does not normalise as the target Dataset502_ToyTarget"):
            find(plans_name="swapped")
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "plans_name, trainer, target, expected",
    [
        ("nnUNetPlans", "nnUDATrainerTCSA", "Dataset502_My__MR", "nnUNetPlans_TCSA_toDataset502_My_MR"),
        ("nnUNetPlans_", "MyTrainer", "NewScanner_", "nnUNetPlans_MyTrainer_toNewScanner"),
    ],
)
def test_nnunet_can_take_the_name_apart(plans_name, trainer, target, expected):
    model = TrainedModel("", "", trainer, "2d", (), "", {"plans_name": plans_name}, {}, target)
    assert model.plain_plans_name == expected
    assert model.plain_folder_name.split("__") == ["nnUNetTrainer", expected, "2d"]
