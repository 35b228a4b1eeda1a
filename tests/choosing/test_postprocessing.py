"""One piece where the source has one, against nnU-Net's own postprocessing and by hand."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.postprocessing.remove_connected_components import apply_postprocessing_to_folder
from toy import SOURCE, write_dataset

from nnuda.choosing.postprocessing import PICKLE
from nnuda.cli.postprocess import main
from nnuda.results import POSTPROCESSING

READER = {"image_reader_writer": "SimpleITKIO"}


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file)))


def write(file: Path, array: np.ndarray) -> None:
    file.parent.mkdir(exist_ok=True)
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.0, 2.0, 3.0))
    sitk.WriteImage(image, str(file))


def rewrite(file: Path, change) -> None:
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    change(array)
    changed = sitk.GetImageFromArray(array)
    changed.CopyInformation(image)
    sitk.WriteImage(changed, str(file))


@pytest.fixture
def raw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six cases with two boxes; the right box has a second piece in two of them. nnUNet_raw."""
    for name in ("raw", "preprocessed", "results"):
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))
    write_dataset(tmp_path / "raw" / SOURCE, labelled=True, inverted=False, cases=6)

    def boxes(array: np.ndarray) -> None:
        array[:] = 0
        array[2:6, 2:12, 2:12], array[2:6, 20:30, 20:30] = 1, 2

    def pieces(array: np.ndarray) -> None:
        array[8:10, 2:8, 30:36] = 2

    for number in range(6):
        file = tmp_path / "raw" / SOURCE / "labelsTr" / f"case{number}.nii.gz"
        rewrite(file, boxes)
        if number < 2:
            rewrite(file, pieces)
    return tmp_path / "raw"


@pytest.fixture
def predictions(raw: Path) -> Path:
    """a: a second piece of each class; b: most of class 1 in a piece that is not the true one; c: nothing."""
    folder = raw.parent / "predictions"
    a, b, c = np.zeros((3, 12, 40, 40), np.uint8)
    a[2:6, 2:12, 2:12], a[2:6, 20:30, 20:30], a[9, 36, 36], a[9, 38, 38] = 1, 2, 1, 2
    b[2:4, 2:6, 2:6], b[8:10, 20:26, 20:25] = 1, 1
    for name, array in zip("abc", (a, b, c)):
        write(folder / f"{name}.nii.gz", array)
    shutil.copy(raw / SOURCE / "dataset.json", folder)
    (folder / "plans.json").write_text(json.dumps(READER))
    return folder


def words(predictions: Path, output: Path) -> list[str]:
    return ["-d", "501", "-i", str(predictions), "-o", str(output), "-np", "1"]


def test_only_what_the_source_shows_in_one_piece_loses_the_other_pieces(predictions, tmp_path, capsys):
    before = {file.name: file.read_bytes() for file in predictions.iterdir()}
    main(words(predictions, tmp_path / "out"))
    a, expected = read(tmp_path / "out" / "a.nii.gz"), read(predictions / "a.nii.gz")
    expected[9, 36, 36] = 0  # of the left box; the right one is in two pieces in the source too
    assert (a == expected).all()
    b = read(tmp_path / "out" / "b.nii.gz")
    assert b.sum() == 2 * 6 * 5 and b[8:10, 20:26, 20:25].all()
    assert not read(tmp_path / "out" / "c.nii.gz").any()
    assert sitk.ReadImage(str(tmp_path / "out" / "a.nii.gz")).GetSpacing() == (1.0, 2.0, 3.0)
    record = json.loads((tmp_path / "out" / POSTPROCESSING).read_text())
    assert record["classes"]["left box"] == {"cases": 6, "in_one_piece": 6, "kept": "largest component"}
    assert record["classes"]["right box"] == {"cases": 6, "in_one_piece": 4, "kept": "all"}
    assert record["per_case"]["a"]["left box"] == {"voxels": 401, "removed": 1}
    said = capsys.readouterr().out
    assert "6 of 6 cases" in said and "4 of 6 cases" in said and "2 of 3" in said
    assert "WARNING: b: 35% of left box was removed" in said and "WARNING: a" not in said
    assert {file.name: file.read_bytes() for file in predictions.iterdir()} == before


@pytest.mark.slow
def test_nnunet_applies_the_same_to_further_predictions(predictions, tmp_path):
    main(words(predictions, tmp_path / "out"))
    pickled = np.load(tmp_path / "out" / PICKLE, allow_pickle=True)
    apply_postprocessing_to_folder(str(predictions), str(tmp_path / "by_nnunet"), *pickled, num_processes=1)
    for name in "abc":
        assert (read(tmp_path / "by_nnunet" / f"{name}.nii.gz") == read(tmp_path / "out" / f"{name}.nii.gz")).all()


