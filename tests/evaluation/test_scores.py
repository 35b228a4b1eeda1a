"""A folder of predictions against a folder of references."""

from __future__ import annotations

import csv
import gzip
import itertools
import json
import math
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from skimage import io

from nnuda.errors import NnudaError
from nnuda.evaluation.metrics import METRICS, case_metrics
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.scores import evaluate_folder, load_scores, save_scores, save_table

LABELS = {"liver": 1, "spleen": 2}
DATASET_JSON = {"labels": {"background": 0, **LABELS}, "file_ending": ".nii.gz"}


def blob(shape: tuple[int, ...], shift: int = 0) -> np.ndarray:
    """A liver and a spleen, moved along the last axis."""
    labels = np.zeros(shape, np.uint8)
    labels[..., 4:12, 3 + shift : 10 + shift] = 1
    labels[..., 14:18, 6 + shift : 12 + shift] = 2
    return labels


def write_nifti(path: Path, labels: np.ndarray, spacing: tuple[float, ...] = (0.8, 0.9, 3.0), **geometry) -> None:
    """spacing and geometry (origin, direction) in SimpleITK's order x, y, z."""
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing(spacing)
    for name, value in geometry.items():
        getattr(image, f"Set{name.capitalize()}")(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


def write_png(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    io.imsave(path, labels, check_contrast=False)


def evaluate_below(folder: Path, dataset_json: dict) -> dict:
    return evaluate_folder(str(folder / "reference"), str(folder / "prediction"), dataset_json)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Two folders with the cases a (perfect) and b (shifted by one voxel)."""
    for case, shift in (("a", 0), ("b", 1)):
        write_nifti(tmp_path / "reference" / f"{case}.nii.gz", blob((5, 24, 20)))
        write_nifti(tmp_path / "prediction" / f"{case}.nii.gz", blob((5, 24, 20), shift))
    return tmp_path / "reference", tmp_path / "prediction"


def test_scores_are_those_of_the_arrays_in_the_files(folders: tuple[Path, Path]) -> None:
    scores = evaluate_folder(*map(str, folders), DATASET_JSON)
    expected = case_metrics(blob((5, 24, 20)), blob((5, 24, 20), 1), (3.0, 0.9, 0.8), LABELS)
    for name, metric in itertools.product(LABELS, METRICS):
        assert scores["per_case"]["b"][name][metric] == pytest.approx(expected[name][metric], rel=1e-6)
    assert scores["per_class"]["liver"]["Dice"]["mean"] == pytest.approx((1 + expected["liver"]["Dice"]) / 2)
    assert scores["unit"] == "mm" and scores["oracle"] is True and scores["num_cases"] == 2
    assert scores["missing_predictions"] == scores["extra_predictions"] == []
    assert set(scores["definitions"]) >= set(METRICS) and "monai" in scores["versions"]


@pytest.mark.slow
def test_two_processes_give_the_same(folders: tuple[Path, Path]) -> None:
    one = evaluate_folder(*map(str, folders), DATASET_JSON)
    assert evaluate_folder(*map(str, folders), DATASET_JSON, num_processes=2) == one


def test_missing_predictions_are_an_error_unless_allowed(folders: tuple[Path, Path]) -> None:
    (folders[1] / "b.nii.gz").rename(folders[1] / "c.nii.gz")
    with pytest.raises(EvaluationError, match=r"1 are missing in .*: b\..*--missing-ok"):
        evaluate_folder(*map(str, folders), DATASET_JSON)
    scores = evaluate_folder(*map(str, folders), DATASET_JSON, missing_ok=True)
    assert list(scores["per_case"]) == ["a"]
    assert (scores["missing_predictions"], scores["extra_predictions"]) == (["b"], ["c"])


def test_nothing_to_score_is_an_error_even_if_missing_is_allowed(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for prediction, message in (("empty", "Expected predictions that end with .nii.gz"), ("nowhere", "does not exist")):
        with pytest.raises(EvaluationError, match=message):
            evaluate_folder(str(folders[0]), str(tmp_path / prediction), DATASET_JSON, missing_ok=True)
    for file in folders[1].iterdir():
        file.rename(file.with_name(f"other_{file.name}"))
    with pytest.raises(EvaluationError, match="2 are missing"):
        evaluate_folder(*map(str, folders), DATASET_JSON, missing_ok=True)


@pytest.mark.parametrize(
    "what, shape, geometry",
    [
        ("shape", (5, 24, 21), {}),
        ("spacing", (5, 24, 20), {"spacing": (0.8, 0.9, 3.1)}),
        ("origin", (5, 24, 20), {"origin": (0.0, 0.5, 0.0)}),
        ("direction", (5, 24, 20), {"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}),
    ],
)
def test_another_grid_is_an_error_that_names_the_case(
    folders: tuple[Path, Path], what: str, shape: tuple[int, ...], geometry: dict
) -> None:
    write_nifti(folders[1] / "b.nii.gz", blob(shape), **geometry)
    with pytest.raises(EvaluationError, match=f"Case b: .* {what}: reference"):
        evaluate_folder(*map(str, folders), DATASET_JSON)


def test_rounding_of_a_header_is_no_other_grid(folders: tuple[Path, Path]) -> None:
    write_nifti(folders[1] / "b.nii.gz", blob((5, 24, 20)), origin=(1e-5, 0.0, 0.0), spacing=(0.8, 0.9, 3.000001))
    assert evaluate_folder(*map(str, folders), DATASET_JSON)["per_class"]["liver"]["Dice"]["mean"] == 1


def test_the_plans_decide_the_reader(folders: tuple[Path, Path]) -> None:
    for folder in folders:
        affine = nibabel.load(folder / "b.nii.gz").affine
        affine[0, 3] += 5.0 if folder.name == "prediction" else 0.0
        nibabel.save(nibabel.Nifti1Image(blob((20, 24, 5)), affine), folder / "b.nii.gz")
    with pytest.raises(EvaluationError, match="Case b: .* affine: reference"):
        evaluate_folder(*map(str, folders), DATASET_JSON, plans={"image_reader_writer": "NibabelIO"})


def test_labels_that_dataset_json_does_not_name(folders: tuple[Path, Path]) -> None:
    with pytest.raises(EvaluationError, match=r"labels \[0, 1\] .*also holds \[2.0\]. These files are of another"):
        evaluate_folder(*map(str, folders), {**DATASET_JSON, "labels": {"background": 0, "liver": 1}})


def test_regions_and_ignore_label(tmp_path: Path) -> None:
    dataset_json = {
        "labels": {"background": 0, "both": [1, 2], "spleen": 2, "ignore": 3},
        "regions_class_order": [1, 2],
        "file_ending": ".nii.gz",
    }
    reference, prediction = blob((5, 24, 20)), blob((5, 24, 20))
    reference[..., :4], prediction[..., :4], prediction[prediction == 1] = 3, 1, 2
    write_nifti(tmp_path / "reference" / "a.nii.gz", reference)
    write_nifti(tmp_path / "prediction" / "a.nii.gz", prediction)
    scores = evaluate_below(tmp_path, dataset_json)
    assert list(scores["per_class"]) == ["both", "spleen"] and scores["ignore_label"] == 3
    assert scores["per_case"]["a"]["both"]["Dice"] == 1 and scores["per_case"]["a"]["spleen"]["Dice"] < 1


def test_png_is_scored_in_pixels(tmp_path: Path) -> None:
    write_png(tmp_path / "reference" / "a.png", blob((24, 20)))
    write_png(tmp_path / "prediction" / "a.png", blob((24, 20), 1))
    scores = evaluate_below(tmp_path, {**DATASET_JSON, "file_ending": ".png"})
    assert scores["unit"] == "pixels" and scores["per_case"]["a"]["liver"]["HD95"] == 1.0


@pytest.mark.parametrize("spacing_file, unit, hd95", [(True, "mm", 0.5), (False, "pixels", 1.0)])
def test_tif_has_millimetres_where_a_spacing_file_says_so(
    tmp_path: Path, spacing_file: bool, unit: str, hd95: float
) -> None:
    for folder, shift in (("reference", 0), ("prediction", 1)):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "a.tiff", blob((5, 24, 20), shift))
        if spacing_file:
            (tmp_path / folder / "a.json").write_text(json.dumps({"spacing": [3.0, 0.5, 0.5]}))
    scores = evaluate_below(tmp_path, {**DATASET_JSON, "file_ending": ".tiff"})
    assert scores["unit"] == unit and scores["per_case"]["a"]["spleen"]["HD95"] == hd95


def test_a_colour_image_is_no_label_map(tmp_path: Path) -> None:
    for folder in ("reference", "prediction"):
        write_png(tmp_path / folder / "a.png", np.stack([blob((24, 20))] * 3, axis=-1))
    with pytest.raises(EvaluationError, match="one channel"):
        evaluate_below(tmp_path, {**DATASET_JSON, "file_ending": ".png"})


def test_json_is_valid_and_keeps_nan(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_nifti(folders[1] / "b.nii.gz", np.zeros((5, 24, 20), np.uint8))
    scores = evaluate_folder(*map(str, folders), DATASET_JSON)
    path = tmp_path / "deep" / "scores.json"
    save_scores(scores, str(path))
    strict = json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert strict["per_case"]["b"]["liver"]["ASSD"] is None
    loaded = load_scores(str(path))
    assert math.isnan(loaded["per_case"]["b"]["liver"]["ASSD"]) and loaded["ignore_label"] is None
    assert loaded["per_class"]["liver"]["n_empty_prediction"] == 1
    assert [entry.name for entry in path.parent.iterdir()] == ["scores.json"]


def test_preset_and_tolerances_are_written_down(folders: tuple[Path, Path]) -> None:
    scores = evaluate_folder(*map(str, folders), DATASET_JSON, preset="flare", tolerances={"spleen": 0.5})
    assert scores["preset"] == "flare" and scores["shown"] == ("Dice", "NSD")
    assert [scores["rules"][name]["tolerance"] for name in LABELS] == [5, 0.5]
    shifted = scores["per_case"]["b"]
    assert shifted["liver"]["NSD"] == 1 > shifted["spleen"]["NSD"]


def test_table_of_cases(folders: tuple[Path, Path], tmp_path: Path) -> None:
    write_nifti(folders[1] / "b.nii.gz", np.zeros((5, 24, 20), np.uint8))
    scores = evaluate_folder(*map(str, folders), DATASET_JSON)
    save_table(scores, str(tmp_path / "scores.csv"))
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert [(row["case"], row["class"]) for row in rows] == list(itertools.product("ab", LABELS))
    assert float(rows[0]["NSD"]) == 1 and rows[0]["empty"] == "none"
    assert (rows[2]["Dice"], rows[2]["ASSD"], rows[2]["empty"]) == ("0.0", "", "prediction")


def cut(file: Path, share: float) -> None:
    file.write_bytes(file.read_bytes()[: int(share * file.stat().st_size)])


def noisy(shape: tuple[int, ...] = (20, 24, 20)) -> np.ndarray:
    """Labels that gzip cannot make small, so that a cut loses voxels."""
    return np.random.default_rng(0).integers(0, 3, shape).astype(np.uint8)


@pytest.mark.parametrize("side", ["reference", "prediction"])
@pytest.mark.parametrize("damage", ["empty", "no image", "cut", "cut .nii", "nan", "inf", "complex"])
def test_a_damaged_label_file_is_one_error_that_names_it(tmp_path: Path, side: str, damage: str) -> None:
    ending = ".nii" if damage == "cut .nii" else ".nii.gz"
    for folder in ("reference", "prediction"):
        for case in "ab":
            write_nifti(tmp_path / folder / f"{case}{ending}", noisy())
    evaluate_below(tmp_path, {**DATASET_JSON, "file_ending": ending})
    file = tmp_path / side / f"b{ending}"
    if damage in ("nan", "inf"):
        labels = noisy().astype(np.float32)
        labels[0, 0, 0] = float(damage)
        nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), file)
    elif damage == "complex":
        nibabel.save(nibabel.Nifti1Image(noisy().astype(np.complex64), np.eye(4)), file)
    elif damage.startswith("cut"):
        cut(file, 0.75)
    else:
        file.write_bytes(b"" if damage == "empty" else b"no image at all")
    with pytest.raises(EvaluationError, match=f"{side}/b{ending}: expected a label file; .*Copy or write it again"):
        evaluate_below(tmp_path, {**DATASET_JSON, "file_ending": ending})


def test_a_gzip_file_of_several_pieces_is_whole(folders: tuple[Path, Path]) -> None:
    """As bgzip and pigz -i write them: the last four bytes tell of the last piece alone."""
    file = folders[1] / "b.nii.gz"
    content = gzip.decompress(file.read_bytes())
    file.write_bytes(gzip.compress(content[:1000]) + gzip.compress(content[1000:]) + gzip.compress(b""))
    assert evaluate_folder(*map(str, folders), DATASET_JSON)["num_cases"] == 2


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "a": [1, 2], "b": 2}, {"background": 1, "a": 2}, {"background": 0, "a": 1, "ignore": 1}],
)
def test_labels_that_nnunet_does_not_take(folders: tuple[Path, Path], labels: dict) -> None:
    with pytest.raises(EvaluationError, match="dataset.json, labels: expected what nnU-Net takes"):
        evaluate_folder(*map(str, folders), {**DATASET_JSON, "labels": labels})


def test_a_reader_that_is_not_there(folders: tuple[Path, Path]) -> None:
    with pytest.raises(EvaluationError, match="image_reader_writer: .*NoSuchIO"):
        evaluate_folder(*map(str, folders), DATASET_JSON, {"image_reader_writer": "NoSuchIO"})


def _of_a(**values: object):
    """Other values of the liver in case a."""
    return lambda scores: scores["per_case"]["a"]["liver"].update(values)


def _mean(metric: str, mean: float):
    return lambda scores: scores["per_class"]["liver"][metric].update(mean=mean)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda scores: scores.clear(), "is a required property"),
        (_of_a(Dice="x"), "per_case.a.liver.Dice: 'x'"),
        (_of_a(Dice=7), "per_case.a.liver.Dice: 7 is greater than the maximum of 1"),
        (_of_a(NSD=-1), "per_case.a.liver.NSD: -1 is less than the minimum of 0"),
        (_of_a(HD95=-3.5), "per_case.a.liver.HD95: -3.5 is less"),
        (_of_a(n_reference=-4), "per_case.a.liver.n_reference: -4 is less"),
        (_of_a(empty="yes"), "per_case.a.liver.empty: 'yes'"),
        (_of_a(Dice=0.123), "liver, Dice: expected the mean of its cases"),
        (_mean("Dice", 0.123), "liver, Dice: expected the mean of its cases, .*; got 0.123"),
        (_mean("ASSD", None), "liver, ASSD: expected the mean of its cases, .*; got nan"),
        (lambda scores: scores["foreground_mean"].update(Dice=0.5), "foreground, Dice: expected the mean"),
        (lambda scores: scores["per_case"]["a"].pop("liver"), "expected the classes liver, spleen in each case; a has"),
        (lambda scores: scores.update(per_case={}), "per_case"),
        (lambda scores: scores["per_class"].update(liver=5), "per_class.liver"),
        (lambda scores: scores.update(unit=None), "unit"),
    ],
)
def test_scores_of_something_else_are_one_error_that_names_the_file(tmp_path, folders, change, says) -> None:
    file = tmp_path / "scores.json"
    save_scores(evaluate_folder(*map(str, folders), DATASET_JSON), str(file))
    assert load_scores(str(file))["num_cases"] == 2
    scores = json.loads(file.read_text())
    change(scores)
    file.write_text(json.dumps(scores))
    with pytest.raises(NnudaError, match=f"(?s)scores.json: .*{says}"):
        load_scores(str(file))


def test_a_name_that_a_spreadsheet_would_run_is_quoted(folders: tuple[Path, Path], tmp_path: Path) -> None:
    dataset_json = {"labels": {"background": 0, "=1+1": 1, "@x": 2}, "file_ending": ".nii.gz"}
    save_table(evaluate_folder(*map(str, folders), dataset_json), str(tmp_path / "scores.csv"))
    rows = list(csv.DictReader((tmp_path / "scores.csv").open()))
    assert {row["class"] for row in rows} == {"'=1+1", "'@x"} and rows[0]["case"] == "a"


def test_a_metric_that_is_missing_is_not_known(folders, tmp_path):
    scores = evaluate_folder(*map(str, folders), DATASET_JSON)
    of_cases = [case["liver"] for case in scores["per_case"].values()]
    for values in (scores["per_class"]["liver"], *of_cases, scores["foreground_mean"]):
        del values["HD95"]
    save_scores(scores, str(tmp_path / "scores.json"))
    loaded = load_scores(str(tmp_path / "scores.json"))
    assert np.isnan(loaded["per_case"]["a"]["liver"]["HD95"]) and "HD95" not in loaded["foreground_mean"]
    assert np.isnan(loaded["per_class"]["liver"]["HD95"]["mean"]) and loaded["per_class"]["liver"]["HD95"]["n"] == 0
    assert loaded["per_class"]["liver"]["Dice"] == scores["per_class"]["liver"]["Dice"]
