"""Bad images and labels: a table of what is put into a good pair, and what is said of it."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from planning_pairs import SOURCE, TARGET, Folders, edit_json, write_dataset, write_nifti

from nnuda.datasets import label_files, load_dataset
from nnuda.errors import NnudaError
from nnuda.planning import raw_cases
from nnuda.planning.fingerprint import extract_source_fingerprint, extract_target_fingerprint
from nnuda.planning.raw_cases import NOTES, are_as_looked_at, look_at_source, look_at_target, notes_file, read_notes


def look(capsys: pytest.CaptureFixture) -> str:
    """Both fingerprints; what was printed."""
    extract_source_fingerprint(load_dataset(SOURCE, labelled=True))
    extract_target_fingerprint(SOURCE, load_dataset(TARGET))
    return capsys.readouterr().out


def change(file: Path, edit, spacing=None, origin=None, direction=None) -> None:
    image = sitk.ReadImage(str(file))
    array = edit(sitk.GetArrayFromImage(image))
    new = sitk.GetImageFromArray(array, isVector=array.ndim > 3)
    new.SetSpacing(spacing or image.GetSpacing())
    new.SetOrigin(origin or image.GetOrigin())
    new.SetDirection(direction or image.GetDirection())
    sitk.WriteImage(new, str(file))


def image_of(pair: Folders, case: str, domain: str = TARGET) -> Path:
    return pair.raw / domain / "imagesTr" / f"{case}_0000.nii.gz"


def label_of(pair: Folders, case: str) -> Path:
    return pair.raw / SOURCE / "labelsTr" / f"{case}.nii.gz"


def with_voxel(value: float):
    def edit(array: np.ndarray) -> np.ndarray:
        array = array.astype(np.float32)
        array[2, 3, 4] = value
        return array

    return edit


def same(array: np.ndarray) -> np.ndarray:
    return array


def as_complex(array: np.ndarray) -> np.ndarray:
    return array.astype(np.complex64)


def as_vectors(array: np.ndarray) -> np.ndarray:
    return np.stack([array] * 3, -1)


def constant(value: float):
    return lambda array: np.full_like(array, value)


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
@pytest.mark.parametrize(
    "edit, geometry, message",
    [
        (with_voxel(np.nan), {}, "case1_0000.nii.gz: NaN in the image"),
        (with_voxel(np.inf), {}, "case1_0000.nii.gz: infinity in the image"),
        (constant(0), {}, "case1_0000.nii.gz: expected an image; it is 0 everywhere"),
        (same, {"spacing": (1e-6, 1e-6, 4e-6)}, "case1_0000.nii.gz: .*spacing in mm.* times off the median"),
        (same, {"spacing": (1000.0, 1000.0, 4.0)}, "case1_0000.nii.gz: .*spacing in mm.* times off the median"),
        (as_complex, {}, r"imagesTr/case1_0000.nii.gz: .*more than one number each \(complex64\)"),
        (as_vectors, {}, r"imagesTr/case1_0000.nii.gz: .*more than one number each \(vector of 3\)"),
        (None, {}, "case1_0000.nii.gz: expected 1 channels as named in channel_names .MR., got 3"),
    ],
)
def test_images_that_are_refused(pair, capsys, domain, edit, geometry, message):
    file = image_of(pair, "case1", domain)
    if geometry and domain == SOURCE:  # the label lies on its image
        change(label_of(pair, "case1"), same, **geometry)
    if edit is None:
        sitk.WriteImage(sitk.JoinSeries([sitk.ReadImage(str(file))] * 3), str(file))
    else:
        change(file, edit, **geometry)
    with pytest.raises(NnudaError, match=message):
        look(capsys)


@pytest.mark.parametrize(
    "value, channel, message", [(7, "MR", "it is 7 everywhere"), (-1024, "CT", "-1024 everywhere")]
)
def test_a_domain_in_which_nothing_is(pair, capsys, value, channel, message):
    edit_json(pair.raw / TARGET / "dataset.json", channel_names={"0": channel})
    for i in range(4):
        change(image_of(pair, f"case{i}"), constant(value))
    with pytest.raises(NnudaError, match=f"4 cases of the target .* cannot be used(.|\n)*{message}"):
        look(capsys)


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
@pytest.mark.parametrize("value", [-1, 256])
def test_values_that_are_no_colours(pair, capsys, domain, value):
    edit_json(pair.raw / domain / "dataset.json", channel_names={"0": "RGB_to_0_1"})
    for case in range(3 if domain == SOURCE else 4):
        change(image_of(pair, f"case{case}", domain), lambda a: np.clip(a, 0, 255))
    look(capsys)
    change(image_of(pair, "case1", domain), lambda a: with_voxel(value)(np.clip(a, 0, 255)))
    with pytest.raises(
        NnudaError, match=f"case1_0000.nii.gz: expected values from 0 to 255, .*RGB_to_0_1; got .*{value}"
    ):
        look(capsys)


def test_a_ct_of_air_and_noise(pair, capsys):
    edit_json(pair.raw / TARGET / "dataset.json", channel_names={"0": "CT"})
    for i in range(4):
        change(image_of(pair, f"case{i}"), lambda a: a / 100 - 1000)
    with pytest.raises(NnudaError, match="case0_0000.nii.gz: expected an image; it holds no body"):
        look(capsys)


def test_one_image_of_one_value_is_said(pair, capsys):
    change(image_of(pair, "case2"), constant(7))
    assert f"WARNING: Target {TARGET}: nothing is in the image of case2" in look(capsys)


@pytest.mark.parametrize(
    "edit, dtype, geometry, message",
    [
        (lambda a: a * 7, np.uint8, {}, r"labelsTr/case1.nii.gz: expected the labels \[0, 1\] .*holds \[7\]"),
        (lambda a: a * -1.0, np.int16, {}, r"labelsTr/case1.nii.gz: .*\[-1\]"),
        (lambda a: a * 0.5, np.float32, {}, "labelsTr/case1.nii.gz: expected whole numbers as labels, got 0.5"),
        (lambda a: np.where(a, np.nan, a), np.float32, {}, "labelsTr/case1.nii.gz: NaN in the labels"),
        (same, np.complex64, {}, r"labelsTr/case1.nii.gz: .*more than one number each \(complex64\)"),
        (lambda a: a[:, :16], np.uint8, {}, "case1.nii.gz: expected the shape of its image case1_0000.* 8 x 32 x 32"),
        (
            same,
            np.uint8,
            {"spacing": (2, 2, 8)},
            "case1.nii.gz: expected the spacing of its image.*4 x 1 x 1; got 8 x 2",
        ),
    ],
)
def test_labels_that_are_refused(pair, capsys, edit, dtype, geometry, message):
    change(label_of(pair, "case1"), lambda a: edit(a).astype(dtype), **geometry)
    with pytest.raises(NnudaError, match=message):
        look(capsys)


def test_labels_without_any_class(pair, capsys):
    for i in range(3):
        change(label_of(pair, f"case{i}"), constant(0))
    with pytest.raises(NnudaError, match="no label file holds anything but background"):
        look(capsys)


@pytest.mark.parametrize(
    "geometry, message",
    [
        ({"origin": (100, 0, 0)}, r"case1.nii.gz: origin \[100.0, 0.0, 0.0\], its image case1_0000.nii.gz has"),
        ({"direction": (-1, 0, 0, 0, -1, 0, 0, 0, 1)}, "case1.nii.gz: direction"),
    ],
)
def test_labels_that_lie_beside_their_image_are_said(pair, capsys, geometry, message):
    change(label_of(pair, "case1"), same, **geometry)
    out = look(capsys)
    assert f"WARNING: Source {SOURCE}: " in out and message.replace("\\", "") in out
    assert message.replace("\\", "") in look(capsys), "also the next time"


def test_what_dataset_json_says_and_the_files_do_not_keep_is_said(folders, capsys):
    write_dataset(
        folders.raw, SOURCE, labelled=True, labels={"background": 0, "box": 1, "ghost": 2}, extra={"numTraining": 99}
    )
    write_dataset(folders.raw, TARGET, labelled=False, seed=1)
    (folders.raw / TARGET / "imagesTr" / "._case0_0000.nii.gz").write_bytes(b"junk")
    (folders.raw / SOURCE / "labelsTr" / "alone.nii.gz").write_bytes(b"junk")
    out = look(capsys)
    assert "no label holds the class ghost" in out and "numTraining 99, 3 cases" in out and "fold all" in out
    assert "labels without an image, which are not used: alone.nii.gz" in out
    assert f"Target {TARGET}: no images, and left out: ._case0_0000.nii.gz" in out


def test_spacings_of_another_domain_and_odd_ones(pair, capsys):
    change(image_of(pair, "case3"), same, spacing=(0.05, 0.05, 3))
    assert "spacing far from the median 3 x 0.8 x 0.8 mm: case3 (3 x 0.05 x 0.05 mm)" in look(capsys)
    for i in range(4):
        change(image_of(pair, f"case{i}"), same, spacing=(8e-4, 8e-4, 3e-3))
    with pytest.raises(NnudaError, match="times off the median of the other domain .4 x 1 x 1 mm"):
        look(capsys)


def test_images_that_are_in_both_domains_are_said(pair, capsys):
    shutil.copy(image_of(pair, "case1", SOURCE), image_of(pair, "twin"))
    assert "1 target images are images of the source, byte for byte: twin (= case1)." in look(capsys)


@pytest.mark.parametrize("domain", [SOURCE, TARGET])
@pytest.mark.parametrize("listed", [False, True])
def test_one_image_as_several_cases_is_said(pair, capsys, domain, listed):
    names = [f"case{i}" for i in range(3 if domain == SOURCE else 4)]
    if listed:  # by dataset.json alone
        entries = {name: {"images": ["imagesTr/case1_0000.nii.gz"], "label": "labelsTr/case1.nii.gz"} for name in names}
        edit_json(pair.raw / domain / "dataset.json", dataset=entries)
    else:
        for name in names:
            if name != "case1":
                image_of(pair, name, domain).unlink()
                image_of(pair, name, domain).symlink_to(image_of(pair, "case1", domain))
    said = look(capsys)
    assert f"{domain}: cases with one and the same image, byte for byte: {' = '.join(names)}." in said


def test_target_cases_with_pseudo_labels_are_no_twins(pair, capsys):
    shutil.copy(image_of(pair, "case0"), image_of(pair, "target_case0", SOURCE))
    shutil.copy(image_of(pair, "case0"), label_of(pair, "target_case0"))
    change(label_of(pair, "target_case0"), lambda image: (image > image.mean()).astype(np.uint8))
    assert "byte for byte" not in look(capsys)


def test_a_good_pair_is_looked_at_once_and_in_silence(pair, capsys, monkeypatch):
    few = f"WARNING: Source {SOURCE}: 3 cases are too few for nnU-Net's 5 folds: train with fold all."
    assert "WARNING" not in look(capsys).replace(few, "")
    calls = []
    whole = raw_cases.look_at_case
    monkeypatch.setattr(raw_cases, "look_at_case", lambda *a: calls.append(a[0]) or whole(*a))
    look(capsys)
    assert calls == [], "nothing is read again"
    change(label_of(pair, "case2"), same)
    look(capsys)
    assert [Path(files[0]).name for files in calls] == ["case2_0000.nii.gz"]


def test_a_fingerprint_of_nnunets_does_not_keep_the_cases_from_being_looked_at(stock, capsys):
    change(label_of(stock, "case1"), lambda a: a * 7)
    with pytest.raises(NnudaError, match=r"the file also holds \[7\]"):
        look(capsys)


def test_cases_that_are_right_are_noted_though_others_are_not(pair):
    write_nifti(image_of(pair, "case1", SOURCE), np.zeros((3, 3, 3), np.float32), (1, 1, 1))
    with pytest.raises(NnudaError):
        look_at_source(load_dataset(SOURCE))
    assert '"case0"' in Path(notes_file(SOURCE)).read_text() and '"case1"' not in Path(notes_file(SOURCE)).read_text()


@pytest.mark.slow
def test_two_processes_find_the_same(pair):
    change(label_of(pair, "case1"), lambda a: (a * 0.5).astype(np.float32))
    with pytest.raises(NnudaError, match="got 0.5"):
        look_at_source(load_dataset(SOURCE), 2)


def test_whether_files_are_those_that_were_looked_at(planned):
    source, target = load_dataset(SOURCE), load_dataset(TARGET)
    for file in (target.images["case0"][0], label_files(source)["case0"]):
        look_at_source(source)
        look_at_target(SOURCE, target)
        assert are_as_looked_at(source, target)
        os.utime(file)
        assert not are_as_looked_at(source, target)
    os.remove(target.images["case0"][0])
    assert not are_as_looked_at(source, target)


@pytest.mark.parametrize("change", [{"range": [{}]}, {"spacing": []}, {"labels": ["x"]}, {"channels": None}])
def test_damaged_notes_are_made_again(planned, change):
    file = planned.of_source / NOTES
    good = json.loads(file.read_text())
    case = {**good["cases"]["case0"], **change}
    file.write_text(json.dumps({**good, "cases": {**good["cases"], "case0": case}}))
    assert read_notes(str(file)) == {"folder": "", "cases": {}}
    file.write_text(json.dumps(good))
    assert read_notes(str(file)) == good
