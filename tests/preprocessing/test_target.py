from __future__ import annotations

import builtins
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from planning_pairs import SOURCE, TARGET, Folders, checksums, write_images

from nnuda.cli.plan_and_preprocess import main
from nnuda.cli.preprocess import main as preprocess_command
from nnuda.datasets import load_dataset
from nnuda.errors import NnudaError
from nnuda.files import FileError
from nnuda.plan_key import plans_with_target_normalization
from nnuda.planning.fingerprint import extract_target_fingerprint
from nnuda.preprocessing.target import preprocess_target


def data(folders: Folders) -> Path:
    return folders.of_target / "nnUNetPlans_2d"


def preprocess(folders: Folders, overwrite: bool = False, **changes: object) -> None:
    target = load_dataset(TARGET)
    extract_target_fingerprint(SOURCE, target)
    plans = {**folders.plan(), **changes}
    preprocess_target(target, plans, ["2d"], 1, overwrite)


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_cases_are_what_stock_prediction_would_be_given(planned):
    """nnU-Net's predictor on the plan with the target's normalisation, case by case, exactly."""
    dataset = infer_dataset_class(str(data(planned)))(str(data(planned)))
    assert dataset.identifiers == [f"case{i}" for i in range(4)]
    manager = PlansManager(plans_with_target_normalization(planned.plan()))
    for case in dataset.identifiers:
        image, mask, _, properties = dataset.load_case(case)
        files = load_dataset(TARGET).images[case]
        expected, expected_mask, _ = DefaultPreprocessor(verbose=False).run_case(
            files, None, manager, manager.get_configuration("2d"), {}
        )
        assert np.array_equal(image[:], expected) and np.array_equal(mask[:], expected_mask)
        assert properties["class_locations"] == {}, "nnU-Net's data loader reads it of every case"


def test_what_is_there_stays(planned):
    before = times(data(planned))
    preprocess(planned)
    assert times(data(planned)) == before
    preprocess(planned, overwrite=True)
    assert not set(times(data(planned)).items()) & set(before.items())


def test_added_cases_are_added(planned):
    before = times(data(planned))
    write_images(planned.raw / TARGET / "imagesTr", cases=1, prefix="new")
    preprocess(planned)
    after = times(data(planned))
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"new0.b2nd", "new0_seg.b2nd", "new0.pkl"}


@pytest.mark.parametrize("change", ["removed", "replaced"])
def test_removed_and_replaced_images_are_noticed(planned, change):
    file = planned.raw / TARGET / "imagesTr" / "case1_0000.nii.gz"
    if change == "removed":
        file.unlink()
    else:
        write_images(file.parent, cases=1, shape=(9, 30, 30), prefix="other")
        os.replace(file.parent / "other0_0000.nii.gz", file)
    before = checksums(data(planned))
    preprocess(planned)
    after = checksums(data(planned))
    assert ("case1.b2nd" in after) == (change == "replaced")
    assert after.get("case1.b2nd") != before["case1.b2nd"] and after["case0.b2nd"] == before["case0.b2nd"]


def test_another_plan_under_the_same_name_is_noticed(planned):
    plans = planned.plan()
    plans["configurations"]["2d"]["spacing"] = [2.0, 2.0]
    shape = infer_dataset_class(str(data(planned)))(str(data(planned))).load_case("case0")[0].shape
    preprocess(planned, configurations=plans["configurations"])
    smaller = infer_dataset_class(str(data(planned)))(str(data(planned))).load_case("case0")[0].shape
    assert smaller[1:] != shape[1:] and smaller[2] < shape[2]


