"""Definitions of the scores: closed forms, and a naive loop over voxels."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from nnuda.evaluation.conventions import Rule
from nnuda.evaluation.metrics import case_metrics, mask_metrics, surface_dice, surface_distances

FOREGROUND = {"organ": 1}
NAIVE = ("Dice", "ASSD", "HD95")


def box(shape: tuple[int, ...], start: tuple[int, ...], size: int) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[tuple(slice(s, s + size) for s in start)] = True
    return mask


def naive_surface(mask: np.ndarray) -> list[tuple[int, ...]]:
    surface = []
    for voxel in zip(*np.nonzero(mask)):
        for axis, step in itertools.product(range(mask.ndim), (-1, 1)):
            neighbour = list(voxel)
            neighbour[axis] += step
            if not 0 <= neighbour[axis] < mask.shape[axis] or not mask[tuple(neighbour)]:
                surface.append(voxel)
                break
    return surface


def naive_scores(a: np.ndarray, b: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float, float]:
    def directed(one: list, other: list) -> list[float]:
        return [min(math.dist(np.multiply(p, spacing), np.multiply(q, spacing)) for q in other) for p in one]

    surface_a, surface_b = naive_surface(a), naive_surface(b)
    ab, ba = directed(surface_a, surface_b), directed(surface_b, surface_a)
    dice = 2 * (a & b).sum() / (a.sum() + b.sum())
    return dice, sum(ab + ba) / len(ab + ba), max(np.percentile(ab, 95), np.percentile(ba, 95))


@pytest.mark.parametrize("shape, spacing", [((14, 11), (1, 1)), ((12, 15), (0.7, 2.5)), ((6, 9, 8), (5, 0.75, 0.8))])
@pytest.mark.parametrize("seed", [0, 1])
def test_equals_a_naive_loop(shape: tuple[int, ...], spacing: tuple[float, ...], seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = rng.random(shape) < 0.3, rng.random(shape) < 0.2
    a[tuple(slice(2, 5) for _ in shape)] = True  # something with an inside
    scores = mask_metrics(a, b, spacing)
    np.testing.assert_allclose([scores[m] for m in NAIVE], naive_scores(a, b, spacing), rtol=1e-6)


def test_equals_the_library_s_own_reductions() -> None:
    a, b = box((20, 21, 9), (3, 4, 2), 5), box((20, 21, 9), (5, 3, 1), 6)
    scores = mask_metrics(a, b, (0.8, 0.9, 3.0))
    options = {"y_pred": b[None, None], "y": a[None, None], "include_background": True}
    assert scores["ASSD"] == pytest.approx(
        compute_average_surface_distance(**options, symmetric=True, spacing=(0.8, 0.9, 3.0)).item(), rel=1e-6
    )
    assert scores["HD95"] == pytest.approx(
        compute_hausdorff_distance(**options, percentile=95, spacing=(0.8, 0.9, 3.0)).item(), rel=1e-6
    )


@pytest.mark.parametrize(
    "spacing, inside", [((0.5, 2.0, 3.0), 64 * 0.5), ((5.0, 1.0, 1.0), 28 * 1 + 20 * 2 + 12 * 3 + 4 * 4)]
)
def test_cubes_shifted_by_one_voxel(spacing: tuple[float, ...], inside: float) -> None:
    """Of the 10^3 - 8^3 surface voxels of each cube the near face (100) is one step away from the other cube; the inner
    64 of the far face lie inside the other cube, their distance is that to its nearest side; the rest lies on both."""
    a, b = box((16, 14, 14), (2, 2, 2), 10), box((16, 14, 14), (3, 2, 2), 10)
    scores = mask_metrics(a, b, spacing)
    assert scores["Dice"] == pytest.approx(0.9)
    assert scores["ASSD"] == pytest.approx((100 * spacing[0] + inside) / (1000 - 512))
    assert scores["HD95"] == pytest.approx(spacing[0])


def test_hd95_is_the_larger_directed_percentile_not_the_pooled_one() -> None:
    reference = np.zeros((40, 100), dtype=bool)
    reference[5] = True  # a line of 100 pixels: all of them are surface
    prediction = reference.copy()
    prediction[25, :16:2] = True  # 8 of 108 lie 20 rows away: 7 % of one side, but 4 % of both
    scores = mask_metrics(reference, prediction, (1.5, 1.0))
    assert scores["HD95"] == pytest.approx(30.0)
    assert scores["ASSD"] == pytest.approx(8 * 30.0 / 208)


def test_equal_masks() -> None:
    mask = box((9, 9), (0, 0), 5)
    scores = mask_metrics(mask, mask, (1, 1))
    assert (scores["Dice"], scores["ASSD"], scores["HD95"], scores["empty"]) == (1, 0, 0, "none")


def test_the_image_border_is_surface() -> None:
    full = np.ones((5, 5), dtype=bool)
    to_other, _ = surface_distances(full, full, (1, 1))
    assert len(to_other) == 16


@pytest.mark.parametrize(
    "n_reference, n_prediction, dice, empty",
    [(0, 0, math.nan, "both"), (3, 0, 0.0, "prediction"), (0, 3, 0.0, "reference")],
)
def test_empty_masks_never_flatter(n_reference: int, n_prediction: int, dice: float, empty: str) -> None:
    masks = [np.arange(25).reshape(5, 5) < n for n in (n_reference, n_prediction)]
    scores = mask_metrics(*masks, (1, 1))
    assert scores["empty"] == empty
    np.testing.assert_equal([scores[m] for m in (*NAIVE, "NSD")], [dice, math.nan, math.nan, dice])


def test_symmetric_in_reference_and_prediction() -> None:
    a, b = box((20, 20), (2, 2), 9), box((20, 20), (6, 3), 5)
    one, other = mask_metrics(a, b, (1, 2)), mask_metrics(b, a, (1, 2))
    assert [one[m] for m in (*NAIVE, "NSD")] == [other[m] for m in (*NAIVE, "NSD")]
    assert one["VD"] == -other["VD"] < 0


def test_nsd_of_a_square_moved_by_one_pixel() -> None:
    """An outline of four sides of 8 and four bevelled corners. Apart from the other outline lie one side with its
    corners and the opposite side, whose corners lie on the other outline's sides."""
    a, b = box((20, 20), (5, 5), 9), box((20, 20), (6, 5), 9)
    corner = math.sqrt(0.5)
    assert surface_dice(a, b, (1, 1), 1.0) == 1
    assert surface_dice(a, b, (1, 1), 0.5) == pytest.approx(1 - (16 + 2 * corner) / (32 + 4 * corner))


