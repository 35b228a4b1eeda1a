"""Names, channels and files of the dataset that a round writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnuda.datasets import DatasetError, Domain
from nnuda.selftraining.dataset import add_images, channel_names, dataset_json_of, output_name, target_cases


@pytest.fixture(autouse=True)
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("raw", "preprocessed", "results"):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(f"nnUNet_{name}", str(tmp_path / name))


def domain(*channels: str, name: str = "Dataset501_S", images: tuple[str, ...] = ("a",), **extra) -> Domain:
    content = {
        "channel_names": {str(i): channel for i, channel in enumerate(channels)},
        "labels": {"background": 0, "liver": 1},
        "file_ending": ".nii.gz",
        **extra,
    }
    return Domain(name, "", content, {case: [f"{case}_0000.nii.gz"] for case in images})


def test_numbers_and_names(tmp_path):
    assert output_name("601", "Dataset501_CT", "Dataset502_MR_new") == "Dataset601_CT_pseudo_MR_new"
    assert output_name("7", "Dataset501_CT", "scanner__2") == "Dataset007_CT_pseudo_scanner_2"
    assert output_name("Dataset601_Mine", "s", "t") == "Dataset601_Mine"
    for wrong in ("Mine", "Dataset6_Mine", "Dataset601_a__b", "Dataset601_../up", "6010", "-1"):
        with pytest.raises(DatasetError, match="-o: expected a number"):
            output_name(wrong, "s", "t")
    (tmp_path / "results" / "Dataset601_Other").mkdir()
    with pytest.raises(DatasetError, match="belongs to Dataset601_Other"):
        output_name("601", "s", "t")
    assert output_name("Dataset601_Other", "s", "t") == "Dataset601_Other"


def test_one_normalisation_for_both_domains():
    assert channel_names(domain("T1", "T2"), domain("T1", "FLAIR"), None) == ({"0": "T1", "1": "T2"}, [])
    assert channel_names(domain("CT"), domain("ct"), None) == ({"0": "CT"}, [])
    names, (warning,) = channel_names(domain("CT"), domain("MR"), None)
    assert names == {"0": "zscore"} and "'CT' in the source (CTNormalization)" in warning
    assert channel_names(domain("CT"), domain("MR"), ["CT"]) == ({"0": "CT"}, [])
    with pytest.raises(DatasetError, match="expected 1 names"):
        channel_names(domain("CT"), domain("MR"), ["CT", "MR"])


def test_the_dataset_json():
    assert dataset_json_of(domain("CT"), {"0": "CT"}, 7) == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "liver": 1, "ignore": 2},
        "numTraining": 7,
        "file_ending": ".nii.gz",
        "pseudo_labels": "target_",
    }
    reader = domain("CT", overwrite_image_reader_writer="NibabelIO", labels={"background": 0, "ignore": 1})
    content = dataset_json_of(reader, {"0": "CT"}, 7)
    assert content["overwrite_image_reader_writer"] == "NibabelIO" and content["labels"]["ignore"] == 1


def test_cases_of_both_domains_may_have_one_name():
    assert target_cases(domain("CT"), domain("MR", images=("a", "b"))) == {"a": "target_a", "b": "target_b"}
    with pytest.raises(DatasetError, match="holds pseudo-labels of an earlier round"):
        target_cases(domain("CT", images=("a", "target_a")), domain("MR"))


@pytest.mark.parametrize("copy", [False, True])
def test_images_get_nnunet_s_names_and_tiffs_their_spacing(tmp_path, copy):
    files = [tmp_path / name for name in ("a_0000.tif", "a_0001.tif", "a.json")]
    for file in files:
        file.write_text(file.name)
    add_images(str(tmp_path / "new"), "target_a", [str(file) for file in files[:2]], ".tif", copy)
    placed = sorted((tmp_path / "new" / "imagesTr").iterdir())
    assert [path.name for path in placed] == ["target_a.json", "target_a_0000.tif", "target_a_0001.tif"]
    assert [path.read_text() for path in placed] == ["a.json", "a_0000.tif", "a_0001.tif"]
    assert all(path.is_symlink() is not copy for path in placed)
