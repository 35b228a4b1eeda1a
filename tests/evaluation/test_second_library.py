"""The scores of a second library: SimpleITK for Dice, ASSD and HD95, scikit-image's marching cubes for NSD."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage
from skimage.measure import marching_cubes

from nnuda.evaluation.conventions import Rule
from nnuda.evaluation.metrics import mask_metrics

DATA = os.environ.get("nnUDA_DATA")
# Cells whose corners alternate have two triangulations, and the two tables choose differently: on noise up to 0.002.
NSD_TOLERANCE = 3e-3
SPACINGS = [(1.0, 1.0, 1.0), (5.0, 0.75, 0.8)]


def itk_scores(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float, float]:
    # LabelContour takes the border of the image for inside: hence one voxel of background around.
    images = [sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8)) for mask in (reference, prediction)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(*images)
    surfaces = [sitk.LabelContour(image, fullyConnected=False) for image in images]
    maps = [
        sitk.Abs(sitk.SignedMaurerDistanceMap(surface, squaredDistance=False, useImageSpacing=True))
        for surface in surfaces
    ]
    one, other = (
        sitk.GetArrayFromImage(distance)[sitk.GetArrayFromImage(surface) > 0]
        for distance, surface in zip(maps, surfaces[::-1])
    )
    return (
        overlap.GetDiceCoefficient(),
        np.concatenate([one, other]).mean(),
        max(np.percentile(one, 95), np.percentile(other, 95)),
    )


def cell_areas(mask: np.ndarray, spacing: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Area of the surface in each cell between eight voxels, and which cells it passes."""
    volume = np.pad(mask, 1)
    vertices, faces, _, _ = marching_cubes(volume.astype(np.float32), 0.5, spacing=spacing, method="lorensen")
    corners = vertices[faces]
    areas = np.linalg.norm(np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]), axis=1) / 2
    cells = np.zeros([length - 1 for length in volume.shape])
    np.add.at(cells, tuple(np.floor(corners.mean(axis=1) / spacing).astype(int).T), areas)
    windows = np.lib.stride_tricks.sliding_window_view(volume, (2, 2, 2))
    return cells, windows.any(axis=(3, 4, 5)) & ~windows.all(axis=(3, 4, 5))


def marching_cubes_nsd(
    reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], tolerance: float
) -> float:
    (areas_r, surface_r), (areas_p, surface_p) = (cell_areas(mask, spacing) for mask in (reference, prediction))
    to_r, to_p = (ndimage.distance_transform_edt(~surface, sampling=spacing) for surface in (surface_r, surface_p))
    return (areas_r[to_p <= tolerance].sum() + areas_p[to_r <= tolerance].sum()) / (areas_r.sum() + areas_p.sum())


def agrees(reference: np.ndarray, prediction: np.ndarray, spacing: tuple[float, ...], tolerance: float) -> None:
    scores = mask_metrics(reference, prediction, spacing, Rule(tolerance=tolerance))
    dice, assd, hd95 = itk_scores(reference, prediction, spacing)
    assert scores["Dice"] == pytest.approx(dice, abs=1e-6)
    assert (scores["ASSD"], scores["HD95"]) == (pytest.approx(assd, abs=1e-3), pytest.approx(hd95, abs=1e-3))
    nsd = marching_cubes_nsd(reference, prediction, spacing, tolerance)
    assert scores["NSD"] == pytest.approx(nsd, abs=NSD_TOLERANCE)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("seed", range(3))
def test_random_blobs(seed: int, spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.random((12, 24, 20)), 2)
    moved = 0.8 * field + 0.2 * ndimage.gaussian_filter(rng.random(field.shape), 2)
    agrees(field > np.median(field), moved > np.median(moved), spacing, tolerance=1.3)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_noise(spacing: tuple[float, ...]) -> None:
    rng = np.random.default_rng(0)
    reference, prediction = rng.random((8, 12, 10)) < 0.3, rng.random((8, 12, 10)) < 0.2
    scores = mask_metrics(reference, prediction, spacing)
    np.testing.assert_allclose(
        [scores[name] for name in ("Dice", "ASSD", "HD95")], itk_scores(reference, prediction, spacing), atol=1e-3
    )


@pytest.mark.skipif(DATA is None, reason="nnUDA_DATA is not set: the folder with the real MR set")
@pytest.mark.parametrize("label", [1, 2, 3])
def test_real_hearts(label: int) -> None:
    """The reference of one patient against that of another."""
    folder = Path(DATA) / "mscmr" / "labels_val"
    images = [sitk.ReadImage(str(folder / f"patient0{number}.nii.gz")) for number in (2, 3)]
    one, other = (sitk.GetArrayFromImage(image) == label for image in images)
    slices = [slice(0, min(lengths)) for lengths in zip(one.shape, other.shape)]
    agrees(one[tuple(slices)], other[tuple(slices)], images[0].GetSpacing()[::-1], tolerance=3.0)
