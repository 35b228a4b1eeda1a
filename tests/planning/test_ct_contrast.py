"""On real CT, organs have to keep a contrast after the normalisation that is chosen without labels."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.preprocessing.normalization.default_normalization_schemes import CTNormalization

from nnuda.datasets import Domain, find_images
from nnuda.planning.fingerprint import extract_target_fingerprint
from nnuda.planning.normalization import target_normalization

DATA = os.environ.get("nnUDA_DATA")
SETS = {"smoke": ("Dataset521_AbdomenCT", "Dataset521_AbdomenCT/labelsTr"), "sts": ("Dataset512_STSCT", "labels_val")}
MR_SOURCE = {
    "configurations": {"2d": {"normalization_schemes": ["ZScoreNormalization"], "architecture": {}}},
    "foreground_intensity_properties_per_channel": {},
}


def read(file: Path) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.ReadImage(str(file))).astype(np.float32)


@pytest.mark.skipif(DATA is None, reason="nnUDA_DATA is not set: the folder with the real CT sets")
@pytest.mark.parametrize("name", SETS)
def test_organs_keep_a_contrast(name, folders):
    dataset, labels = SETS[name]
    root = Path(DATA) / name
    target = Domain(
        dataset,
        str(root / dataset),
        {"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"},
        find_images(str(root / dataset / "imagesTr"), ".nii.gz"),
    )
    fingerprint = extract_target_fingerprint("Dataset001_MR", target)
    normalization = target_normalization(MR_SOURCE, target.channel_names, fingerprint)
    assert normalization["statistics_from"] == "target images, body"
    normalizer = CTNormalization(intensityproperties=normalization["foreground_intensity_properties_per_channel"]["0"])
    organs, everything = [], []
    for label in sorted((root / labels).glob("*.nii.gz")):
        image = normalizer.run(read(Path(target.images[label.name[:-7]][0])))
        organs.append(image[read(label) > 0])
        everything.append(image.ravel())
    assert np.concatenate(organs).std() >= 0.1
    assert np.median([values.std() for values in organs]) >= 0.1
    assert np.percentile(np.concatenate(organs), 1) > np.concatenate(everything).min(), (
        "organs must not be clipped to the floor"
    )
