"""A plan by which nnU-Net cannot work is one error that names the entry, before anything is done by it."""

from __future__ import annotations

from copy import deepcopy

import pytest
from whole_plan import whole_plan

from nnuda.errors import NnudaError
from nnuda.plan_check import check_to_train

DATASET_JSON = {"channel_names": {"0": "MR"}, "labels": {"background": 0, "heart": 1}, "file_ending": ".nii.gz"}
HU = {"mean": 40.0, "std": 300.0, "percentile_00_5": -900.0, "percentile_99_5": 1000.0}


def of_2d(**changes: object):
    return lambda plans: plans["configurations"]["2d"].update(changes)


def of_plan(**changes: object):
    return lambda plans: plans.update(changes)


def strides(*strides: list[int], **changes: object):
    def change(plans: dict) -> None:
        of_2d(**changes)(plans)
        plans["configurations"]["2d"]["architecture"]["arch_kwargs"]["strides"] = list(strides)

    return change


OLD = {
    "UNet_class_name": "PlainConvUNet",
    "UNet_base_num_features": 4,
    "n_conv_per_stage_encoder": [1, 1],
    "n_conv_per_stage_decoder": [1],
    "num_pool_per_axis": [1, 1],
    "pool_op_kernel_sizes": [[1, 1], [2, 2]],
    "conv_kernel_sizes": [[3, 3], [3, 3]],
    "unet_max_num_features": 8,
}


def no_architecture(**instead: object):
    """A plan without one, or as nnU-Net's first versions wrote it."""

    def change(plans: dict) -> None:
        del plans["configurations"]["2d"]["architecture"]
        of_2d(**instead)(plans)

    return change


def resampling(what: str, **changes: object):
    return lambda plans: plans["configurations"]["2d"][f"resampling_fn_{what}_kwargs"].update(changes)


def ct(*missing: str, **changes: object):
    """A plan for CT, whose statistics count."""

    def change(plans: dict) -> None:
        of_2d(normalization_schemes=["CTNormalization"])(plans)
        statistics = {name: value for name, value in (HU | changes).items() if name not in missing}
        plans["foreground_intensity_properties_per_channel"] = {"0": statistics}

    return change


