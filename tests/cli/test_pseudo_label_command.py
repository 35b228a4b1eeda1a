"""nnUDA_pseudo_label as a user runs it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity
from toy import SOURCE, TARGET, run, write_dataset
from whole_plan import whole_plan

from nnuda.cli import pseudo_label
from nnuda.datasets import load_dataset
from nnuda.selftraining import predict
from nnuda.selftraining.keeping import Vote
from nnuda.selftraining.members import Member

NAME = "Dataset651_ToySource_pseudo_ToyTarget"
OPTIONS = ["-d", "501", "-t", "502", "-m", "model", "-o", "651", "-device", "cpu", "-np", "1"]


def labels_of(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two domains, and a model that predicts the truth: sure of it, but not in the upper half of the rows, and with a
    second piece of class 1 in case0. Returns the folder of the hidden truth."""
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    write_dataset(tmp_path / "raw" / SOURCE, labelled=True, inverted=False, cases=5)
    write_dataset(tmp_path / "raw" / TARGET, labelled=True, inverted=True, cases=5)
    truth = tmp_path / "truth"
    shutil.move(tmp_path / "raw" / TARGET / "labelsTr", truth)

    def predict_case(_, __, files: list[str]) -> Vote:
        label = labels_of(truth / Path(files[0]).name.replace("_0000", ""))
        if "case0" in files[0]:
            label[10, 38:, 1:3] = 1
        confidence = np.ones(label.shape, np.float16)
        confidence[:, 20:36] = 0.5
        return Vote(label, confidence, np.ones_like(label), 1)

    monkeypatch.setattr(predict, "_predict_case", predict_case)
    monkeypatch.setattr(predict, "predictor_of", lambda *_: None)
    member = Member(str(tmp_path / "model"), "0", "checkpoint_final.pth", "0" * 64)
    monkeypatch.setattr("nnuda.selftraining.members.find_members", lambda *_: [member])
    return truth


