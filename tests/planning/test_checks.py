from __future__ import annotations

import shutil

import pytest
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from planning_pairs import RAS, SOURCE, TARGET, edit_json, write_dataset, write_images

from nnuda.datasets import load_dataset, load_folder
from nnuda.errors import DatasetError, PlanningError
from nnuda.planning.checks import check_dimension, check_domains
from nnuda.planning.warnings import pair_warnings


def check(source: str = SOURCE, target: str = TARGET) -> None:
    check_domains(load_dataset(source), load_dataset(target), SimpleITKIO)


def remake(pair, **changes) -> None:
    shutil.rmtree(pair.raw / TARGET)
    write_dataset(pair.raw, TARGET, labelled=False, **changes)


def test_a_good_pair(pair):
    check()


def test_the_source_itself(pair):
    with pytest.raises(PlanningError, match="is the source"):
        check(SOURCE, SOURCE)
    (pair.raw / "Dataset704_Alias").symlink_to(pair.raw / SOURCE)
    with pytest.raises(PlanningError, match="Dataset704_Alias is the source"):
        check(SOURCE, "Dataset704_Alias")
    with pytest.raises(PlanningError, match="is the source"):
        source = load_dataset(SOURCE)
        check_domains(source, load_folder(str(pair.raw / SOURCE / "imagesTr"), "Other", ["MR"], source), SimpleITKIO)


def test_two_datasets_of_one_number(pair):
    other = (pair.raw / TARGET).rename(pair.raw / "Dataset701_Other")
    with pytest.raises(PlanningError, match="Dataset701_Source and Dataset701_Other have the same, 701, .* Rename the"):
        check(SOURCE, "Dataset701_Other")
    source = load_dataset(SOURCE)
    other.rename(pair.root / "elsewhere")
    as_folder = load_folder(str(pair.root / "elsewhere" / "imagesTr"), "Dataset701_Other", ["MR"], source)
    check_domains(source, as_folder, SimpleITKIO)


def test_another_number_of_channels(pair):
    remake(pair, channel_names=("T1", "T2"))
    with pytest.raises(
        PlanningError, match=r"source Dataset701_Source has 1 \(MR\), target Dataset702_Target 2 \(T1, T2\)"
    ):
        check()


def test_a_case_without_all_its_channels(folders):
    write_dataset(folders.raw, SOURCE, labelled=True, channel_names=("T1", "T2"))
    write_dataset(folders.raw, TARGET, labelled=False, channel_names=("T1", "T2"), seed=3)
    check()
    (folders.raw / TARGET / "imagesTr" / "case1_0001.nii.gz").unlink()
    with pytest.raises(
        PlanningError, match="Case case1 of target Dataset702_Target has 1 image files .*the source's cases have 2"
    ):
        check()
    shutil.rmtree(folders.raw / TARGET)
    write_dataset(folders.raw, TARGET, labelled=False, channel_names=("T1", "T2"), seed=3)
    (folders.raw / SOURCE / "imagesTr" / "case2_0000.nii.gz").rename(
        folders.raw / SOURCE / "imagesTr" / "case2_0002.nii.gz"
    )
    with pytest.raises(
        PlanningError, match="Case case2 of source .*numbered _0000, _0001.*; got case2_0001.nii.gz, case2_0002.nii.gz"
    ):
        check()


def test_channel_names_that_the_files_do_not_keep(pair):
    for dataset in (SOURCE, TARGET):
        edit_json(pair.raw / dataset / "dataset.json", channel_names={"0": "R", "1": "G"})
    with pytest.raises(PlanningError, match="case0_0000.nii.gz: expected 2 channels .R, G., got 1. Correct"):
        check()


@pytest.mark.parametrize(
    "labels, message",
    [
        ({"background": 0, "box": 2}, "'box' is 1 in the source's dataset.json and 2 in the target's"),
        ({"background": 0, "tumour": 1}, "1 is 'box' in the source's dataset.json and 'tumour' in the target's"),
    ],
)
def test_labels_that_clash(pair, labels, message):
    edit_json(pair.raw / TARGET / "dataset.json", labels=labels)
    with pytest.raises(PlanningError, match=message):
        check()


@pytest.mark.parametrize("labels", [{}, {"background": 0}, {"background": 0, "box": 1, "more": 2}])
def test_labels_that_agree_or_are_not_there(pair, labels):
    edit_json(pair.raw / TARGET / "dataset.json", labels=labels)
    check()


def test_another_file_ending(pair):
    for file in (pair.raw / TARGET / "imagesTr").iterdir():
        file.rename(str(file).replace(".nii.gz", ".nrrd"))
    edit_json(pair.raw / TARGET / "dataset.json", file_ending=".nrrd")
    with pytest.raises(
        PlanningError,
        match="Dataset701_Source has .nii.gz, target Dataset702_Target .nrrd.*convert the target's images to .nii.gz",
    ):
        check()


def test_another_reader(pair):
    edit_json(pair.raw / TARGET / "dataset.json", overwrite_image_reader_writer="NibabelIO")
    with pytest.raises(PlanningError, match="reads with SimpleITKIO, target Dataset702_Target with NibabelIO"):
        check()


