from __future__ import annotations

import numpy as np
import pytest
from nnunetv2.imageio.nibabel_reader_writer import NibabelIO, NibabelIOWithReorient
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from planning_pairs import LPS, RAS, write_images, write_nifti

from nnuda.datasets import Domain, find_images
from nnuda.planning.geometry import geometry_facts, low_resolution_axis, orientations, spacings


def domain(folder) -> Domain:
    return Domain("X", str(folder), {"file_ending": ".nii.gz"}, find_images(str(folder), ".nii.gz"))


@pytest.mark.parametrize(
    "spacing, axis", [((5, 1, 1), 0), ((1, 1, 5), 2), ((3, 1, 1), None), ((3.01, 1, 0.5), 0), ((1, 1, 1), None)]
)
def test_low_resolution_axis_by_nnunets_threshold(spacing, axis):
    assert low_resolution_axis(np.array(spacing, float)) == axis


def test_orientation_codes_of_headers(tmp_path):
    write_images(tmp_path, cases=2, direction=LPS, prefix="a")
    write_images(tmp_path, cases=1, direction=RAS, prefix="b")
    assert (
        orientations(domain(tmp_path), SimpleITKIO) == orientations(domain(tmp_path), NibabelIO) == {"LPS": 2, "RAS": 1}
    )
    assert not orientations(domain(tmp_path), NibabelIOWithReorient), "that reader turns every image to RAS"


@pytest.mark.parametrize("reader", [SimpleITKIO, NibabelIO])
def test_spacings_are_what_the_reader_gives(tmp_path, reader):
    write_images(tmp_path, cases=2, spacing=(5, 0.5, 0.7))
    assert np.allclose(spacings(domain(tmp_path), reader), [[5, 0.5, 0.7]] * 2)


def test_2d_images(tmp_path):
    write_nifti(tmp_path / "a_0000.nii.gz", np.ones((8, 9), np.float32), (2.0, 1.5), (1, 0, 0, 1))
    assert np.allclose(spacings(domain(tmp_path), SimpleITKIO), [[2 * 999, 2, 1.5]])
    assert not orientations(domain(tmp_path), SimpleITKIO)


def test_facts(tmp_path):
    write_images(tmp_path, cases=2)
    fingerprint = {"spacings": [[4, 1, 1], [6, 1, 1]], "shapes_after_crop": [[8, 30, 32], [10, 32, 34]]}
    assert geometry_facts(fingerprint, orientations(domain(tmp_path), SimpleITKIO)) == {
        "median_spacing": [5, 1, 1],
        "median_shape": [9, 31, 33],
        "low_resolution_axis": 0,
        "orientation": "LPS",
    }
