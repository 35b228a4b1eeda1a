"""Overlap and surface scores of one case, per class or region.

Surfaces and their distances come from MONAI, in the definitions of the literature: a surface is what an erosion
removes, distances are exact and Euclidean.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from nnunetv2.evaluation.evaluate_predictions import compute_tp_fp_fn_tn, region_or_label_to_mask

METRICS = ("Dice", "ASSD", "HD95")

DEFINITIONS = {
    "Dice": "2 |A and B| / (|A| + |B|)",
    "ASSD": "mean of the distances of both surfaces, pooled: from each voxel of one to the nearest voxel of the other",
    "HD95": "larger of the two directed 95th percentiles (linear interpolation) of the surface distances",
    "surface": "voxels of the mask with a face neighbour outside it; beyond the image border counts as outside",
    "one slice": "an axis of length one is dropped: such a volume is scored in its plane",
    "empty masks": "both empty: Dice, ASSD and HD95 NaN; one empty: Dice 0, ASSD and HD95 NaN; each counted per class",
    "ignore label": "voxels that the reference marks as ignore are background in reference and prediction",
}


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


def _empty_side(n_reference: int, n_prediction: int) -> str:
    if n_reference and n_prediction:
        return "none"
    return "prediction" if n_reference else "reference" if n_prediction else "both"


def mask_metrics(
    reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float]
) -> dict[str, float | int | str]:
    """Scores of one pair of masks, as DEFINITIONS says.

    Args:
        reference, prediction: bool (*S).
        spacing: size of a voxel along each axis, *S of them.

    Returns:
        Dice, ASSD, HD95 (unit of spacing), n_reference and n_prediction (voxels), and which side is empty: "none",
        "prediction", "reference" or "both".
    """
    tp, fp, fn, _ = (int(count) for count in compute_tp_fp_fn_tn(reference, prediction))
    n_reference, n_prediction = tp + fn, tp + fp
    empty = _empty_side(n_reference, n_prediction)
    scores = {"Dice": math.nan, "ASSD": math.nan, "HD95": math.nan,
              "n_reference": n_reference, "n_prediction": n_prediction, "empty": empty}
    if empty != "both":
        scores["Dice"] = 2 * tp / (n_reference + n_prediction)
    if empty == "none":
        to_reference, to_prediction = surface_distances(prediction, reference, spacing)
        scores["ASSD"] = float(np.concatenate([to_reference, to_prediction]).mean())
        scores["HD95"] = float(max(np.percentile(to_reference, 95), np.percentile(to_prediction, 95)))
    return scores


def case_metrics(reference: np.ndarray, prediction: np.ndarray, spacing: Sequence[float],
                 labels: Mapping[str, int | Sequence[int]], ignore_label: int | None = None) -> dict[str, dict]:
    """Scores of one case.

    Args:
        reference, prediction: label maps (*S), two or three axes; axes of length one are dropped.
        spacing: size of a voxel along each axis, in mm (pixels where the format has none).
        labels: name -> label, or the labels that make up a region.
        ignore_label: a label of the reference that is scored as background on both sides.

    Returns:
        name -> scores of `mask_metrics`.
    """
    if reference.shape != prediction.shape or len(spacing) != reference.ndim:
        raise ValueError("Expected a prediction of the reference's shape and a spacing for each axis; got "
                         f"reference {reference.shape}, prediction {prediction.shape}, spacing {tuple(spacing)}.")
    spacing = [size for size, length in zip(spacing, reference.shape) if length > 1]
    reference, prediction = reference.squeeze(), prediction.squeeze()
    if ignore_label is not None:
        prediction = np.where(reference == ignore_label, 0, prediction)
    scores = {}
    for name, label in labels.items():
        region = label if np.isscalar(label) else tuple(label)
        masks = (region_or_label_to_mask(label_map, region) for label_map in (reference, prediction))
        scores[name] = mask_metrics(*masks, spacing)
    return scores
