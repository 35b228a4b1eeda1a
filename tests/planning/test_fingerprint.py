from __future__ import annotations

import gzip
import json
import os
import struct

import numpy as np
import pytest
from nnunetv2.experiment_planning.dataset_fingerprint.fingerprint_extractor import DatasetFingerprintExtractor
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from planning_pairs import NUM_VOXELS, SOURCE, TARGET, checksums, edit_json, write_dataset, write_images, write_nifti

from nnuda.datasets import load_dataset, load_folder
from nnuda.errors import DatasetError
from nnuda.files import FileError
from nnuda.images import digest, read_case, read_label
from nnuda.planning import fingerprint as fingerprint_module
from nnuda.planning.fingerprint import (
    BODY,
    NON_ZERO,
    extract_source_fingerprint,
    extract_target_fingerprint,
    fingerprint_file,
    source_share,
    target_share,
    voxels_to_draw,
)


def test_is_nnunets_where_the_whole_image_is_labelled(tmp_path):
    """Same voxels, same statistics; nnU-Net looks under labels, so label every non-zero voxel."""
    rng = np.random.default_rng(0)
    image = rng.normal(50, 9, (6, 20, 22)).astype(np.float32)
    image[:, :4] = 0
    write_nifti(tmp_path / "a_0000.nii.gz", image, (3, 1, 2))
    write_nifti(tmp_path / "a.nii.gz", (image != 0).astype(np.uint8), (3, 1, 2))
    files, n = [str(tmp_path / "a_0000.nii.gz")], 4000
    images, properties = read_case(SimpleITKIO, files)
    shape, spacing, intensities, size = target_share(images, None, properties, [False], n)
    stock_shape, stock_spacing, stock_intensities, _, stock_size = DatasetFingerprintExtractor.analyze_case(
        files, str(tmp_path / "a.nii.gz"), SimpleITKIO, n
    )
    assert shape == stock_shape == (6, 16, 22) and size == stock_size
    assert np.array_equal(spacing, stock_spacing)
    assert np.array_equal(intensities[0], stock_intensities[0])
    labels, _ = read_label(SimpleITKIO, str(tmp_path / "a.nii.gz"))
    of_source = source_share(images, labels, properties, n)
    assert (of_source[0], of_source[1], of_source[3]) == (stock_shape, list(stock_spacing), stock_size)
    assert np.array_equal(of_source[2][0], stock_intensities[0])


def test_summary_is_nnunets(pair, monkeypatch):
    """Statistics of the drawn intensities, against nnU-Net's own run on the source (whose labels are its boxes)."""
    monkeypatch.setattr(fingerprint_module, "MAX_VOXELS", 10**6)
    stock = extract_source_fingerprint(load_dataset(SOURCE))
    for i in range(3):  # only the box is non-zero now: the non-zero mask is the label
        reader = SimpleITKIO()
        file = str(pair.raw / SOURCE / "imagesTr" / f"case{i}_0000.nii.gz")
        image, properties = reader.read_images([file])
        label, _ = reader.read_seg(file.replace("imagesTr", "labelsTr").replace("_0000", ""))
        (pair.raw / "Dataset703_Boxes" / "imagesTr").mkdir(parents=True, exist_ok=True)
        write_nifti(
            pair.raw / "Dataset703_Boxes" / "imagesTr" / f"case{i}_0000.nii.gz",
            (image * (label > 0))[0],
            properties["spacing"],
        )
    (pair.raw / "Dataset703_Boxes" / "dataset.json").write_text((pair.raw / SOURCE / "dataset.json").read_text())
    ours = extract_target_fingerprint(SOURCE, load_dataset(703))
    assert ours["spacings"] == stock["spacings"]
    for key, value in stock["foreground_intensity_properties_per_channel"]["0"].items():
        assert ours["foreground_intensity_properties_per_channel"]["0"][key] == pytest.approx(value, rel=2e-3), key


def test_the_sources_is_nnunets_to_the_last_digit(stock, monkeypatch):
    monkeypatch.setattr(fingerprint_module, "MAX_VOXELS", NUM_VOXELS)
    monkeypatch.setattr(fingerprint_module, "MAX_VOXELS_PER_CASE", 10**8)  # tiny images, and no thrift
    file = stock.of_source / "dataset_fingerprint.json"
    by_stock = json.loads(file.read_text())
    assert extract_source_fingerprint(load_dataset(SOURCE)) == by_stock, "read where it is there"
    file.unlink()
    extract_source_fingerprint(load_dataset(SOURCE))
    ours = json.loads(file.read_text())
    made_of = ours.pop("cases")
    assert ours == by_stock and set(made_of) == set(load_dataset(SOURCE).images)


def test_ct_channels_are_measured_in_the_body_others_where_they_are_not_zero(folders):
    raw = folders.raw
    write_dataset(raw, SOURCE, labelled=True, channel_names=("MR", "T2"))
    write_dataset(raw, TARGET, labelled=False, channel_names=("CT", "MR"), cases=1)
    image = np.full((8, 32, 32), -1000, np.float32)
    image[2:6, 8:24, 8:24] = 40
    write_nifti(raw / TARGET / "imagesTr" / "case0_0000.nii.gz", image, (4, 1, 1))
    write_nifti(raw / TARGET / "imagesTr" / "case0_0001.nii.gz", image, (4, 1, 1))
    fingerprint = extract_target_fingerprint(SOURCE, load_dataset(702))
    assert fingerprint["intensities_from"] == [BODY, NON_ZERO]
    ct, mr = (fingerprint["foreground_intensity_properties_per_channel"][c] for c in "01")
    assert ct["mean"] == ct["min"] == ct["max"] == 40
    assert mr["median"] == -1000 and mr["max"] == 40


