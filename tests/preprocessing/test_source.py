from __future__ import annotations

import filecmp
import json
import os
import shutil
import socket

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2, nnUNetDatasetNumpy
from planning_pairs import SOURCE, checksums, write_images

from nnuda.case_files import read_splits
from nnuda.datasets import load_dataset
from nnuda.errors import PlanningError
from nnuda.files import FileError
from nnuda.preprocessing.configurations import check_configurations, choose_configurations
from nnuda.preprocessing.source import preprocess_source
from nnuda.preprocessing.up_to_date import preprocessed_cases


def to_npz(folder) -> None:
    """What nnU-Net before 2.6 left: one .npz and one .pkl a case."""
    dataset = nnUNetDatasetBlosc2(str(folder))
    for case in dataset.identifiers:
        image, label, _, properties = dataset.load_case(case)
        nnUNetDatasetNumpy.save_case(np.array(image[:]), np.array(label[:]), properties, str(folder / case))
        for ending in (".b2nd", "_seg.b2nd"):
            (folder / f"{case}{ending}").unlink()


NOTES = {"nnUNetPlans_2d.nnUDA.json"}


def of_stock(folder) -> dict[str, str]:
    """Checksums of all that nnuda has not noted down for itself."""
    return {name: value for name, value in checksums(folder).items() if name not in NOTES}


def test_stock_data_stays_to_the_byte(stock):
    before = checksums(stock.of_source)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert of_stock(stock.of_source) == before and set(checksums(stock.of_source)) == {*before, *NOTES}


def test_missing_cases_are_as_stock_makes_them(stock):
    before = checksums(stock.of_source)
    folder = stock.of_source / "nnUNetPlans_2d"
    (folder / "case0.b2nd").unlink()
    (folder / "case1.pkl").unlink()  # interrupted: nnU-Net writes it last
    shutil.rmtree(stock.of_source / "gt_segmentations")
    (stock.of_source / "dataset.json").unlink()  # the plan came alone
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    after = of_stock(stock.of_source)
    assert after.keys() == before.keys()
    changed = {name for name in before if after[name] != before[name]}
    assert not {name for name in changed if not name.startswith(("nnUNetPlans_2d/case0", "nnUNetPlans_2d/case1"))}
    dataset = nnUNetDatasetBlosc2(str(folder))
    for case in ("case0", "case1"):
        image, label, _, properties = dataset.load_case(case)
        assert image.shape == label.shape and set(properties["class_locations"]) == {1}


def test_npz_of_an_older_nnunet_is_used_as_it_is(stock):
    folder = stock.of_source / "nnUNetPlans_2d"
    to_npz(folder)
    before = checksums(stock.of_source)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert of_stock(stock.of_source) == before and preprocessed_cases(str(folder)) == {"case0", "case1", "case2"}


def test_npz_with_cases_missing_is_an_error(stock):
    folder = stock.of_source / "nnUNetPlans_2d"
    to_npz(folder)
    (folder / "case2.npz").unlink()
    with pytest.raises(PlanningError, match="2 of 3 source cases in the .npz format"):
        preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])


def correct_label(folders, case: str, seconds: int = 60) -> None:
    """Fewer voxels of the box, written later than anything else."""
    file = folders.raw / SOURCE / "labelsTr" / f"{case}.nii.gz"
    image = sitk.ReadImage(str(file))
    array = sitk.GetArrayFromImage(image)
    array[:3] = 0
    new = sitk.GetImageFromArray(array)
    new.CopyInformation(image)
    sitk.WriteImage(new, str(file))
    later = file.stat().st_mtime + seconds
    os.utime(file, (later, later))


def labelled_voxels(folders, case: str) -> int:
    dataset = nnUNetDatasetBlosc2(str(folders.of_source / "nnUNetPlans_2d"))
    return int((dataset.load_case(case)[1][:] > 0).sum())


@pytest.mark.parametrize("recorded", [True, False])
def test_a_corrected_label_is_taken_over(stock, capsys, recorded):
    """Also where stock nnU-Net has preprocessed, which keeps no record: by the files' times."""
    if recorded:
        preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    voxels, before = labelled_voxels(stock, "case1"), of_stock(stock.of_source)
    correct_label(stock, "case1", -(10**6) if recorded else 60)  # a record does not go by times
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert labelled_voxels(stock, "case1") < voxels
    assert "preprocessed again: case1" in capsys.readouterr().out
    after = of_stock(stock.of_source)
    changed = {name for name in before if before[name] != after[name]}
    assert {"nnUNetPlans_2d/case1_seg.b2nd", "gt_segmentations/case1.nii.gz"} <= changed
    assert all("case1" in name for name in changed)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert "again" not in capsys.readouterr().out


