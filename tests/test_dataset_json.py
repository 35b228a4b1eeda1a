from __future__ import annotations

import json

import pytest
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnuda.dataset_json import check_case_name, overpainted_regions, read_dataset_json
from nnuda.errors import DatasetError, NnudaError

GOOD = {
    "channel_names": {"0": "MR"},
    "labels": {"background": 0, "LV": 1, "RV": 2},
    "file_ending": ".nii.gz",
    "numTraining": 3,
}


def read(folder, labelled=True, without=(), **changes):
    file = folder / "dataset.json"
    file.write_text(json.dumps({**{k: v for k, v in GOOD.items() if k not in without}, **changes}))
    return read_dataset_json(str(file), labelled)


def refused(folder, message, labelled=True, **changes):
    with pytest.raises(NnudaError, match=message) as caught:
        read(folder, labelled, **changes)
    assert str(folder / "dataset.json") in str(caught.value) and len(str(caught.value)) < 800


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"without": ["file_ending"]}, "'file_ending' is a required property"),
        ({"file_ending": 3}, "file_ending: 3 is not of type 'string'"),
        ({"file_ending": "nii.gz"}, "file_ending: nnU-Net reads .*got 'nii.gz'"),
        ({"file_ending": ".dcm"}, "file_ending: nnU-Net reads .*nii.gz.*got '.dcm'"),
        ({"without": ["channel_names"]}, 'expected "channel_names"'),
        ({"channel_names": ["MR"]}, "channel_names: expected an object"),
        ({"channel_names": {}}, "channel_names"),
        ({"channel_names": {"0": 1}}, "channel_names.0: 1 is not of type 'string'"),
        ({"channel_names": {"1": "T2", "0": "T1"}}, r'the channels "0", "1", ... in order; got \[\'1\', \'0\'\]'),
        ({"channel_names": {"1": "T1"}}, "in order"),
        ({"modality": {"0": "MR", "1": "T2"}}, '"modality" and "channel_names" name different channels'),
        ({"overwrite_image_reader_writer": "NoSuchIO"}, "no reader 'NoSuchIO'; expected one of .*NibabelIO"),
        ({"overwrite_image_reader_writer": 5}, "overwrite_image_reader_writer: 5 is not of type 'string'"),
        ({"dataset": [1]}, r"dataset: \[1\] is not of type 'object'"),
        ({"dataset": {"a": {"label": "x"}}}, "dataset.a: 'images' is a required property"),
        ({"dataset": {"a": {"images": "x"}}}, "dataset.a.images: 'x' is not of type 'array'"),
        ({"dataset": {}}, "dataset"),
        ({"labels": ["background", "LV"]}, r"labels: \['background', 'LV'\] is not of type 'object'"),
        ({"labels": {"0": "background", "1": "LV"}}, "labels are written the wrong way round"),
        ({"labels": {"background": 0, "LV": "1"}}, "labels.LV: '1' is not of type 'integer', 'array'"),
        ({"labels": {"background": 0, "LV": -1}}, "labels.LV"),
        ({"labels": {"background": 0, "LV": 0.5}}, "labels.LV"),
        ({"labels": {"background": 0, "LV": True}}, "labels.LV"),
        ({"labels": {"background": 0, "LV": []}}, "labels.LV"),
    ],
)
def test_what_forbids_either_domain(tmp_path, changes, message):
    for labelled in (True, False):
        refused(tmp_path, message, labelled, **changes)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"without": ["numTraining"]}, "numTraining: expected the number of training cases.*got None"),
        ({"numTraining": "3"}, "numTraining"),
        ({"numTraining": 0}, "numTraining"),
        ({"without": ["labels"]}, 'expected "labels"'),
        ({"labels": {}}, 'expected "labels"'),
        ({"labels": {"LV": 1, "RV": 2}}, 'expected "background": 0, got no background'),
        ({"labels": {"background": 1, "LV": 0}}, 'expected "background": 0, got 1'),
        ({"labels": {"background": [0], "LV": 1}}, 'expected "background": 0'),
        ({"labels": {"background": 0}}, "a class besides the background"),
        ({"labels": {"background": 0, "ignore": 1}}, "a class besides the background"),
        ({"labels": {"background": 0, "LV": 1, "RV": 1}}, r"'LV' and 'RV' have one value, \[1\]"),
        ({"labels": {"background": 0, "LV": 0}}, r"'background' and 'LV' have one value, \[0\]"),
        ({"labels": {"background": 0, "LV": 1, "RV": 3}}, r"consecutive values from 0, but \[2\] are missing"),
        ({"labels": {"background": 0, "LV": 1, "ignore": 2, "RV": 3}}, '"ignore" has to be the highest value; got 2'),
        ({"labels": {"background": 0, "LV": 1, "ignore": 3}}, '"ignore" has to be the highest value, 2; got 3'),
        ({"labels": {"background": 0, "LV": 1, "ignore": [2]}}, '"ignore" has to be one number'),
        ({"labels": {"background": 0, "LV": 1.0}}, "labels.LV: 1.0 is not of type 'integer'"),
        ({"labels": {"background": 0, "LV": 1, "RV": 10**15}}, r"consecutive values from 0, but \[2\] are missing"),
        ({"labels": {"background": 0, "LV": 1, "RV": 10**30}}, "is not of type 'integer'"),
        (
            {"labels": {"background": 0, "all": [0, 1], "RV": 1}, "regions_class_order": [1, 1]},
            "0 is the background; expected regions without it, got it in all",
        ),
        ({"labels": {"background": 0, "heart": [1, 2], "RV": [2]}}, "need regions_class_order"),
        (
            {"labels": {"background": 0, "heart": [1, 2], "RV": [2]}, "regions_class_order": [1]},
            r"regions_class_order: expected 2 values, one a region \(heart, RV\)",
        ),
        (
            {"labels": {"background": 0, "heart": [1, 2], "RV": 2}, "regions_class_order": [1, 7]},
            "values of the regions",
        ),
        ({"labels": {"background": 0, "heart": [1, 2], "RV": 2}, "regions_class_order": [1, 1]}, "each once"),
        ({"labels": {"background": 0, "heart": [1, 2], "RV": 2}, "regions_class_order": "x"}, "regions_class_order"),
        ({"dataset": {"a": {"images": ["x"]}}}, "expected a label file of the case 'a'"),
    ],
)
def test_what_forbids_a_source_alone(tmp_path, changes, message):
    refused(tmp_path, message, **changes)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"labels": {"background": 0, "LV": 1, "ignore": 2}},
        {
            "labels": {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "middle": 3},
            "regions_class_order": [1, 2, 3],
        },
        {"labels": {"background": 0, "LV": [1], "RV": [2]}},
        {"without": ["channel_names"], "modality": {"0": "CT"}},
        {"overwrite_image_reader_writer": "NibabelIOWithReorient", "file_ending": ".nii"},
        {"overwrite_image_reader_writer": "None", "numTraining": 7, "name": "x", "licence": None},
        {"file_ending": ".PNG"},
        {"dataset": {"a b-1.2": {"images": ["$X/a_0000.nii.gz"], "label": "../l.nii.gz"}}},
    ],
)
def test_what_nnunet_takes_is_taken(tmp_path, changes):
    content = read(tmp_path, **changes)
    LabelManager(content["labels"], content.get("regions_class_order"))


