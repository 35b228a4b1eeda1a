"""The patient's body in a CT volume: where intensity statistics make sense when there is no label to look under."""
from __future__ import annotations

import numpy as np
from scipy import ndimage

BODY_THRESHOLD_HU = -500.0


def body_mask(image: np.ndarray) -> np.ndarray:
    """Largest component above -500 HU, holes filled, scanner floor left out.

    "Non-zero", nnU-Net's mask where there is no label, is nearly every voxel of a CT, and most of those are air.

    Args:
        image: (*S) in HU.

    Returns:
        (*S) bool. Where nothing is above the threshold: every voxel above the smallest value, or all of them.
    """
    above_floor = image > image.min()
    components, count = ndimage.label(image > BODY_THRESHOLD_HU)
    if count == 0:
        return above_floor if above_floor.any() else np.ones(image.shape, dtype=bool)
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    # Filled holes hold lungs and bowel gas, but also what lies at the floor value inside (clipped or padded images).
    return ndimage.binary_fill_holes(components == sizes.argmax()) & above_floor
