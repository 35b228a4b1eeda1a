"""What the source's labels say, from labels that are made so."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO

from nnuda.selftraining.source_anatomy import (
    LabelError,
    class_values,
    ignore_value,
    measure_case,
    priors_of,
)


def test_a_case_is_measured_in_mm(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:3, 1:3, 1:3] = 1  # 8 voxels
    labels[4, 4, 4] = 1  # apart
    labels[0, 0, :2] = 2  # at the border
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((1.0, 1.0, 2.0))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    measured = measure_case(SimpleITKIO, str(tmp_path / "a.nii.gz"), [1, 2, 3])
    assert measured == {1: (18.0, pytest.approx(8 / 9), False), 2: (4.0, 1.0, True)}


def test_cases_together():
    cases = [{1: (8.0, 1.0, False), 2: (8.0, 0.5, True)}] * 5
    priors = priors_of([*cases, {1: (8.0, 1.0, False)}], {1: "a", 2: "b", 3: "c"}, 3.0)
    assert priors[1].in_one_piece and priors[1].always_there and priors[1].volumes == pytest.approx((4, 16))
    assert (priors[2].in_one_piece, priors[2].always_there, priors[2].volumes) == (False, False, None)
    assert (priors[3].in_one_piece, priors[3].always_there, priors[3].volumes) == (False, False, None)
    without = priors_of(cases, {1: "a"}, 0.0)[1]
    assert without.in_one_piece and not without.always_there and without.volumes is None


def test_values_of_classes_and_regions():
    classes = {"labels": {"background": 0, "b": 2, "a": 1}}
    assert class_values(classes) == {1: "a", 2: "b"} and ignore_value(classes) == 3
    assert ignore_value({"labels": {"background": 0, "a": 1, "ignore": 2}}) == 2
    regions = {"labels": {"background": 0, "whole": [1, 2], "core": [2]}, "regions_class_order": [1, 2]}
    assert class_values(regions) == {1: "whole", 2: "core"} and ignore_value(regions) == 3


def test_labels_that_nnunet_refuses():
    with pytest.raises(LabelError, match="without a gap"):
        class_values({"labels": {"background": 0, "a": 2}})
    with pytest.raises(LabelError, match="regions_class_order"):
        class_values({"labels": {"background": 0, "whole": [1, 2], "core": [2]}})
