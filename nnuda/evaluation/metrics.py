"""Overlap, surface and volume scores of one case, per class or region.

Surfaces and their distances come from MONAI, in the definitions of the literature: for ASSD and HD95 a surface is what
an erosion removes, for NSD it is made of elements between voxels; distances are exact and Euclidean.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, region_or_label_to_mask
from scipy.ndimage import find_objects

from nnuda.evaluation.conventions import Rule

METRICS = ("Dice", "ASSD", "HD95", "NSD", "VD", "RVD")


def surface_distances(
    mask_a: np.ndarray, mask_b: np.ndarray, spacing: Sequence[float]
) -> tuple[np.ndarray, np.ndarray]:
    """Distances from each surface to the other.

    Args:
        mask_a, mask_b: bool (*S), not empty.
        spacing: size of a voxel along each axis.

    Returns:
        For each surface voxel of A the distance to the nearest one of B, and the other way round; unit of spacing.
    """
    from monai.metrics import get_mask_edges, get_surface_distance  # here, since MONAI takes seconds to import

    surface_a, surface_b = get_mask_edges(mask_a, mask_b, crop=True)
    a_to_b = get_surface_distance(surface_a, surface_b, spacing=tuple(spacing))
    b_to_a = get_surface_distance(surface_b, surface_a, spacing=tuple(spacing))
    return np.asarray(a_to_b, dtype=np.float64), np.asarray(b_to_a, dtype=np.float64)


def surface_dice(mask_a: np.ndarray, mask_b: np.ndarray, spacing: Sequence[float], tolerance: float) -> float:
    """Normalised surface Dice at a tolerance, by surface elements (Nikolov et al. 2018, arXiv:1809.04430).

    Args:
        mask_a, mask_b: bool (*S), not empty.
        spacing: size of a voxel along each axis.
        tolerance: in the unit of the spacing, inclusive.
    """
    from monai.metrics import get_mask_edges, get_surface_distance

    spacing = tuple(map(float, spacing))
    surface_a, surface_b, areas_a, areas_b = get_mask_edges(mask_a, mask_b, crop=True, spacing=spacing)
    within, total = 0.0, 0.0
    for one, other, areas in ((surface_a, surface_b, areas_a[surface_a]), (surface_b, surface_a, areas_b[surface_b])):
        distances = get_surface_distance(one, other, spacing=spacing)
        # MONAI rounds distances to float32: one voxel of 0.8 mm would lie beyond a tolerance of 0.8 mm.
        within += float(areas[distances <= tolerance * (1 + 1e-6)].sum(dtype=np.float64))
        total += float(areas.sum(dtype=np.float64))
    return within / total


def _empty_side(n_reference: int, n_prediction: int) -> str:
    if n_reference and n_prediction:
        return "none"
    return "prediction" if n_reference else "reference" if n_prediction else "both"


def _empty_scores(empty: str, rule: Rule) -> dict[str, float]:
    """Dice, NSD and ASSD where at least one mask is empty."""
    if empty == "both":
        return {"Dice": rule.both_empty, "NSD": rule.both_empty}
    assd = rule.empty_prediction_assd if empty == "prediction" else math.nan
    return {"Dice": 0.0, "NSD": 0.0, "ASSD": assd}


def _surface_scores(
    reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], tolerance: float
) -> dict[str, float]:
    # MONAI crops as well, but only after conversions of the whole volume, once a metric.
    box = find_objects((reference | prediction).view(np.uint8))[0]
    reference, prediction = reference[box], prediction[box]
    to_reference, to_prediction = surface_distances(prediction, reference, spacing)
    return {
        "ASSD": float(np.concatenate([to_reference, to_prediction]).mean()),
        "HD95": float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95))),
        "NSD": surface_dice(reference, prediction, spacing, tolerance),
    }


def mask_metrics(
    reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float], rule: Rule = Rule()
) -> dict[str, float | int | str]:
    """Scores of one pair of masks, as DEFINITIONS says.

    Args:
        reference, prediction: bool (*S), two or three axes.
        spacing: size of a voxel along each axis, *S of them.
        rule: tolerance of NSD, and what empty masks score.

    Returns:
        METRICS (distances in the unit of spacing), n_reference and n_prediction (voxels), and which side is empty:
        "none", "prediction", "reference" or "both".
    """
    tp, fp, fn, _ = (int(count) for count in compute_tp_fp_fn_tn(reference, prediction))
    n_reference, n_prediction = tp + fn, tp + fp
    empty = _empty_side(n_reference, n_prediction)
    scores = {
        **dict.fromkeys(METRICS, math.nan),
        "n_reference": n_reference,
        "n_prediction": n_prediction,
        "empty": empty,
    }
    if empty != "both":
        to_volume = math.prod(spacing) / (1000 if len(spacing) == 3 else 100)
        scores["VD"] = (n_prediction - n_reference) * to_volume
    if n_reference:
        scores["RVD"] = (n_prediction - n_reference) / n_reference
    if empty != "none":
        return {**scores, **_empty_scores(empty, rule)}
    scores["Dice"] = 2 * tp / (n_reference + n_prediction)
    return {**scores, **_surface_scores(reference, prediction, spacing, rule.tolerance)}


def _labelled_slices(reference: np.ndarray, prediction: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    slices = np.flatnonzero(reference.any(axis=tuple(range(1, reference.ndim))))
    if reference.ndim < 3 or slices.size < 2:
        return reference, prediction
    return reference[slices[0] : slices[-1]], prediction[slices[0] : slices[-1]]


def case_metrics(
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing: Sequence[float],
    labels: Mapping[str, int | Sequence[int]],
    ignore_label: int | None = None,
    rules: Mapping[str, Rule] | None = None,
) -> dict[str, dict]:
    """Scores of one case.

    Args:
        reference, prediction: label maps (*S), two or three axes; axes of length one are dropped.
        spacing: size of a voxel along each axis, in mm (pixels where the format has none).
        labels: name -> label, or the labels that make up a region.
        ignore_label: a label of the reference that is scored as background on both sides.
        rules: name -> how it is scored. Default: `Rule()` for all.

    Returns:
        name -> scores of `mask_metrics`.
    """
    if reference.shape != prediction.shape or len(spacing) != reference.ndim:
        raise ValueError(
            "Expected a prediction of the reference's shape and a spacing for each axis; got "
            f"reference {reference.shape}, prediction {prediction.shape}, spacing {tuple(spacing)}."
        )
    spacing = [size for size, length in zip(spacing, reference.shape) if length > 1]
    reference, prediction = reference.squeeze(), prediction.squeeze()
    if ignore_label is not None:
        prediction = np.where(reference == ignore_label, 0, prediction)
    scores = {}
    for name, label in labels.items():
        region = label if np.isscalar(label) else tuple(label)
        masks = [region_or_label_to_mask(label_map, region) for label_map in (reference, prediction)]
        rule = rules[name] if rules else Rule()
        scores[name] = mask_metrics(*(_labelled_slices(*masks) if rule.labelled_slices else masks), spacing, rule)
    return scores