def test_an_interrupted_run_goes_on(planned, monkeypatch):
    shutil.rmtree(data(planned))
    whole, calls = DefaultPreprocessor.run_case_save, []

    def crash_at_the_third(self: DefaultPreprocessor, file: str, *arguments: object) -> None:
        calls.append(Path(file).name)
        if len(calls) == 3:
            Path(f"{file}.b2nd").write_bytes(b"half")
            raise KeyboardInterrupt
        whole(self, file, *arguments)

    monkeypatch.setattr(DefaultPreprocessor, "run_case_save", crash_at_the_third)
    with pytest.raises(KeyboardInterrupt):
        preprocess(planned)
    assert {path.name.split(".")[0].replace("_seg", "") for path in data(planned).iterdir()} == set(calls[:2])
    preprocess(planned)
    assert calls[3:] == calls[2:3] + ["case3"], "the broken one and what came after it, nothing twice"
    assert not list(planned.of_target.glob("*.tmp"))


def test_an_image_replaced_by_one_of_the_same_size_and_time(planned, capsys):
    file = planned.raw / TARGET / "imagesTr" / "case1_0000.nii.gz"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    write_images(file.parent, cases=1, spacing=(3.0, 0.8, 0.8), seed=5, prefix="other")
    os.replace(file.parent / "other0_0000.nii.gz", file)
    os.utime(file, ns=times)
    before = checksums(data(planned))
    preprocess(planned)
    after = checksums(data(planned))
    assert {name.split(".")[0] for name in before if before[name] != after[name]} <= {"case1", "case1_seg"}
    assert after["case1.b2nd"] != before["case1.b2nd"]
    assert f"Target {TARGET}, 2d: replaced or corrected" in capsys.readouterr().out


def other_plan(folders: Folders) -> dict:
    configurations = folders.plan()["configurations"]
    configurations["2d"]["spacing"] = [2.0, 2.0]
    return {"configurations": configurations}


@pytest.mark.parametrize("changes, overwrite", [(other_plan, False), (lambda folders: {}, True)])
def test_old_cases_stay_until_all_new_ones_are_there(planned, monkeypatch, changes, overwrite):
    preprocess(planned)  # the copied files are looked at
    before, whole, calls = checksums(planned.of_target), DefaultPreprocessor.run_case_save, []

    def fail_at_the_third(self: DefaultPreprocessor, file: str, *arguments: object) -> None:
        calls.append(file)
        if len(calls) == 3:
            raise ValueError("a plan that cannot be")
        whole(self, file, *arguments)

    monkeypatch.setattr(DefaultPreprocessor, "run_case_save", fail_at_the_third)
    with pytest.raises(ValueError, match="cannot be"):
        preprocess(planned, overwrite, **changes(planned))
    assert checksums(planned.of_target) == before


def test_new_cases_half_in_place_are_made_again(planned, monkeypatch):
    """The moment of the exchange itself: the next run cannot take the mixture for a whole."""
    whole, moved = os.replace, []

    def fail_half_way(old: str, new: str) -> None:
        moved.extend([new] * (Path(new).parent == data(planned) and ".tmp" not in new))
        if len(moved) == 8 and Path(new).parent == data(planned):
            raise OSError(5, "Input/output error", new)
        whole(old, new)

    expected = shape_of(planned)
    monkeypatch.setattr(os, "replace", fail_half_way)
    with pytest.raises(OSError, match="Input"):
        preprocess(planned, **other_plan(planned))
    monkeypatch.setattr(os, "replace", whole)
    preprocess(planned)
    assert {shape_of(planned, case) for case in ("case0", "case1", "case2", "case3")} == {expected}


def shape_of(folders: Folders, case: str = "case0") -> tuple[int, ...]:
    return infer_dataset_class(str(data(folders)))(str(data(folders))).load_case(case)[0].shape


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_file_of_the_users_stays_and_is_named(planned, overwrite):
    preprocess(planned)
    (data(planned) / "my_notes.txt").write_text("mine")
    before = checksums(planned.of_target)
    with pytest.raises(FileError, match="holds other files than preprocessed cases: my_notes.txt"):
        preprocess(planned, overwrite)
    assert checksums(planned.of_target) == before


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_folder_that_is_a_link_to_another_place(planned, tmp_path, overwrite):
    shutil.move(data(planned), tmp_path / "bigdisk")
    data(planned).symlink_to(tmp_path / "bigdisk")
    (tmp_path / "bigdisk" / "case1_seg.b2nd").unlink()
    preprocess(planned, overwrite)
    assert data(planned).is_symlink() and len(list((tmp_path / "bigdisk").iterdir())) == 12
    assert not list(tmp_path.glob("*.tmp"))