@pytest.mark.parametrize("spacing", [(0.8, 0.8), (0.7, 1.0, 1.0)])
def test_a_step_of_the_tolerance_s_size_is_within_it(spacing: tuple[float, ...]) -> None:
    a, b = (box((16,) * len(spacing), (start, *[2] * (len(spacing) - 1)), 10) for start in (2, 3))
    assert surface_dice(a, b, spacing, spacing[0]) == 1
    assert surface_dice(a, b, spacing, 0.9 * spacing[0]) < 1


def test_nsd_weighs_by_area_not_by_number_of_voxels() -> None:
    """Slabs of 20 x 20 mm, two and three slices of 10 mm thick. Apart lie their far faces, the inner one without what
    is near the other's sides, and half a slice of the thicker one's sides: a fifth of the area, two fifths of the
    voxels."""
    a, b = np.zeros((9, 30, 30), bool), np.zeros((9, 30, 30), bool)
    a[2:4, 5:25, 5:25], b[2:5, 5:25, 5:25] = True, True
    areas = 4 * 20 * 20 + 4 * 20 * 20 + 4 * 20 * 30  # four faces, the sides of both
    apart = 18 * 18 + 20 * 20 + 4 * 20 * 5
    assert surface_dice(a, b, (10.0, 1.0, 1.0), 1.0) == pytest.approx(1 - apart / areas, abs=0.02)


