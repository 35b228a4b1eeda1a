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
from nnuda.datasets import load_dataset
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