def test_of_tiny_images_fewer_voxels_are_drawn_of_others_as_many_as_nnunet_draws(stock, monkeypatch):
    source = load_dataset(SOURCE)
    assert voxels_to_draw(source, 10**8) < 2 * 10**6 < 10**8 // len(source.images)
    by_stock = json.loads((stock.of_source / "dataset_fingerprint.json").read_text())
    (stock.of_source / "dataset_fingerprint.json").unlink()
    monkeypatch.setattr(fingerprint_module, "MAX_VOXELS", 10**8)
    thrifty = extract_source_fingerprint(source)
    for key, value in by_stock["foreground_intensity_properties_per_channel"]["0"].items():
        assert thrifty["foreground_intensity_properties_per_channel"]["0"][key] == pytest.approx(value, rel=1e-3), key
    monkeypatch.setattr(fingerprint_module.os.path, "getsize", lambda path: 3 * 10**6)
    assert voxels_to_draw(source, 10**8) == 10**8 // 3
    assert voxels_to_draw(source, 10**8, 10**6) == 10**6


def test_is_read_again_only_where_files_changed(pair):
    target = load_dataset(TARGET)
    first = extract_target_fingerprint(SOURCE, target)
    file = fingerprint_file(SOURCE, TARGET)
    assert json.load(open(file)) == first
    assert first["cases"] == {case: digest(files) for case, files in target.images.items()}
    edit_json(pair.of_target / "fingerprint.json", median_relative_size_after_cropping=0.123)
    assert extract_target_fingerprint(SOURCE, target)["median_relative_size_after_cropping"] == 0.123
    assert extract_target_fingerprint(SOURCE, target, overwrite=True) == first
    edit_json(pair.of_target / "fingerprint.json", median_relative_size_after_cropping=0.123)
    write_images(pair.raw / TARGET / "imagesTr", cases=1, prefix="new")
    assert len(extract_target_fingerprint(SOURCE, load_dataset(TARGET))["spacings"]) == 5


def test_an_image_replaced_under_its_old_time_is_noticed(pair, capsys):
    target = load_dataset(TARGET)
    first = extract_target_fingerprint(SOURCE, target)
    file = pair.raw / TARGET / "imagesTr" / "case1_0000.nii.gz"
    times = (file.stat().st_atime_ns, file.stat().st_mtime_ns)
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[400:404] = struct.pack("<f", 500.0)
    packed = gzip.compress(bytes(content))
    file.write_bytes(packed)
    os.utime(file, ns=times)
    second = extract_target_fingerprint(SOURCE, load_dataset(TARGET))
    assert {c for c in first["cases"] if first["cases"][c] != second["cases"][c]} == {"case1"}
    assert "new, replaced or gone: case1" in capsys.readouterr().out


@pytest.mark.parametrize("whose", ["nnuda's", "nnU-Net's"])
def test_a_source_fingerprint_of_other_files(stock, capsys, whose):
    """nnuda's own is made again; nnU-Net's, of which nothing is known but its age, stays and is said to be older."""
    file = stock.of_source / "dataset_fingerprint.json"
    if whose == "nnuda's":
        file.unlink()
    before = extract_source_fingerprint(load_dataset(SOURCE))
    image = stock.raw / SOURCE / "imagesTr" / "case1_0000.nii.gz"
    write_images(image.parent, cases=1, seed=44, prefix="other")
    os.replace(image.parent / "other0_0000.nii.gz", image)
    os.utime(image, (image.stat().st_mtime + 60,) * 2)
    capsys.readouterr()
    after, out = extract_source_fingerprint(load_dataset(SOURCE)), capsys.readouterr().out
    assert (after == before) == (whose != "nnuda's")
    assert ("made again" if whose == "nnuda's" else "is older than files in the raw folder") in out
    extract_source_fingerprint(load_dataset(SOURCE))
    assert "made again" not in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{", "[]", '{"spacings": []}', '{"cases": {}}'])
def test_a_damaged_fingerprint_is_named(pair, content):
    extract_target_fingerprint(SOURCE, load_dataset(TARGET))
    file = pair.of_target / "fingerprint.json"
    file.write_text(content)
    with pytest.raises(FileError, match=f"{file}: expected a dataset's fingerprint.*it is made again"):
        extract_target_fingerprint(SOURCE, load_dataset(TARGET))


def test_other_images_under_the_name_of_a_target(pair, tmp_path):
    extract_target_fingerprint(SOURCE, load_dataset(TARGET))
    before = checksums(pair.of_target)
    write_images(tmp_path / "others", cases=3, seed=9)
    other = load_folder(str(tmp_path / "others"), TARGET, ["MR"], load_dataset(SOURCE))
    with pytest.raises(DatasetError, match=f"name {TARGET} is taken.*{pair.raw / TARGET}.*--target-name"):
        extract_target_fingerprint(SOURCE, other)
    assert checksums(pair.of_target) == before
    moved = load_folder(str(pair.raw / TARGET / "imagesTr"), TARGET, ["MR"], load_dataset(SOURCE))
    extract_target_fingerprint(SOURCE, moved)  # the same images


@pytest.mark.slow
def test_two_processes_give_the_same(pair):
    target = load_dataset(TARGET)
    assert extract_target_fingerprint(SOURCE, target, 2) == extract_target_fingerprint(
        SOURCE, target, 1, overwrite=True
    )