def test_what_a_kill_left_of_a_label_is_made_good(stock):
    """The case is preprocessed already: its reference label must not stay the old one, nor a half one beside it."""
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    folder = stock.of_source / "gt_segmentations"
    whole, time = (folder / "case1.nii.gz").read_bytes(), (folder / "case1.nii.gz").stat().st_mtime_ns
    (folder / "case1.nii.gz").write_bytes(whole[::-1])
    os.utime(folder / "case1.nii.gz", ns=(time, time))
    half = folder / f"case1.nii.gz.{socket.gethostname()}-99999999.tmp.nii.gz"
    half.write_bytes(whole[:9])
    filecmp.clear_cache()  # this process has compared them before
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert (folder / "case1.nii.gz").read_bytes() == whole and not half.exists()


def test_a_replaced_image_is_taken_over(stock):
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    before = of_stock(stock.of_source)
    folder = stock.raw / SOURCE / "imagesTr"
    write_images(folder, cases=1, seed=77, prefix="other")
    os.replace(folder / "other0_0000.nii.gz", folder / "case2_0000.nii.gz")
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    after = of_stock(stock.of_source)
    assert {name for name in before if before[name] != after[name]} >= {"nnUNetPlans_2d/case2.b2nd"}
    assert all(before[name] == after[name] for name in before if "case2" not in name)


@pytest.mark.parametrize("recorded", [True, False])
def test_a_removed_case_is_taken_out_where_it_is_known(stock, capsys, recorded):
    """What stock nnU-Net has made of files that are gone is said, and stays: it cannot be made again."""
    if recorded:
        preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    (stock.of_source / "splits_final.json").write_text(json.dumps([{"train": ["case0", "case1"], "val": ["case2"]}]))
    (stock.raw / SOURCE / "imagesTr" / "case2_0000.nii.gz").unlink()
    write_images(stock.raw / SOURCE / "imagesTr", cases=1, prefix="new")
    shutil.copy(stock.raw / SOURCE / "labelsTr" / "case0.nii.gz", stock.raw / SOURCE / "labelsTr" / "new0.nii.gz")
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    out = capsys.readouterr().out
    left = preprocessed_cases(str(stock.of_source / "nnUNetPlans_2d"))
    assert left == {"case0", "case1", "new0", *([] if recorded else ["case2"])}
    assert ("gone from the raw folder, taken out: case2" if recorded else "trained on: case2") in out
    assert "has no place for new0. No fold trains" in out and "names cases that are gone: case2" in out


@pytest.mark.parametrize("damage", ["mask gone", "cut off", "empty"])
def test_a_damaged_case_is_made_again(stock, damage):
    before, voxels = checksums(stock.of_source / "nnUNetPlans_2d"), labelled_voxels(stock, "case1")
    file = stock.of_source / "nnUNetPlans_2d" / "case1_seg.b2nd"
    if damage == "mask gone":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[: -20 if damage == "cut off" else 0])
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    after = checksums(stock.of_source / "nnUNetPlans_2d")
    assert after.keys() == before.keys() and labelled_voxels(stock, "case1") == voxels
    assert all("case1" in name for name in before if before[name] != after[name])


def test_npz_older_than_the_raw_files_is_said(stock, capsys):
    to_npz(stock.of_source / "nnUNetPlans_2d")
    correct_label(stock, "case1", 10**6)
    preprocess_source(load_dataset(SOURCE), stock.plan(), ["2d"])
    assert "older than the raw files of case1" in capsys.readouterr().out


def test_a_plan_whose_data_lies_elsewhere_is_refused(stock):
    plans = stock.plan()
    plans["configurations"]["2d"]["data_identifier"] = "../../victim"
    with pytest.raises(PlanningError, match="data_identifier: expected the name of a folder"):
        preprocess_source(load_dataset(SOURCE), plans, ["2d"])


def test_configurations_by_default_those_with_data(stock):
    plans = stock.plan()
    assert choose_configurations(SOURCE, plans, None) == ["2d"]
    assert choose_configurations(SOURCE, plans, ["3d_fullres"]) == ["3d_fullres"]
    shutil.rmtree(stock.of_source / "nnUNetPlans_2d")
    assert choose_configurations(SOURCE, plans, None) == ["2d", "3d_fullres"]


@pytest.mark.parametrize(
    "asked, message",
    [
        ("3d_lowres", "no such configuration. It has: 2d, 3d_fullres"),
        ("cascade", "second stage of a cascade"),
        ("3d_cascade_fullres", "second stage of a cascade"),
    ],
)
def test_configurations_that_cannot_be(stock, asked, message):
    plans = stock.plan()
    plans["configurations"]["cascade"] = {"inherits_from": "3d_fullres", "previous_stage": "3d_lowres"}
    with pytest.raises(PlanningError, match=message):
        check_configurations(plans, [asked])
    check_configurations(None, ["2d", "3d_lowres"])
    with pytest.raises(PlanningError, match="a fresh plan has no such configuration"):
        check_configurations(None, ["2d_cpu"])


@pytest.mark.parametrize(
    "split", [5, {"train": ["case0"]}, {"train": "case0", "val": []}, {"train": [["x"]], "val": []}]
)
def test_splits_of_another_shape_are_one_error(tmp_path, split):
    file = tmp_path / "splits_final.json"
    file.write_text(json.dumps([split]))
    with pytest.raises(FileError, match="splits_final.json: expected nnU-Net's splits.*Mend it, or remove it"):
        read_splits(str(file))