@pytest.mark.parametrize("folder", ["../victim", SOURCE, f"{SOURCE}/nnUDA_target_other", "/tmp/victim"])
def test_a_plan_that_names_another_folder_is_refused(planned, folder):
    preprocess(planned)
    (planned.root / "victim").mkdir()
    plans = planned.plan()
    plans["domain_adaptation"]["target"]["folder"] = folder
    before = checksums(planned.root)
    with pytest.raises(NnudaError, match="folder"):
        preprocess(planned, True, domain_adaptation=plans["domain_adaptation"])
    after = checksums(planned.root)
    assert {name: after[name] for name in before} == before


def test_a_record_of_sizes_as_nnuda_0_1_wrote_it_is_taken_over(planned):
    file = planned.of_target / "nnUNetPlans_2d.json"
    record = json.loads(file.read_text())
    raw = planned.raw / TARGET / "imagesTr"
    record["cases"] = {case: (raw / f"{case}_0000.nii.gz").stat().st_size for case in record["cases"]}
    record["cases"]["case3"] += 1
    file.write_text(json.dumps(record))
    before = times(data(planned))
    preprocess(planned)
    changed = {name for name, time in times(data(planned)).items() if time != before[name]}
    assert {name.split(".")[0].removesuffix("_seg") for name in changed} == {"case3"}
    assert all(isinstance(value, str) for value in json.loads(file.read_text())["cases"].values())


@pytest.mark.parametrize("change", ["added", "removed"])
def test_the_plan_has_to_know_how_many_cases_there_are(planned, change, capsys):
    folder = planned.raw / TARGET / "imagesTr"
    if change == "added":
        write_images(folder, cases=1, prefix="new")
    else:
        (folder / "case3_0000.nii.gz").unlink()
    with pytest.raises(SystemExit, match="was made for 4 target cases.*Run: nnUDA_plan_and_preprocess -d Dataset701"):
        preprocess_command(["-d", "701", "-c", "2d", "-np", "1"])
    main(["-d", "701", "-t", "702", "-c", "2d", "-np", "1"])
    preprocess_command(["-d", "701", "-c", "2d", "-np", "1"])
    assert planned.plan()["domain_adaptation"]["target"]["num_cases"] == (5 if change == "added" else 3)
    assert len(list(data(planned).glob("*.pkl"))) == (5 if change == "added" else 3)


def test_labels_of_the_target_are_never_opened(pair, monkeypatch):
    """Fingerprint, planning and preprocessing with target labels that nobody can read."""
    labels = pair.raw / TARGET / "labelsTr"
    labels.mkdir()
    for case in load_dataset(TARGET).images:
        (labels / f"{case}.nii.gz").write_bytes(b"not an image")
    opened, whole = [], open
    read_image = sitk.ReadImage
    monkeypatch.setattr(builtins, "open", lambda file, *a, **k: opened.append(str(file)) or whole(file, *a, **k))
    monkeypatch.setattr(sitk, "ReadImage", lambda file, *a, **k: opened.append(str(file)) or read_image(file, *a, **k))
    labels.chmod(0)
    try:
        main(["-d", "701", "-t", "702", "-c", "2d", "-np", "1"])
    finally:
        labels.chmod(0o755)
    assert any("imagesTr" in file and TARGET in file for file in opened), "the watch works"
    assert not [file for file in opened if "labelsTr" in file and TARGET in file]
    assert len(list(data(pair).glob("*.pkl"))) == 4
    assert "labelsTr" not in json.dumps(pair.plan())
