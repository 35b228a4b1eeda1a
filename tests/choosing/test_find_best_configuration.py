"""The whole command on networks with random weights: what is predicted, estimated, said and kept."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from made_models import SOURCE, TARGET, Made
from nnunetv2.ensembling.ensemble import entry_point_ensemble_folders
from nnunetv2.inference.predict_from_raw_data import predict_entry_point

from nnuda.cli.estimate import main as estimate
from nnuda.cli.find_best_configuration import main
from nnuda.evaluation.quality import estimate_folder
from nnuda.predictor import load_predictor

STRONG = {"target": {"name": TARGET}, "effective_settings": {"training.augmentation": "strong"}}
FINAL, SELECTED = "checkpoint_final.pth", "checkpoint_selected.pth"


def find(made: Made, *more: str) -> dict:
    main(made.words(*more))
    return json.loads((made.root / "out" / "inference_information.json").read_text())


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


@pytest.fixture
def two(made: Made) -> Made:
    """Two models: one with two folds, and a selected epoch in one of them; one of all cases."""
    made.model("nnUNetPlans", {"0": {FINAL: 2, SELECTED: 1}, "1": {FINAL: 2, SELECTED: 2}})
    made.model("otherPlans", {"all": {FINAL: 2}}, seed=1)
    return made


def dice_by_hand(prediction: np.ndarray, truth: np.ndarray) -> list[float]:
    """Voxel by voxel."""
    found = []
    for value in (1, 2):
        pairs = [(bool(a == value), bool(b == value)) for a, b in zip(prediction.ravel(), truth.ravel())]
        sizes = sum(a for a, _ in pairs) + sum(b for _, b in pairs)
        found.append(2 * sum(a and b for a, b in pairs) / sizes if sizes else float("nan"))
    return found


@pytest.mark.slow
def test_an_estimate_is_calibrated_on_shifted_images_of_the_checkpoint(made: Made, capsys: pytest.CaptureFixture):
    """nnUDA_estimate on a fold that has seen none of these cases, and again, which finds them there."""
    fold = made.model(domain_adaptation=STRONG) / "fold_0"
    target = made.root / "raw" / "Dataset502_ToyTarget" / "imagesTr"
    for images, folder in (
        (made.root / "raw" / SOURCE / "imagesTr", fold / "validation"),
        (target, made.root / "told"),
    ):
        folder.mkdir()
        predictor = load_predictor(str(fold.parent), [0], FINAL, torch.device("cpu"), mirroring=False)
        predictor.predict_from_files_sequential(str(images), str(folder), save_probabilities=True)
    words = [str(fold), "--predictions", str(made.root / "told"), "-device", "cpu"]
    words += ["--source-labels", str(made.root / "raw" / SOURCE / "labelsTr")]

    def content() -> dict:
        estimate(words)
        return json.loads((made.root / "told" / "nnuda_estimate.json").read_text())

    first = content()
    assert first["calibration"]["shifted"] and first["calibration"]["cases"] == ["c0", "c1", "c2", "c3"]
    assert "0 of 4 cases are there" in capsys.readouterr().out
    there = {
        file.name: file.stat().st_mtime_ns for file in (fold / "source_shifted").iterdir() if file.suffix == ".npz"
    }
    assert len(there) == 4 and content() == first and "4 of 4 cases are there" in capsys.readouterr().out
    words.append("--no-shift")
    assert content()["calibration"]["temperature"] != first["calibration"]["temperature"]
    with pytest.raises(SystemExit, match="checkpoint_nope.pth"):
        estimate([*words[:-1], "-chk", "checkpoint_nope.pth"])


@pytest.mark.slow
def test_the_instructions_lead_to_the_predictions_that_were_estimated(
    two: Made, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = find(two, "--labels", str(two.labels))
    printed = capsys.readouterr().out
    assert all(len(line) <= 80 for line in printed.split("Expected Dice on")[1].split("*Best*")[0].splitlines())
    # fold 0 and 1 alone and together, fold 0 at its selected epoch, both folds at theirs; the other model; a pair
    first = "nnUNetTrainer__nnUNetPlans__2d__fold_"
    other = "nnUNetTrainer__otherPlans__2d__fold_all__final"
    singles = {f"{first}{rest}" for rest in ("0__final", "1__final", "0_1__final", "0__selected", "0_1__selected")}
    pairs = set(content["all_results"]) - singles - {other}
    assert singles | {other} < set(content["all_results"]) and len(pairs) == 1
    values = [-1 if value is None else value for value in content["all_results"].values()]
    assert values == sorted(values, reverse=True)

    # nnU-Net's own commands, as they stand there, give the predictions that were kept, and their true Dice
    text = (two.root / "out" / "inference_instructions.txt").read_text()
    lines = [shlex.split(line) for line in text.splitlines() if line.startswith("nnUNetv2_")]
    assert len(lines) >= 3 and lines[-1][0] == "nnUNetv2_ensemble"  # with these weights an ensemble is the best
    names = {"INPUT_FOLDER": str(two.root / "raw" / "Dataset502_ToyTarget" / "imagesTr")}
    for words in lines:
        words = [names.get(word, str(two.root / word) if word.startswith("OUTPUT") else word) for word in words]
        more = ["-device", "cpu", "-npp", "0", "-nps", "0"] if words[0] == "nnUNetv2_predict" else ["-np", "1"]
        monkeypatch.setattr("sys.argv", [*words, *more])
        predict_entry_point() if words[0] == "nnUNetv2_predict" else entry_point_ensemble_folders()
    table = []
    for case in ("c0", "c1", "c2"):
        mine = read(two.root / "out" / "predictions" / f"{case}.nii.gz")
        assert (mine == read(two.root / "OUTPUT_FOLDER" / f"{case}.nii.gz")).all()
        table.append(dice_by_hand(mine, read(two.labels / f"{case}.nii.gz")))
    best = content["best_model_or_ensemble"]["name"]
    assert content["true_dice"][best] == pytest.approx(np.nanmean(np.nanmean(table, 0)))
    truth = content["true_dice"]
    assert content["judged"]["regret"] == pytest.approx(max(truth.values()) - truth[best])
    assert (two.root / "out" / "predictions" / "nnuda_estimate.json").is_file()


@pytest.mark.slow
def test_labels_choose_nothing(two: Made) -> None:
    without = find(two)
    assert "oracle" not in without and "true_dice" not in without
    with_labels = find(two, "--labels", str(two.labels))
    assert with_labels["oracle"] is True
    assert all(with_labels[key] == value for key, value in without.items())


@pytest.mark.slow
def test_what_is_there_and_fresh_is_used_again(two: Made, capsys: pytest.CaptureFixture) -> None:
    before = find(two)
    times = {file: file.stat().st_mtime_ns for file in (two.root / "out").rglob("*.npz")}
    (gone,) = (two.root / "out" / "members").glob("*otherPlans*/target/c1.nii.gz")
    gone.unlink()  # as of a command that was killed
    capsys.readouterr()
    assert find(two)["all_results"] == before["all_results"]
    assert "otherPlans__2d/fold_all/checkpoint_final.pth, target: 2 of 3 cases" in capsys.readouterr().out
    changed = {file.parent.parent.name for file, time in times.items() if file.stat().st_mtime_ns != time}
    assert changed <= {"nnUNetTrainer__otherPlans__2d__fold_all__final", "out"}
    # another network under the same name
    model = two.results / "nnUNetTrainer__otherPlans__2d" / "fold_all" / FINAL
    model.unlink()
    model.parent.rmdir()
    two.results.joinpath("nnUNetTrainer__otherPlans__2d").rename(two.root / "aside")
    two.model("otherPlans", {"all": {FINAL: 2}}, seed=5)
    after = find(two)
    name = "nnUNetTrainer__otherPlans__2d__fold_all__final"
    assert after["all_results"][name] != before["all_results"][name]


@pytest.mark.parametrize(
    ("plans", "splits", "said"),
    [("otherPlans", True, True), ("nnUNetPlans", True, False), ("nnUNetPlans", False, True)],
)
def test_what_calibrates_on_cases_that_it_learnt_is_never_plausible(two, monkeypatch, plans, splits, said) -> None:
    """Fold all, and a fold of which nothing tells what it did not learn. As nnUDA_estimate has it."""
    found, folds = [], [{"train": ["c1", "c2", "c3"], "val": ["c0"]}] * 5
    folder = two.root / "preprocessed" / SOURCE
    folder.mkdir(parents=True)
    if splits:
        (folder / "splits_final.json").write_text(json.dumps(folds))

    def estimated(*arguments, doubts, **more) -> dict:
        found.append(doubts)
        return estimate_folder(*arguments, doubts=doubts, **more)

    monkeypatch.setattr("nnuda.choosing.estimates.estimate_folder", estimated)
    find(two, "-p", plans)
    assert found and all(
        any("calibrated on cases that it was trained on" in doubt for doubt in doubts) == said for doubts in found
    )


def test_fold_all_is_said_to_be_too_high(two: Made) -> None:
    content = find(two, "-p", "otherPlans")
    assert "Trained on the labelled cases that calibrate its estimate" in " ".join(content["remarks"])
    assert "nothing was chosen" in content["remarks"][0]


# ---- before any work --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["-tr", "nnUDATrainerAdapt"], "-tr: expected a trainer .* got nnUDATrainerAdapt. There are: nnUNetTrainer"),
        (
            ["-p", "nnUNetPlans", "elsewhere"],
            "-p: expected a plan .* got elsewhere. There are: nnUNetPlans, otherPlans",
        ),
        (["-f", "0"], "expected fold 0 in .*otherPlans__2d.* there are: fold_all"),
        (["-p", "nnUNetPlans", "-f", "0", "4"], "expected fold 4 in .* there are: fold_0, fold_1"),
        (["--chk", "checkpoint_best.pth"], "with checkpoint_best.pth; there is none"),
        (["--labels", "nowhere"], "--labels: expected a folder; nowhere is not there"),
        (["-i", "nowhere"], "-i: expected a folder; nowhere is not there"),
    ],
)
def test_bad_input_is_one_error_before_any_work(two: Made, more: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=f"(?s){message}"):
        find(two, *more)
    assert not (two.root / "out" / "members").exists()


def test_other_classes_are_refused(two: Made) -> None:
    folder = two.model("elsePlans")
    content = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps({**content, "labels": {"background": 0, "liver": 1}}))
    with pytest.raises(SystemExit, match=f"(?s)elsePlans__2d: expected the labels of the source {SOURCE}"):
        find(two)


def test_no_model_and_no_target(made: Made) -> None:
    with pytest.raises(SystemExit, match="Expected trained models"):
        find(made)
    with pytest.raises(SystemExit, match="No dataset 777"):
        main(["-d", "501", "-t", "777"])


def test_somebody_elses_folder_stays(two: Made) -> None:
    (two.root / "out").mkdir()
    (two.root / "out" / "mine.txt").write_text("mine")
    with pytest.raises(SystemExit, match="out holds mine.txt"):
        find(two)
    assert [file.name for file in (two.root / "out").iterdir()] == ["mine.txt"]


@pytest.mark.slow
def test_what_cannot_label_the_target_is_left_out_and_named(two: Made) -> None:
    two.model("thirdPlans", domain_adaptation={"target": {"name": "Dataset503_Another"}})
    two.model("nnUNetPlans", configuration="3d_cascade_fullres")
    two.model("lastPlans", {"0": {"checkpoint_latest.pth": 1}})
    content = find(two, "--disable_ensembling")
    remarks = " ".join(content["remarks"])
    for said in ("trained for Dataset503_Another", "second stage of a cascade", "fold 0, without checkpoint_final.pth"):
        assert said in remarks
    assert not [name for name in content["all_results"] if "third" in name or "cascade" in name or "last" in name]
    assert not [name for name in content["all_results"] if name.startswith("ensemble___")]


@pytest.mark.parametrize("strong", [True, False])
def test_all_are_calibrated_alike_on_shifted_images_where_one_learnt_under_strong_augmentation(
    made: Made, monkeypatch: pytest.MonkeyPatch, strong: bool
) -> None:
    made.model("nnUNetPlans")
    made.model("otherPlans", seed=1, **({"domain_adaptation": STRONG} if strong else {}))
    monkeypatch.setattr("nnuda.choosing.predictions.is_of_nnuda", lambda folder: False)
    find(made, "--disable_ensembling")
    estimates = [json.loads(file.read_text()) for file in (made.root / "out" / "estimates").iterdir()]
    assert [one["calibration"]["shifted"] for one in estimates] == [strong, strong]
    assert all(any("as they are" in note for note in one["notes"]) != strong for one in estimates)
