from __future__ import annotations

import gzip
import json

import pytest
from planning_pairs import SOURCE, TARGET, write_images

from nnuda.datasets import DatasetError, check_name, find_images, label_files, load_dataset, load_folder, passed_over


def test_files_are_grouped_by_case_with_channels_in_order(tmp_path):
    for name in (
        "b_0001.nii.gz",
        "b_0000.nii.gz",
        "a_1_0000.nii.gz",
        "a_1_0001.nii.gz",
        "notes.txt",
        "a_1.nii.gz",
        "c_0000.nrrd",
    ):
        (tmp_path / name).touch()
    assert find_images(str(tmp_path), ".nii.gz") == {
        "a_1": [f"{tmp_path}/a_1_0000.nii.gz", f"{tmp_path}/a_1_0001.nii.gz"],
        "b": [f"{tmp_path}/b_0000.nii.gz", f"{tmp_path}/b_0001.nii.gz"],
    }


def test_no_images_says_what_was_expected_and_what_lies_there(tmp_path):
    with pytest.raises(DatasetError, match="expected files named CASE_0000.nii.gz.*It is empty"):
        find_images(str(tmp_path), ".nii.gz")
    (tmp_path / "scan.nii.gz").touch()
    with pytest.raises(DatasetError, match="1 other files, such as scan.nii.gz"):
        find_images(str(tmp_path), ".nii.gz")
    with pytest.raises(DatasetError, match="No folder"):
        find_images(str(tmp_path / "gone"), ".nii.gz")


def test_a_dataset_by_number_and_by_name(pair):
    assert load_dataset("701") == load_dataset(701) == load_dataset(SOURCE)
    assert load_dataset(701).channel_names == {"0": "MR"} and len(load_dataset(702).images) == 4


@pytest.mark.parametrize(
    "dataset, says",
    [
        ("799", f"No dataset 799.* There are: {SOURCE}"),
        ("nonsense", f"No dataset nonsense.* There are: {SOURCE}"),
        ("Dataset799_Gone", f"No dataset Dataset799_Gone.* There are: {SOURCE}"),
    ],
)
def test_a_missing_dataset(pair, dataset, says):
    with pytest.raises(DatasetError, match=says):
        load_dataset(dataset)


def test_two_datasets_of_one_number(pair):
    (pair.raw / "Dataset701_Twin").mkdir()
    with pytest.raises(DatasetError, match="No dataset 701: .*Dataset701_Twin.* have this number: rename"):
        load_dataset(701)


def test_images_listed_in_dataset_json(pair, monkeypatch):
    file = pair.raw / SOURCE / "dataset.json"
    content = json.loads(file.read_text())
    content["dataset"] = {
        "x": {"images": ["imagesTr/case0_0000.nii.gz"], "label": "labelsTr/case0.nii.gz"},
        "y": {"images": ["$ELSEWHERE/case1_0000.nii.gz"], "label": "labelsTr/case1.nii.gz"},
    }
    file.write_text(json.dumps(content))
    monkeypatch.setenv("ELSEWHERE", str(pair.raw / SOURCE / "imagesTr"))
    source = load_dataset(701)
    assert source.images == {
        c: [str(pair.raw / SOURCE / "imagesTr" / f"case{i}_0000.nii.gz")] for i, c in enumerate("xy")
    }
    assert label_files(source)["y"] == str(pair.raw / SOURCE / "labelsTr" / "case1.nii.gz")
    (pair.raw / SOURCE / "imagesTr" / "case1_0000.nii.gz").unlink()
    with pytest.raises(DatasetError, match="lists 2 cases, 1 image files of them are missing.*case1_0000"):
        load_dataset(701)


def test_labels_lie_beside_the_images(pair):
    assert label_files(load_dataset(701)) == {
        f"case{i}": str(pair.raw / SOURCE / "labelsTr" / f"case{i}.nii.gz") for i in range(3)
    }


def test_a_folder_takes_ending_and_reader_from_the_source(pair, tmp_path):
    file = pair.raw / SOURCE / "dataset.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "overwrite_image_reader_writer": "NibabelIO"}))
    write_images(tmp_path / "scans", cases=2)
    target = load_folder(str(tmp_path / "scans"), "Clinic", ["CT"], load_dataset(701))
    assert target.name == "Clinic" and list(target.images) == ["case0", "case1"] and target.file_ending == ".nii.gz"
    assert target.channel_names == {"0": "CT"} and "labels" not in target.dataset_json
    assert target.reader_class().__name__ == "NibabelIO"


@pytest.mark.parametrize("name", ["a/b", "", "a b", "a__b", "-a"])
def test_names_that_would_break_folder_names(name):
    with pytest.raises(DatasetError, match="--as"):
        check_name(name, "--as")


def test_hidden_files_are_passed_over_and_what_is_passed_over_is_known(pair):
    folder = pair.raw / TARGET / "imagesTr"
    for name in (".DS_Store", "Thumbs.db", "._case0_0000.nii.gz", "scan.nii.gz"):
        (folder / name).write_bytes(b"junk")
    target = load_dataset(TARGET)
    assert list(target.images) == [f"case{i}" for i in range(4)]
    assert passed_over(target) == [str(folder / "._case0_0000.nii.gz"), str(folder / "scan.nii.gz")]


def test_images_of_nearly_the_right_ending_are_passed_over_with_a_word(pair):
    folder = pair.raw / TARGET / "imagesTr"
    for name in ("a_0000.nii", "b_0000.NII.GZ", "c_0000.png", "readme.txt"):
        (folder / name).write_bytes(b"x")
    assert passed_over(load_dataset(TARGET)) == [str(folder / n) for n in ("a_0000.nii", "b_0000.NII.GZ", "c_0000.png")]


def test_a_case_name_with_a_line_end_is_refused(tmp_path):
    write_images(tmp_path, cases=1, prefix="a\nb")
    with pytest.raises(DatasetError, match=r"the case .*a.*nb0.* cannot be a file's name"):
        find_images(str(tmp_path), ".nii.gz")


def test_a_first_image_that_no_reader_takes(pair, capfd):
    file = pair.raw / TARGET / "imagesTr" / "case0_0000.nii.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[70:72] = (9999).to_bytes(2, "little")  # no such type of voxel
    file.write_bytes(gzip.compress(bytes(content)))
    with pytest.raises(DatasetError, match=f"{file}: expected an image that nnU-Net can read; none of its readers"):
        load_dataset(TARGET).reader_class()
    assert "Traceback" not in capfd.readouterr().err


@pytest.mark.parametrize("name", ["Dataset701", "Dataset701_Sorce", "7" * 5000, "Dataset701_\x1b[2J", ""])
def test_a_dataset_that_is_not_there_lists_those_that_are(pair, name):
    with pytest.raises(DatasetError, match=f"No dataset .* There are: {SOURCE}, {TARGET}") as caught:
        load_dataset(name)
    assert len(str(caught.value)) < 1000 and "\x1b" not in str(caught.value)


def test_channels_of_a_folder_have_names(pair):
    with pytest.raises(DatasetError, match="--target-channel-names: expected a name for each channel"):
        load_folder(str(pair.raw / TARGET / "imagesTr"), "Other", [" "], load_dataset(SOURCE))


def test_a_path_is_no_dataset(pair):
    with pytest.raises(DatasetError, match="is a path"):
        load_dataset("Dataset701_Source/../Dataset702_Target")
