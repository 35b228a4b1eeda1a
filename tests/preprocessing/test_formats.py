"""What else nnU-Net deployments are made of: old plans, natural images, regions, an ignore label, other readers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from nnunetv2.training.dataloading.nnunet_dataset import infer_dataset_class
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from planning_pairs import RAS, SOURCE, TARGET, Folders, box, edit_json, write_dataset
from skimage import io

from nnuda.cli.plan_and_preprocess import main
from nnuda.plan_key import KEY

PAIR = ["-d", "701", "-t", "702", "-np", "1"]


def load(folder: Path, case: str = "case0") -> tuple[np.ndarray, np.ndarray, dict]:
    image, label, _, properties = infer_dataset_class(str(folder))(str(folder)).load_case(case)
    return image[:], label[:], properties


def to_old_format(plans: dict) -> dict:
    """A plan as nnU-Net 2.0 to 2.3 wrote it: no "architecture"."""
    for configuration in plans["configurations"].values():
        kwargs = configuration.pop("architecture")["arch_kwargs"]
        configuration.update(
            UNet_class_name="PlainConvUNet",
            UNet_base_num_features=32,
            unet_max_num_features=512,
            num_pool_per_axis=[2, 2],
            n_conv_per_stage_encoder=kwargs["n_conv_per_stage"],
            n_conv_per_stage_decoder=kwargs["n_conv_per_stage_decoder"],
            pool_op_kernel_sizes=kwargs["strides"],
            conv_kernel_sizes=kwargs["kernel_sizes"],
        )
    plans["foreground_intensity_properties_by_modality"] = plans.pop("foreground_intensity_properties_per_channel")
    return plans


@pytest.mark.filterwarnings("ignore:Detected old nnU-Net plans format")
def test_an_old_plan(stock):
    old = to_old_format(stock.plan())
    (stock.of_source / "nnUNetPlans.json").write_text(json.dumps(old))
    main(PAIR)
    extended = stock.plan()
    key = extended.pop(KEY)
    assert extended == old, "an old plan stays in its format"
    assert key["memory"]["expected_gb_per_configuration"]["2d"] > 0
    image, mask, properties = load(stock.of_target / "nnUNetPlans_2d")
    assert (
        image.mean() == pytest.approx(0, abs=1e-3)
        and set(np.unique(mask)) == {0}
        and properties["class_locations"] == {}
    )


def write_natural(
    folders: Folders, name: str, ending: str, labelled: bool, channel: tuple[str, ...], seed: int
) -> None:
    """2D images; three channel names are one RGB file."""
    rng = np.random.default_rng(seed)
    shape = (40, 48)
    folder = folders.raw / name
    for part in ("imagesTr", "labelsTr") if labelled else ("imagesTr",):
        (folder / part).mkdir(parents=True)
    for i in range(3):
        image = rng.integers(50, 200, (*shape, 3) if len(channel) == 3 else shape).astype(np.uint8)
        io.imsave(folder / "imagesTr" / f"case{i}_0000{ending}", image, check_contrast=False)
        if labelled:
            label = np.zeros(shape, np.uint8)
            label[box(shape)] = 1
            io.imsave(folder / "labelsTr" / f"case{i}{ending}", label, check_contrast=False)
    (folder / "dataset.json").write_text(
        json.dumps(
            {
                "channel_names": {str(i): c for i, c in enumerate(channel)},
                "labels": {"background": 0, "box": 1},
                "numTraining": 3,
                "file_ending": ending,
            }
        )
    )


@pytest.mark.parametrize("ending, channel", [(".png", ("R", "G", "B")), (".tif", ("gray",))])
def test_natural_images(folders, ending, channel):
    write_natural(folders, SOURCE, ending, True, channel, 0)
    write_natural(folders, TARGET, ending, False, channel, 1)
    main(PAIR)
    plans = folders.plan()
    assert list(plans["configurations"]) == ["2d"] and plans["image_reader_writer"] == "NaturalImage2DIO"
    assert plans[KEY]["geometry"]["target"]["orientation"] is None
    image, mask, _ = load(folders.of_target / "nnUNetPlans_2d")
    assert image.shape == (len(channel), 1, 40, 48) and mask.shape == (1, 1, 40, 48)


@pytest.mark.parametrize(
    "labels, extra, locations",
    [
        ({"background": 0, "whole": [1, 2], "core": 2}, {"regions_class_order": [1, 2]}, {(1, 2), 2}),
        ({"background": 0, "box": 1, "ignore": 2}, {}, {1, (-1, 0, 1)}),
    ],
)
@pytest.mark.slow
def test_regions_and_ignore_label(folders, labels, extra, locations):
    write_dataset(folders.raw, SOURCE, labelled=True, labels=labels, extra=extra)
    write_dataset(folders.raw, TARGET, labelled=False, labels=labels, seed=1)
    main([*PAIR, "-c", "2d"])
    _, label, properties = load(folders.of_source / "nnUNetPlans_2d")
    assert set(properties["class_locations"]) == locations and set(np.unique(label)) == {0, 1}
    assert load(folders.of_target / "nnUNetPlans_2d")[2]["class_locations"] == {}


def test_several_channels_with_schemes_of_their_own(folders):
    write_dataset(folders.raw, SOURCE, labelled=True, channel_names=("T1", "CT"))
    write_dataset(folders.raw, TARGET, labelled=False, channel_names=("noNorm", "CT"), seed=1)
    main([*PAIR, "-c", "2d"])
    normalization = folders.plan()[KEY]["target"]["normalization"]
    assert normalization["normalization_schemes"] == ["NoNormalization", "CTNormalization"]
    assert (
        normalization["foreground_intensity_properties_per_channel"]["1"]
        == folders.plan()["foreground_intensity_properties_per_channel"]["1"]
    )
    image, _, _ = load(folders.of_target / "nnUNetPlans_2d")
    assert image[0].mean() > 90 and abs(image[1].mean()) < 20


def test_a_reader_that_reorients_takes_the_orientation_warning_away(folders, capsys):
    for name, labelled, direction in ((SOURCE, True, RAS), (TARGET, False, (1, 0, 0, 0, 1, 0, 0, 0, 1))):
        write_dataset(folders.raw, name, labelled=labelled, direction=direction)
    for name in (SOURCE, TARGET):
        edit_json(folders.raw / name / "dataset.json", overwrite_image_reader_writer="NibabelIOWithReorient")
    main([*PAIR, "-c", "2d"])
    assert "Orientation" not in capsys.readouterr().out
    source, target = load(folders.of_source / "nnUNetPlans_2d")[0], load(folders.of_target / "nnUNetPlans_2d")[0]
    assert not np.allclose(source, target), "same noise, two orientations: the reader turned one of them"
    assert np.allclose(source, target[..., ::-1, ::-1], atol=1e-4)


@pytest.mark.slow
def test_3d_target_of_another_spacing(folders):
    write_dataset(folders.raw, SOURCE, labelled=True, shape=(12, 24, 24), spacing=(2, 1, 1))
    write_dataset(folders.raw, TARGET, labelled=False, shape=(12, 24, 24), spacing=(2, 2, 2), seed=1)
    main([*PAIR, "-c", "3d_fullres"])
    spacing = PlansManager(folders.plan()).get_configuration("3d_fullres").spacing
    assert spacing == [2, 1.5, 1.5]
    assert load(folders.of_source / "nnUNetPlans_3d_fullres")[0].shape == (1, 12, 16, 16)
    assert load(folders.of_target / "nnUNetPlans_3d_fullres")[0].shape == (1, 12, 32, 32)
