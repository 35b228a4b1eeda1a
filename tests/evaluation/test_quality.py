"""The estimate of folders: where labels are drawn from the probabilities, it is the true Dice."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy.ndimage import gaussian_filter

from nnuda.cli.estimate import main
from nnuda.evaluation.estimate import DO_NOT_USE, PLAUSIBLE
from nnuda.evaluation.quality import Model, calibrate, doubts_of, estimate_folder, held_out, without_nan
from nnuda.evaluation.reading import EvaluationError

CLASSES = {"background": 0, "one": 1, "two": 2}
SHAPE = (6, 32, 32)


def write(array: np.ndarray, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    picture = sitk.GetImageFromArray(array.astype(np.uint8))
    picture.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(picture, str(file))


def probabilities(rng: np.random.Generator, sharp: float, vanished: bool) -> np.ndarray:
    """(3, *SHAPE) of two smooth blobs."""
    z, y, x = np.mgrid[: SHAPE[0], : SHAPE[1], : SHAPE[2]]
    noise = gaussian_filter(rng.normal(size=(3, *SHAPE)), (0, 1, 2, 2)) * 8
    logits = np.stack([np.zeros(SHAPE), 6 - np.hypot(y - 10, x - 10), 6 - np.hypot(y - 20, x - 22)]) + noise
    logits[2] -= 100 * vanished
    p = np.exp(sharp * (logits - logits.max(0)))
    return p / p.sum(0)


def predict(root: Path, name: str, seed: int, confident: float = 1.0, vanished: bool = False, cases: int = 6) -> None:
    """Predictions of `confident` times too large logits, and labels drawn from the right ones."""
    rng = np.random.default_rng(seed)
    for i in range(cases):
        p = probabilities(rng, 1.0, False)
        label = (rng.random(SHAPE) > np.cumsum(p, 0)[:-1]).sum(0)
        told = p**confident * (np.arange(3) != 2 if vanished else np.ones(3)).reshape(3, 1, 1, 1)
        told = (told / told.sum(0)).astype(np.float32)
        write(told.argmax(0), root / name / f"c{i}.nii.gz")
        np.savez_compressed(root / name / f"c{i}.npz", probabilities=told)
        write(label, root / f"{name}_labels" / f"c{i}.nii.gz")


@pytest.fixture
def model() -> Model:
    return Model({"labels": CLASSES, "file_ending": ".nii.gz"}, {"image_reader_writer": "SimpleITKIO"})


def estimated(root: Path, model: Model) -> dict:
    calibration = calibrate(str(root / "source"), str(root / "source_labels"), model, "")
    return estimate_folder(str(root / "target"), [], model, calibration, str(root / "target_labels"))


@pytest.mark.parametrize("confident", [1.0, 3.0])
def test_it_is_the_true_dice_where_the_calibration_holds(tmp_path, model, confident):
    predict(tmp_path, "source", 0, confident)
    predict(tmp_path, "target", 1, confident)
    result = estimated(tmp_path, model)
    assert result["calibration"]["temperature"] == pytest.approx(confident, rel=0.1)
    measured = result["measured"]
    assert abs(measured["value"]["bias"]) < 0.02 and measured["value"]["mean_absolute_error"] < 0.04
    assert measured["values"] == 12 and result["oracle"]
    for name in ("one", "two"):
        row = result["per_class"][name]
        assert row["low"] <= row["value"] <= row["high"] and row["agreement"] is None


def test_shifted_images_say_what_confidence_is_worth_and_the_others_what_is_there(tmp_path, model):
    predict(tmp_path, "source", 0)
    predict(tmp_path, "shifted", 0, confident=3.0)  # the same cases
    folders = str(tmp_path / "source"), str(tmp_path / "source_labels")
    plain, of_shifted = (
        calibrate(*folders, model, "", shifted=shifted)
        for shifted in (None, {f"c{i}": str(tmp_path / "shifted") for i in range(6)})
    )
    assert not plain.shifted and of_shifted.shifted and of_shifted.cases == plain.cases
    assert plain.temperature == pytest.approx(1, rel=0.1) and of_shifted.temperature == pytest.approx(3, rel=0.1)
    assert of_shifted.thresholds != plain.thresholds and of_shifted.margin != plain.margin
    assert (of_shifted.sizes, of_shifted.dice) == (plain.sizes, plain.dice)


def test_cases_with_pseudo_labels_do_not_calibrate(tmp_path):
    """A self-training round is validated on both kinds: the model agrees with its own labels."""
    predict(tmp_path, "source", 0)
    plans, dataset_json = {"image_reader_writer": "SimpleITKIO"}, {"labels": CLASSES, "file_ending": ".nii.gz"}
    alone = calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), Model(dataset_json, plans), "")
    predict(tmp_path, "more", 1, confident=5.0)
    for folder in ("", "_labels"):
        for file in (tmp_path / f"more{folder}").iterdir():
            file.rename(tmp_path / f"source{folder}" / f"target_{file.name}")
    of_round = Model({**dataset_json, "pseudo_labels": "target_"}, plans)
    assert calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), of_round, "") == alone
    assert of_round.learnt_pseudo_labels and not Model(dataset_json, plans).learnt_pseudo_labels


def test_a_network_that_is_certain_and_wrong_fools_it(tmp_path, model):
    """What the page calls confident collapse, so that nobody believes otherwise."""
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1, confident=10.0)
    measured = estimated(tmp_path, model)["measured"]
    assert measured["value"]["bias"] > 0.05


def test_a_class_that_vanished_is_not_to_be_used(tmp_path, model):
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1, vanished=True)
    result = estimated(tmp_path, model)
    assert result["verdict"] == DO_NOT_USE and result["reasons"][0].startswith("two: missing")
    assert result["per_class"]["two"]["value"] == 0 and result["per_class"]["two"]["impossible_size"] == 1


def test_a_second_prediction_gives_the_agreement(tmp_path, model):
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1)
    calibration = calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), model, "")
    same = str(tmp_path / "target")
    result = estimate_folder(same, [same], model, calibration)
    assert result["per_class"]["one"]["agreement"] == 1.0 and "measured" not in result


def test_an_ensemble_is_the_mean_of_the_probabilities(tmp_path, model):
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1)
    predict(tmp_path, "other", 2)
    calibration = calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), model, "")
    folders = [str(tmp_path / name) for name in ("target", "other")]
    result = estimate_folder(folders[0], folders, model, calibration, among=True, more=folders[1:])
    for i in range(6):  # the same written out as a folder of its own
        p = np.mean([np.load(f"{folder}/c{i}.npz")["probabilities"] for folder in folders], axis=0)
        write(p.argmax(0), tmp_path / "mean" / f"c{i}.nii.gz")
        np.savez(tmp_path / "mean" / f"c{i}.npz", probabilities=p)
    expected = estimate_folder(str(tmp_path / "mean"), [], model, calibration)
    for name in ("one", "two"):
        for column in ("soft_dice", "atc"):
            assert result["per_class"][name][column] == pytest.approx(expected["per_class"][name][column], abs=1e-6)
    # its agreement is that of its members with each other
    between = estimate_folder(folders[0], folders[1:], model, calibration)
    assert result["per_class"]["one"]["agreement"] == between["per_class"]["one"]["agreement"] < 1


def test_missing_probabilities_are_named_with_the_command(tmp_path, model):
    predict(tmp_path, "source", 0)
    (tmp_path / "source" / "c0.npz").unlink()
    with pytest.raises(EvaluationError, match="1 of 6 have none, such as c0. RUN THIS"):
        calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), model, "RUN THIS")


def test_labels_that_do_not_belong_to_the_model_or_the_prediction(tmp_path, model):
    """A calibration, a second prediction and references are all label files of others."""
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1)
    calibration = calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), model, "")
    target, second, labels = (str(tmp_path / name) for name in ("target", "second", "source_labels"))
    shutil.copytree(target, second)
    write(np.zeros((2, 3, 4), np.uint8), tmp_path / "second" / "c1.nii.gz")
    for arguments in (([second], None), ([], second)):
        with pytest.raises(EvaluationError, match="c1.nii.gz: expected [0-9]+ voxels, as the prediction .*; got 24"):
            estimate_folder(target, arguments[0], model, calibration, arguments[1])
    write(np.full(SHAPE, 7, np.uint8), tmp_path / "second" / "c1.nii.gz")
    with pytest.raises(
        EvaluationError, match="Expected the labels .0, 1, 2. .*c1.nii.gz also holds .7.*another dataset"
    ):
        estimate_folder(target, [second], model, calibration)
    write(np.full(SHAPE, 7, np.uint8), tmp_path / "source_labels" / "c1.nii.gz")
    with pytest.raises(EvaluationError, match="c1.nii.gz also holds .7"):
        calibrate(str(tmp_path / "source"), labels, model, "")


@pytest.fixture
def trained(tmp_path, model) -> list[str]:
    """Words of the command for predictions of a training, with labels of the source."""
    folder = tmp_path / "nnUDATrainerAdapt__nnUNetPlans__2d"
    predict(folder / "fold_0", "validation", 0)
    predict(tmp_path, "target", 1)
    (folder / "dataset.json").write_text(json.dumps(model.dataset_json))
    plan = {"dataset_name": "Dataset501_S", "plans_name": "nnUNetPlans", "configurations": {"2d": {}}}
    (folder / "plans.json").write_text(json.dumps({**model.plans, **plan}))
    labels = str(folder / "fold_0" / "validation_labels")
    return [str(folder / "fold_0"), "--predictions", str(tmp_path / "target"), "--source-labels", labels]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--second", "other", "other"], "--second: expected another folder; got .*other, which is there twice"),
        (["--second", "target"], "--second: expected another folder; got .*target, the folder of --predictions itself"),
        (["--second", "nowhere"], "Expected a folder of predictions; .*nowhere does not exist"),
        (["--second", "fewer"], "Expected the same cases in .*fewer; missing: c5"),
        (["--second", "others"], "Expected predictions with the labels of the model: .*others has .*liver"),
        (["-gt", "none"], "Expected labels of predicted cases in .*none, such as c0.nii.gz; it has none"),
        (["-gt", "turned"], "shape: reference .32, 32, 6., prediction .6, 32, 32."),
        (["--no-shift", "-chk", "x.pth"], "Expected one of -chk and --no-shift"),
    ],
)
def test_what_is_wrong_is_said_before_any_work(trained, tmp_path, monkeypatch, words, message):
    for name in ("other", "fewer", "others"):
        shutil.copytree(tmp_path / "target", tmp_path / name)
    (tmp_path / "fewer" / "c5.nii.gz").unlink()
    labels = {"labels": {"background": 0, "liver": 1}, "file_ending": ".nii.gz"}
    (tmp_path / "others" / "dataset.json").write_text(json.dumps(labels))
    (tmp_path / "none").mkdir()
    write(np.zeros((32, 32, 6)), tmp_path / "turned" / "c1.nii.gz")
    monkeypatch.setattr("nnuda.evaluation.quality.calibrate", lambda *_, **__: pytest.fail("after the work"))
    folders = {"other", "target", "nowhere", "fewer", "others", "none", "turned"}
    with pytest.raises(SystemExit, match=message):
        main([*trained, *(str(tmp_path / word) if word in folders else word for word in words)])
    assert not (tmp_path / "target" / "nnuda_estimate.json").exists()


def test_calibration_on_cases_that_were_trained_on_is_said(trained, tmp_path, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path / "preprocessed"))
    splits = tmp_path / "preprocessed" / "Dataset501_S" / "splits_final.json"
    splits.parent.mkdir(parents=True)
    for trained_on in ([], ["c0"]):
        splits.write_text(json.dumps([{"train": ["c9", *trained_on], "val": [f"c{i}" for i in range(6)]}]))
        main(trained)
        reasons = json.loads((tmp_path / "target" / "nnuda_estimate.json").read_text())["reasons"]
        assert any("calibrated on cases that it was trained on" in reason for reason in reasons) is bool(trained_on)


@pytest.mark.parametrize(
    ("source", "target", "doubted"),
    [
        ("T1 MR", "CT", True),
        ("CT", "T2 MR", True),
        ("CT", "ct", False),
        ("bSSFP MR", "LGE MR", False),
        ("CT", None, False),
    ],
)
def test_between_ct_and_another_modality_nothing_is_plausible(tmp_path, source, target, doubted):
    """Measured: on such pairs failures were called good. A plan without a target, as of a round, tells nothing."""
    key = {} if target is None else {"domain_adaptation": {"target": {"channel_names": {"0": target}}}}
    dataset_json = {"labels": CLASSES, "file_ending": ".nii.gz", "channel_names": {"0": source}}
    of_plan = Model(dataset_json, {"image_reader_writer": "SimpleITKIO", **key})
    doubts = doubts_of(of_plan, on_trained_cases=False)
    assert any("one domain is CT and the other is not" in doubt for doubt in doubts) is doubted
    if target is not None:  # as nnUDA_look asks about a model of stock nnU-Net
        plain = Model(dataset_json, {"image_reader_writer": "SimpleITKIO"})
        assert doubts_of(plain, on_trained_cases=False, target_channels={"0": target}) == doubts
    predict(tmp_path, "source", 0)
    predict(tmp_path, "target", 1)
    calibration = calibrate(str(tmp_path / "source"), str(tmp_path / "source_labels"), of_plan, "")
    result = estimate_folder(str(tmp_path / "target"), [], of_plan, calibration, doubts=doubts)
    assert not (doubted and result["verdict"] == PLAUSIBLE)


def test_json_has_no_nan():
    assert without_nan({"a": [math.nan, 1.0], "b": (math.inf,)}) == {"a": [None, 1.0], "b": [None]}


def test_the_command(tmp_path, model, capsys):
    folder = tmp_path / "nnUDATrainerAdapt__nnUNetPlans__2d"
    predict(folder / "fold_0", "validation", 0)
    predict(tmp_path, "target", 1)
    (folder / "dataset.json").write_text(json.dumps(model.dataset_json))
    plan = {"dataset_name": "Dataset501_S", "plans_name": "nnUNetPlans", "configurations": {"2d": {}}}
    strong = {"domain_adaptation": {"effective_settings": {"training.augmentation": "strong"}}}
    (folder / "plans.json").write_text(json.dumps({**model.plans, **plan, **strong}))
    words = [str(folder / "fold_0"), "--predictions", str(tmp_path / "target")]
    main(
        [
            *words,
            "--source-labels",
            str(folder / "fold_0" / "validation_labels"),
            "-gt",
            str(tmp_path / "target_labels"),
        ]
    )
    printed = capsys.readouterr().out
    assert "expected Dice without labels" in printed and "With labels (oracle)" in printed
    result = json.loads((tmp_path / "target" / "nnuda_estimate.json").read_text())
    assert result["reasons"][0] == (
        "it is calibrated on source images as they are, since Dataset501_S is not in nnUNet_raw, so that the estimate is "
        "too high"
    )
    assert len(result["notes"]) == 1 and set(result["per_case"]) == {f"c{i}" for i in range(6)}
    (folder / "fold_0" / "validation" / "c1.npz").unlink()
    with pytest.raises(
        SystemExit, match="nnUNetv2_train Dataset501_S 2d 0 -tr nnUDATrainerAdapt -p nnUNetPlans --val --npz"
    ):
        main([*words, "--source-labels", str(folder / "fold_0" / "validation_labels")])


@pytest.mark.parametrize(
    ("fold", "validated", "expected"),
    [
        ("1", ["c7"], {"c7"}),
        ("1", [], {"c2", "c3"}),  # stopped before its validation: nnU-Net's fold tells
        ("9", [], set()),
        ("all", ["c7"], set()),  # its validation is of cases that it learnt
        ("2", ["c4", "c5"], {"c5"}),  # nnU-Net warns of a fold that trains on what it is validated on, and goes on
    ],
)
def test_cases_that_a_training_did_not_learn(fold, validated, expected, tmp_path, model, monkeypatch):
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    (tmp_path / "Dataset501_S").mkdir()
    splits = [{"train": ["c2", "c3"], "val": ["c0", "c1"]}, {"train": ["c0", "c1"], "val": ["c2", "c3"]}]
    splits.append({"train": ["c0", "c4"], "val": ["c4", "c5"]})
    (tmp_path / "Dataset501_S" / "splits_final.json").write_text(json.dumps(splits))
    (tmp_path / "dataset.json").write_text(json.dumps(model.dataset_json))
    plan = {"dataset_name": "Dataset501_S", "plans_name": "nnUNetPlans", "configurations": {"2d": {}}}
    (tmp_path / "plans.json").write_text(json.dumps({**model.plans, **plan}))
    for case in validated:
        write(np.zeros(SHAPE), tmp_path / f"fold_{fold}" / "validation" / f"{case}.nii.gz")
    assert held_out(str(tmp_path), fold) == expected