def test_a_target_needs_no_labels(tmp_path):
    assert "labels" not in read(tmp_path, labelled=False, without=["labels"])


@pytest.mark.parametrize(
    "raw, message",
    [
        (b"", "an empty file"),
        (b'{"channel_names": {"0": "MR"},', "no JSON .line 1"),
        (b"[1]", "is not of type 'object'"),
        (b"\xef\xbb\xbf{}", "byte order mark"),
        ("{}".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_damaged_file(tmp_path, raw, message):
    (tmp_path / "dataset.json").write_bytes(raw)
    with pytest.raises(NnudaError, match=message):
        read_dataset_json(str(tmp_path / "dataset.json"), True)


@pytest.mark.parametrize("name", ["../evil", "a/b", "a\\b", "", ".", "..", "a\nb", "\x1b[31mx"])
def test_case_names_that_lead_elsewhere(tmp_path, name):
    with pytest.raises(DatasetError, match="cannot be a file's name") as caught:
        check_case_name(name, "here")
    assert "\x1b" not in str(caught.value)
    with pytest.raises(DatasetError, match="cannot be a file's name"):
        read(tmp_path, labelled=False, dataset={name: {"images": ["x"]}})


@pytest.mark.parametrize("name, message", [("._a", "begins with a dot"), ("a_seg", "ends with _seg")])
def test_case_names_that_nnunet_passes_over(name, message):
    with pytest.raises(DatasetError, match=message):
        check_case_name(name, "here")


@pytest.mark.parametrize("name", ["case_1", "a b", "Fälle-日本", "a.b", "s_0001_seg1"])
def test_case_names_that_users_have(name):
    check_case_name(name, "here")


def test_regions_that_are_painted_over():
    regions = {"background": 0, "core": [2], "whole": [1, 2], "ignore": 3}
    assert overpainted_regions({"labels": regions}) == ["core is covered by whole"]
    assert not overpainted_regions({"labels": {"background": 0, "whole": [1, 2], "core": [2]}})
    assert not overpainted_regions({"labels": {"background": 0, "a": 1, "b": 2}})