def test_volume_differences() -> None:
    a, b = box((12, 12, 12), (1, 1, 1), 4), box((12, 12, 12), (1, 1, 1), 5)
    scores = mask_metrics(a, b, (5.0, 2.0, 0.5))
    assert scores["VD"] == pytest.approx((125 - 64) * 5e-3) and scores["RVD"] == pytest.approx(61 / 64)
    nothing = np.zeros_like(a)
    assert mask_metrics(a, nothing, (1, 1, 1))["RVD"] == -1
    reference_empty = mask_metrics(nothing, a, (1, 1, 1))
    assert reference_empty["VD"] == pytest.approx(0.064) and math.isnan(reference_empty["RVD"])
    assert math.isnan(mask_metrics(nothing, nothing, (1, 1, 1))["VD"])


def test_rules_of_empty_masks() -> None:
    full, nothing = box((9, 9), (2, 2), 3), np.zeros((9, 9), bool)
    both = mask_metrics(nothing, nothing, (1, 1), Rule(both_empty=1.0))
    assert (both["Dice"], both["NSD"]) == (1, 1) and math.isnan(both["ASSD"])
    assert mask_metrics(full, nothing, (1, 1), Rule(empty_prediction_assd=350.0))["ASSD"] == 350
    assert math.isnan(mask_metrics(nothing, full, (1, 1), Rule(empty_prediction_assd=350.0))["ASSD"])


def test_labelled_slices_alone() -> None:
    reference, prediction = np.zeros((8, 9, 9), np.uint8), np.zeros((8, 9, 9), np.uint8)
    reference[2:6, 2:7, 2:7], prediction[:, 2:7, 2:7] = 1, 1
    scores = case_metrics(reference, prediction, (1, 1, 1), FOREGROUND, rules={"organ": Rule(labelled_slices=True)})
    assert scores["organ"]["Dice"] == scores["organ"]["NSD"] == 1 and scores["organ"]["n_reference"] == 3 * 25
    assert case_metrics(reference, prediction, (1, 1, 1), FOREGROUND)["organ"]["Dice"] < 1


def test_a_region_is_the_union_of_its_labels() -> None:
    reference, prediction = np.zeros((12, 12), int), np.zeros((12, 12), int)
    reference[2:8, 2:5], reference[2:8, 5:8] = 1, 2
    prediction[2:8, 2:8] = 2
    scores = case_metrics(reference, prediction, (1, 1), {"whole": [1, 2], "part": 2, "core": (1,)})
    assert scores["whole"]["Dice"] == 1
    assert scores["part"]["Dice"] == pytest.approx(2 * 18 / (18 + 36))
    assert scores["core"]["empty"] == "prediction"


def test_ignored_voxels_count_for_nothing() -> None:
    reference, prediction = np.zeros((12, 12), int), np.zeros((12, 12), int)
    reference[2:6, 2:6] = prediction[2:6, 2:6] = 1
    reference[8:] = 3
    prediction[8:] = 1
    assert case_metrics(reference, prediction, (1, 1), FOREGROUND)["organ"]["Dice"] < 1
    scores = case_metrics(reference, prediction, (1, 1), FOREGROUND, ignore_label=3)["organ"]
    assert (scores["Dice"], scores["HD95"], scores["n_prediction"]) == (1, 0, 16)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_volume_of_one_slice_is_scored_in_its_plane(axis: int) -> None:
    a, b = box((20, 20), (2, 2), 9).astype(int), box((20, 20), (6, 3), 5).astype(int)
    spacing = [0.5, 2.0]
    flat = case_metrics(a, b, spacing, FOREGROUND)
    spacing.insert(axis, 999.0)
    assert case_metrics(np.expand_dims(a, axis), np.expand_dims(b, axis), spacing, FOREGROUND) == flat


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="reference's shape"):
        case_metrics(np.zeros((4, 4), int), np.zeros((4, 5), int), (1, 1), FOREGROUND)