@pytest.mark.parametrize(
    "change",
    [
        of_2d(),
        ct(),
        no_architecture(**OLD),
        strides([1, 1], [2, 2], [2, 2], [2, 1], patch_size=[24, 4]),
        of_2d(
            architecture={"network_class_name": "x", "arch_kwargs": {}, "_kw_requires_import": []}, patch_size=[7, 7]
        ),
        of_plan(transpose_forward=[1, 2, 0], transpose_backward=[2, 0, 1]),
        of_plan(foreground_intensity_properties_per_channel={"0": {"mean": float("nan")}}),  # which nothing reads
    ],
)
def test_a_plan_to_train_by(change):
    plans = whole_plan("Dataset001_A", "p")
    change(plans)
    before = deepcopy(plans)
    check_to_train(plans, "2d", DATASET_JSON)
    assert repr(plans) == repr(before)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            strides([1, 1], [2, 2], [2, 2], [2, 1], patch_size=[20, 16]),
            r"patch_size \[20, 16\], which the network's strides \(8 x 4 in all\) do not divide",
        ),
        (of_2d(patch_size=[8, 16, 16]), r"spacing \[1.0, 1.0\] and patch_size \[8, 16, 16\] differ in their axes"),
        (strides([1, 1, 1], [2, 2, 2]), r"patch_size \[16, 16\] and strides of 3 axes"),
        (of_2d(spacing=[float("inf"), 1.0]), "spacing.0: expected a finite number"),
        (of_plan(transpose_forward=[0, 0, 0]), "transpose_forward: .* non-unique"),
        (of_plan(transpose_forward=[0, 1, 3]), "transpose_forward.2: 3 is greater than the maximum"),
        (of_plan(transpose_forward=[0.0, 1, 2]), "transpose_forward.0: 0.0 is not of type 'integer'"),
        (of_plan(transpose_forward="012"), "transpose_forward: '012' is not of type 'array'"),
        (
            of_plan(transpose_forward=[1, 2, 0], transpose_backward=[1, 2, 0]),
            r"transpose_backward \[1, 2, 0\], which does not undo transpose_forward \[1, 2, 0\]",
        ),
        (of_plan(image_reader_writer="NoSuch"), "image_reader_writer: nnU-Net has no reader NoSuch"),
        (of_plan(label_manager="NoSuch"), "label_manager: nnU-Net has no NoSuch"),
        (of_2d(preprocessor_name="NoSuch"), "nnU-Net has no preprocessor NoSuch"),
        (of_2d(normalization_schemes=["NoSuch"]), "nnU-Net has no normalisation NoSuch"),
        (of_2d(normalization_schemes=["np"]), "nnU-Net has no normalisation np"),  # a module that the file imports
        (of_2d(use_mask_for_norm=[True, False]), "1 normalization_schemes, and use_mask_for_norm of 2 channels"),
        (of_2d(resampling_fn_data="no_such"), "resampling_fn_data, which fails on an image .*no_such"),
        (of_2d(resampling_fn_seg_kwargs={"odd": 1}), "resampling_fn_seg, which fails on an image .*TypeError.*odd"),
        (
            of_2d(resampling_fn_probabilities_kwargs={"is_seg": False, "order": "x", "force_separate_z": False}),
            "resampling_fn_probabilities, which fails on an image",
        ),
        (resampling("data", order=99), "resampling_fn_data, which fails on an image"),
        (resampling("data", order_z=99), "resampling_fn_data, which fails on an image"),
        (resampling("seg", order=99), "resampling_fn_seg, which fails on an image"),
        (resampling("seg", order_z=99), "resampling_fn_seg, which fails on an image"),
        (no_architecture(), "configurations.2d: no architecture, nor .*'UNet_class_name' is a required property"),
        (no_architecture(**OLD | {"UNet_class_name": "NoSuch"}), "no architecture, nor .*'NoSuch' is not one of"),
        (
            no_architecture(**OLD | {"conv_kernel_sizes": 3}),
            "no architecture, nor .*conv_kernel_sizes: 3 is not of type",
        ),
        (of_2d(resampling_fn_data_kwargs=[]), r"resampling_fn_data_kwargs: \[\] is not of type 'object'"),
        (of_2d(batch_dice="yes"), "batch_dice: 'yes' is not of type 'boolean'"),
        (of_plan(foreground_intensity_properties_per_channel={}), "no foreground_intensity_properties_per_channel.0"),
        (
            of_plan(foreground_intensity_properties_per_channel={"0": {"mean": "x"}}),
            "foreground_intensity_properties_per_channel.0.mean: 'x' is not of type",
        ),
        (ct(std=0.0), "channel.0: std: 0.0 is less than or equal to the minimum of 0"),
        (ct(mean=float("nan")), "channel.0: mean: expected a finite number, not NaN"),
        (ct(percentile_00_5=2000.0), "channel.0: percentile_00_5 2000.0 and percentile_99_5 1000.0"),
        (ct("percentile_99_5"), "channel.0: 'percentile_99_5' is a required property"),
    ],
)
def test_a_plan_that_nnunet_cannot_work_by(change, says):
    plans = whole_plan("Dataset001_A", "p")
    change(plans)
    with pytest.raises(NnudaError, match=f"Dataset001_A/p.json: expected a plan of nnU-Net's; got .*{says}.* Take"):
        check_to_train(plans, "2d", DATASET_JSON)


def test_half_a_plan():
    with pytest.raises(NnudaError, match="expected a plan of nnU-Net's; got 'dataset_name' is a required property"):
        check_to_train({}, "2d", DATASET_JSON)
    plans = whole_plan("Dataset001_A", "p")
    with pytest.raises(NnudaError, match="A/p.json: Plan p, configuration 3d: expected one that is there; got 3d, and"):
        check_to_train(plans, "3d", DATASET_JSON)
    del plans["configurations"]["2d"]["resampling_fn_data_kwargs"]
    with pytest.raises(NnudaError, match="A/p.json: Plan p, configuration 2d: .* it has no resampling_fn_data_kwargs"):
        check_to_train(plans, "2d", DATASET_JSON)


@pytest.mark.parametrize(
    ("dataset_json", "says"),
    [
        ([], "dataset.json: expected a dataset.json of nnU-Net's; got .* is not of type 'object'"),
        ({}, 'dataset.json: expected "channel_names"'),
        ({**DATASET_JSON, "labels": {"background": 0, "heart": "x"}}, "dataset.json: .*labels.heart"),
        ({**DATASET_JSON, "labels": {"background": 0, "heart": 2}}, "dataset.json: labels: expected consecutive"),
        (
            {**DATASET_JSON, "channel_names": {"0": "T1", "1": "T2"}},
            "as many channels as .*dataset.json names, 2; got .* 1",
        ),
    ],
)
def test_the_dataset_json_beside_it(dataset_json, says):
    with pytest.raises(NnudaError, match=says):
        check_to_train(whole_plan("Dataset001_A", "p"), "2d", dataset_json)
