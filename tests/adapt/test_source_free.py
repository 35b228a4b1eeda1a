"""Adaptation without source images: a trained model's predictions on the target take their place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from toy import TARGET, Toy, run

from nnuda.cli import adapt, pseudo_label
from nnuda.errors import AdaptError
from nnuda.evaluation.quality import Model, doubts_of

WORDS = ["-d", "603", "-t", "502", "-c", "2d", "--source-free", "--device", "cpu"]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__2d"
    (folder / "fold_2").mkdir(parents=True)
    (folder / "fold_2" / "checkpoint_final.pth").touch()
    return folder


@pytest.mark.parametrize("named", ["", "fold_2", "fold_2/checkpoint_final.pth"])
def test_the_model_labels_the_target(model: Path, named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(pseudo_label, "main", called.append)
    args = adapt.build_parser().parse_args([*WORDS, "--from", str(model / named)])
    args.f = "all"
    words = adapt.label_with_model(args)
    assert words[0] == "nnUDA_pseudo_label" and called == [words[1:]]
    parsed = pseudo_label.build_parser().parse_args(words[1:])
    assert parsed.source_free and parsed.m == [str(model)] and parsed.f == ["2"] and parsed.o == "603"
    assert parsed.t == "502" and parsed.device == "cpu" and parsed.chk == ["checkpoint_final.pth"]


def test_a_model_is_needed() -> None:
    with pytest.raises(AdaptError, match="expected a trained model with --from"):
        adapt.label_with_model(adapt.build_parser().parse_args(WORDS))


def test_an_estimate_calibrated_on_itself_is_doubted() -> None:
    source_free = Model({"pseudo_labels_only": True}, {})
    assert doubts_of(Model({}, {}), False) == [] and len(doubts_of(source_free, True)) == 2
    assert "how far the two agree, not how far they are right" in doubts_of(source_free, False)[0]
    assert "sure of the errors in them" in doubts_of(Model({"pseudo_labels": "target_"}, {}), False)[0]


@pytest.mark.slow
def test_from_a_model_alone_to_a_training(toy: Toy) -> None:
    model = toy.trained("nnUDATrainerSourceOnly", "2d_toy", "nnUNetPlans")
    labelling = ["nnUDA_pseudo_label", "--source-free", "-t", "502", "-m", str(model), "-o", "603", "-device", "cpu"]
    run([*labelling, "-np", "1", "--disable_tta", "--confidence", "0"], toy.environment)
    name = f"Dataset603_ToySource_pseudo_{TARGET[11:]}"
    settings = ["num_iterations_per_epoch=1", "num_val_iterations_per_epoch=1"]
    planning = ["nnUDA_plan_and_preprocess", "-d", "603", "-t", "502", "-c", "2d_toy", "-p", "nnUNetPlans", "-np", "1"]
    settings += [f"init_from={model / 'fold_all'}", "num_epochs=1"]
    planning += [word for setting in settings for word in ("--set", f"training.{setting}")]
    assert "byte for byte" not in run(planning, {**toy.environment, "nnUNet_n_proc_DA": "1"})
    run(["nnUNetv2_train", "603", "2d_toy", "all", "-tr", "nnUDATrainerAdapt", "-device", "cpu"], toy.environment)
    plans = json.loads((toy.preprocessed.parent / name / "nnUNetPlans.json").read_text())
    assert plans["dataset_name"] == name and plans["domain_adaptation"]["target"]["name"] == TARGET
    folder = toy.results.parent / name / "nnUDATrainerAdapt__nnUNetPlans__2d_toy" / "fold_all"
    trained, started = (
        torch.load(path / "checkpoint_final.pth", weights_only=False)["network_weights"]
        for path in (folder, model / "fold_all")
    )
    moved = max((trained[key].float() - started[key].float()).abs().max() for key in started)
    assert trained.keys() == started.keys() and moved < 0.1  # a step away from the model, not from random weights