def test_a_first_image_that_only_another_reader_takes_is_named(pair):
    """nnU-Net chooses a reader by the first image: where that is damaged, it is not the reader that has to be mended."""
    file = pair.raw / TARGET / "imagesTr" / "case0_0000.nii.gz"
    content = bytearray(file.read_bytes())
    content[-8:-4] = b"\1\2\3\4"  # gzip's checksum, which nibabel does not look at
    file.write_bytes(bytes(content))
    with pytest.raises(
        PlanningError, match=f"with NibabelIO. SimpleITKIO fails: {file}: expected an image that nnU-Net"
    ):
        check()


def test_a_low_resolution_axis_at_another_position(pair):
    remake(pair, spacing=(1, 1, 4), shape=(32, 32, 8))
    with pytest.raises(
        PlanningError, match=r"axis 0 in the source .median spacing 4 x 1 x 1 mm., 2 in the target .1 x 1 x 4 mm."
    ):
        check()
    remake(pair, spacing=(1, 1, 1))
    check()


def test_2d_images_and_a_3d_configuration():
    plans, fingerprint = {"plans_name": "nnUNetPlans"}, {"shapes_after_crop": [[1, 30, 30]]}
    check_dimension(["2d"], plans, fingerprint)
    with pytest.raises(PlanningError, match="3d_fullres of plan nnUNetPlans is 3D. Use -c 2d"):
        check_dimension(["2d", "3d_fullres"], plans, fingerprint)


def test_nothing_to_be_cautious_about(pair):
    assert pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO) == []


def test_ct_against_another_modality(pair):
    remake(pair, channel_names=("CT",))
    (text,) = pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO)
    assert "(MR) is normalised with ZScoreNormalization, the target's (CT) with CTNormalization" in text
    assert "--target-channel-names" in text


def test_orientation_codes_that_differ_between_and_within(pair):
    remake(pair, direction=RAS, cases=2)
    (text,) = pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO)
    assert "source LPS (3 cases), target RAS (2 cases)" in text and "NibabelIOWithReorient" in text
    write_images(pair.raw / SOURCE / "imagesTr", cases=1, direction=RAS, prefix="new")
    (text,) = pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO)
    assert "source LPS (3 cases), RAS (1 cases), target RAS (2 cases)" in text


@pytest.mark.parametrize("spacing, first, said", [((5, 1, 1), 1, True), ((5, 1, 1), 0, False), ((1.5, 1, 1), 1, False)])
def test_a_plan_that_cuts_across_the_targets_thick_slices_is_said(folders, spacing, first, said):
    write_dataset(folders.raw, SOURCE, labelled=True, spacing=(0.8, 1, 1))
    write_dataset(folders.raw, TARGET, labelled=False, spacing=spacing)
    plans = {"transpose_forward": [first, *(axis for axis in range(3) if axis != first)], "plans_name": "nnUNetPlans"}
    texts = pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO, plans)
    assert len(texts) == said and all("along axis 1" in text and "-overwrite_plans_name" in text for text in texts)


@pytest.mark.parametrize("names, said", [(("T2", "T1"), True), (("T1", "T2"), False), (("T1", "FLAIR"), False)])
def test_channels_of_the_same_names_in_another_order_are_said(folders, names, said):
    write_dataset(folders.raw, SOURCE, labelled=True, channel_names=("T1", "T2"))
    write_dataset(folders.raw, TARGET, labelled=False, channel_names=names)
    texts = pair_warnings(load_dataset(SOURCE), load_dataset(TARGET), SimpleITKIO)
    assert [text for text in texts if "another order: source T1, T2, target T2, T1" in text] == texts[:1] * said


@pytest.mark.parametrize(
    "damage, message",
    [
        (lambda raw: (raw / SOURCE / "labelsTr" / "case1.nii.gz").unlink(), "Case case1 of the source .* has no label"),
        (lambda raw: (raw / SOURCE / "labelsTr" / "case1.nii.gz").write_bytes(b""), "case1.nii.gz: .*0 bytes"),
        (
            lambda raw: (raw / TARGET / "imagesTr" / "z_0000.nii.gz").symlink_to("/nowhere"),
            "z_0000.nii.gz: .*a link to",
        ),
        (lambda raw: (raw / TARGET / "imagesTr" / "case3_0000.nii.gz").write_bytes(b"x"), "case3_0000.nii.gz: .*NIfTI"),
    ],
)
def test_files_that_are_missing_or_damaged(pair, damage, message):
    damage(pair.raw)
    with pytest.raises(DatasetError, match=message):
        check()


def test_many_damaged_files_are_one_error(pair):
    for i in range(4):
        write_images(pair.raw / TARGET / "imagesTr", cases=2, prefix=f"more{i}")
    for file in (pair.raw / TARGET / "imagesTr").iterdir():
        file.write_bytes(b"")
    with pytest.raises(DatasetError, match="12 cases of the target Dataset702_Target cannot be used") as caught:
        check()
    assert str(caught.value).count("0 bytes") == 5 and str(caught.value).endswith("... and 7 more")