@pytest.mark.slow
def test_the_dataset_is_nnunet_s(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    pseudo_label.main(OPTIONS)
    printed = capsys.readouterr().out
    folder = tmp_path / "raw" / NAME
    verify_dataset_integrity(str(folder), 1)
    loaded = load_dataset("651")
    assert len(loaded.images) == 10 and loaded.dataset_json["labels"]["ignore"] == 3
    assert (folder / "imagesTr" / "target_case0_0000.nii.gz").is_symlink()
    source_label = tmp_path / "raw" / SOURCE / "labelsTr" / "case1.nii.gz"
    assert (folder / "labelsTr" / "case1.nii.gz").read_bytes() == source_label.read_bytes()
    for case in range(5):
        expected = labels_of(made / f"case{case}.nii.gz")
        expected[:, 20:36] = 3
        if case == 0:
            expected[10, 38:, 1:3] = 3
        assert (labels_of(folder / "labelsTr" / f"target_case{case}.nii.gz") == expected).all()
    provenance = json.loads((folder / "provenance.json").read_text())
    assert provenance["classes"]["left box"]["in_one_piece"] and not provenance["left_out"]
    assert provenance["request"]["members"][0]["sha256"] == "0" * 64
    counts = provenance["per_class"]["left box"]
    assert counts["voxel"] - counts["component"] == 4 and counts["share_kept"] == counts["kept"] / counts["predicted"]
    assert "nnUNetv2_plan_and_preprocess -d 651" in printed and "left box" in printed
    assert [path.name for path in (tmp_path / "raw").iterdir() if "pseudo_label" in path.name] == []


def test_without_source_images(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """The target's cases alone, no rule on size or shape, and the model's plan under the dataset's name."""
    model = tmp_path / "model"
    model.mkdir()
    shutil.copy(tmp_path / "raw" / SOURCE / "dataset.json", model)
    plans = {**whole_plan(SOURCE, "deployed"), "domain_adaptation": {"of": "another target"}}
    (model / "plans.json").write_text(json.dumps(plans))
    shutil.rmtree(tmp_path / "raw" / SOURCE)
    words = ["--source-free", *OPTIONS[2:5], str(model), *OPTIONS[6:]]
    pseudo_label.main(words)
    loaded = load_dataset("651", labelled=True)
    assert sorted(loaded.images) == [f"target_case{case}" for case in range(5)]
    assert loaded.dataset_json["pseudo_labels_only"] and loaded.dataset_json["labels"]["ignore"] == 3
    expected = labels_of(made / "case0.nii.gz")
    expected[10, 38:, 1:3] = 1  # a second piece: that the class is in one piece is known from labels alone
    expected[:, 20:36] = 3
    assert (labels_of(tmp_path / "raw" / NAME / "labelsTr" / "target_case0.nii.gz") == expected).all()
    moved = json.loads((tmp_path / "preprocessed" / NAME / "deployed.json").read_text())
    del plans["domain_adaptation"]
    assert moved == {**plans, "dataset_name": NAME, "nnuda_model": SOURCE}
    assert f"nnUDA_adapt -d 651 -t 502 -f all -c CONFIGURATION --from {model}" in capsys.readouterr().out
    pseudo_label.main(words)  # again: nothing is replaced
    with pytest.raises(SystemExit, match="Expected the labelled source with -d, or --source-free"):
        pseudo_label.main(words[1:])


def test_it_goes_on_and_never_mixes(made: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    real, calls = predict._predict_case, []

    def killed(predictors, reader, files):
        calls.append(files)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return real(predictors, reader, files)

    monkeypatch.setattr(predict, "_predict_case", killed)
    with pytest.raises(SystemExit):
        pseudo_label.main(OPTIONS)
    assert not (tmp_path / "raw" / NAME).exists()
    pseudo_label.main(OPTIONS)
    assert "Predictions: 3 of 5 are there" in capsys.readouterr().out and len(calls) == 4 + 2
    pseudo_label.main(OPTIONS)
    assert "is there, made from the same" in capsys.readouterr().out and len(calls) == 6
    with pytest.raises(SystemExit, match="made with other options.*free number"):
        pseudo_label.main([*OPTIONS, "--confidence", "0.4"])
    pseudo_label.main([*OPTIONS[:7], "602", *OPTIONS[8:], "--confidence", "0.4"])
    assert "Predictions: 5 of 5 are there" in capsys.readouterr().out and len(calls) == 6


def test_nothing_is_written_where_nothing_is_kept(made: Path, tmp_path: Path, monkeypatch) -> None:
    certain = predict._predict_case

    def unsure(*arguments) -> Vote:
        said = certain(*arguments)
        return Vote(said.label, np.full_like(said.confidence, 0.5), said.agreeing, 1)

    monkeypatch.setattr(predict, "_predict_case", unsure)
    with pytest.raises(SystemExit, match="all 5 are left out .nothing of any class is kept"):
        pseudo_label.main(OPTIONS)
    assert sorted(path.name for path in (tmp_path / "raw").iterdir()) == [SOURCE, TARGET]
    pseudo_label.main([*OPTIONS, "--keep-share", "0.3"])  # thresholds of the classes' own: 0.5 for all of them
    provenance = json.loads((tmp_path / "raw" / NAME / "provenance.json").read_text())
    assert {said["confidence"] for said in provenance["classes"].values()} == {0.5}


def test_words_of_confidence() -> None:
    assert pseudo_label.parse_confidence(["0.8", "left box=0.5"]) == {None: 0.8, "left box": 0.5}
    assert pseudo_label.parse_confidence(["a=0.5"]) == {None: 0.9, "a": 0.5}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--confidence", "1.5"], "expected a number from 0 to 1"),
        (["--confidence", "kidney=0.5"], "expected one of the classes background, left box, right box"),
        (["-o", "502"], "belongs to Dataset502"),
        (["-device", "cuda"], "No CUDA GPU"),
    ],
)
def test_errors(made: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=message):
        pseudo_label.main([*OPTIONS, *options])


@pytest.mark.slow
def test_a_trained_model_to_a_plain_training(toy_environment) -> None:
    """From two members through stock planning to a step of the stock trainer."""
    toy = toy_environment
    trainers = ("nnUDATrainerAdapt", "nnUDATrainerSourceOnly")
    models = [str(toy.trained(trainer, "2d_toy", "nnUNetPlans")) for trainer in trainers]
    command = ["nnUDA_pseudo_label", "-d", "501", "-t", "502", "-m", *models, "-o", "651", "-device", "cpu", "-np", "1"]
    printed = run(
        [*command, "--disable_tta", "--confidence", "0.3", "--agreement", "0.5", "--size-spread", "0"], toy.environment
    )
    assert "Predictions: 0 of 4 are there" in printed and printed.count("Member: ") == 2
    provenance = json.loads((toy.raw / NAME / "provenance.json").read_text())
    assert [Path(member["folder"]).name for member in provenance["request"]["members"]] == [
        Path(m).name for m in models
    ]
    run(
        [
            "nnUNetv2_plan_and_preprocess",
            "-d",
            "651",
            "-c",
            "2d",
            "-npfp",
            "1",
            "-np",
            "1",
            "--verify_dataset_integrity",
        ],
        {**toy.environment, "nnUNet_n_proc_DA": "1"},
    )
    one_step = """
import json, sys, torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
folder = sys.argv[1]
plans, dataset = (json.load(open(f"{folder}/{name}")) for name in ("nnUNetPlans.json", "dataset.json"))
trainer = nnUNetTrainer({**plans, "continue_training": False}, "2d", "all", dataset, torch.device("cpu"))
trainer.initialize(); trainer.num_iterations_per_epoch = 1; trainer.num_val_iterations_per_epoch = 1
trainer.num_epochs = 1; trainer.run_training()
assert trainer.label_manager.has_ignore_label
"""
    done = subprocess.run(
        [sys.executable, "-c", one_step, str(toy.preprocessed.parent / NAME)],
        env=toy.environment,
        capture_output=True,
        text=True,
        timeout=500,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert (
        Path(toy.folders["nnUNet_results"])
        / NAME
        / "nnUNetTrainer__nnUNetPlans__2d"
        / "fold_all"
        / "checkpoint_final.pth"
    ).is_file()