def test_regions(raw, predictions, tmp_path):
    """Both boxes together are one region, in two pieces of the source; the left box alone is one in one piece."""
    labels = {"background": 0, "both": [1, 2], "left box": [1]}
    for file in (raw / SOURCE / "dataset.json", predictions / "dataset.json"):
        content = json.loads(file.read_text())
        file.write_text(json.dumps({**content, "labels": labels, "regions_class_order": [2, 1]}))
    main(words(predictions, tmp_path / "out"))
    record = json.loads((tmp_path / "out" / POSTPROCESSING).read_text())
    assert record["classes"]["both"]["kept"] == "all"
    assert record["classes"]["left box"]["kept"] == "largest component"
    expected = read(predictions / "a.nii.gz")
    expected[9, 36, 36] = 0
    assert (read(tmp_path / "out" / "a.nii.gz") == expected).all()


def test_fewer_than_five_cases_say_nothing(raw, predictions, tmp_path):
    for number in (4, 5):
        (raw / SOURCE / "imagesTr" / f"case{number}_0000.nii.gz").unlink()
        (raw / SOURCE / "labelsTr" / f"case{number}.nii.gz").unlink()
    main(words(predictions, tmp_path / "out"))
    for name in "abc":
        assert (read(tmp_path / "out" / f"{name}.nii.gz") == read(predictions / f"{name}.nii.gz")).all()


def test_its_own_folder_is_replaced_and_no_other(predictions, tmp_path):
    main(words(predictions, tmp_path / "out"))
    (predictions / "c.nii.gz").unlink()
    main(words(predictions, tmp_path / "out"))
    assert not (tmp_path / "out" / "c.nii.gz").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(
        SystemExit, match="-o: expected a new or empty folder, or one that this command wrote; .*mine holds notes.txt"
    ):
        main(words(predictions, tmp_path / "mine"))
    with pytest.raises(SystemExit, match="-o: expected another folder than -i"):
        main(words(predictions, predictions))


def test_a_users_file_in_its_own_folder_is_not_lost(predictions, tmp_path):
    main(words(predictions, tmp_path / "out"))
    (tmp_path / "out" / "nnuda_scores.json").write_text("{}")  # nnUDA_evaluate's, of what is made anew
    main(words(predictions, tmp_path / "out"))
    for name in ("mine.txt", "mine.nii.gz"):
        (tmp_path / "out" / name).write_text("mine")
        with pytest.raises(SystemExit, match=f"holds {name}, which this command did not write"):
            main(words(predictions, tmp_path / "out"))
        assert (tmp_path / "out" / name).read_text() == "mine"
        (tmp_path / "out" / name).unlink()


def test_wrong_predictions_are_said(raw, predictions, tmp_path):
    content = json.loads((predictions / "dataset.json").read_text())
    (predictions / "dataset.json").write_text(json.dumps({**content, "labels": {"background": 0, "left box": 1}}))
    with pytest.raises(SystemExit, match=f"labels of {SOURCE}"):
        main(words(predictions, tmp_path / "out"))
    (predictions / "dataset.json").write_text(json.dumps(content))
    for file in (predictions / "a.nii.gz", raw / SOURCE / "labelsTr" / "case0.nii.gz"):
        before = file.read_bytes()
        rewrite(file, lambda array: array.__setitem__((0, 0, 0), 9))
        with pytest.raises(SystemExit, match=rf"Expected the labels .0, 1, 2. .*{file.name} also holds .9"):
            main(words(predictions, tmp_path / "out"))
        file.write_bytes(before)
    (predictions / "b.nii.gz").write_bytes((predictions / "b.nii.gz").read_bytes()[:60])
    with pytest.raises(SystemExit, match="b.nii.gz"):
        main(words(predictions, tmp_path / "out"))
    (raw / SOURCE / "labelsTr" / "case3.nii.gz").unlink()
    with pytest.raises(SystemExit, match="case3.nii.gz"):
        main(words(predictions, tmp_path / "out"))
    for file in predictions.glob("*.nii.gz"):
        file.unlink()
    with pytest.raises(SystemExit, match="-i: expected label files"):
        main(words(predictions, tmp_path / "out"))
    assert not (tmp_path / "out").exists()
