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
        (*S) bool, never empty: where nothing is above the threshold every voxel above the floor, in a constant image
        all of them.
    """
    above_floor = image > image.min()
    if not above_floor.any():
        return np.ones(image.shape, dtype=bool)
    components, count = ndimage.label((image > BODY_THRESHOLD_HU) & above_floor)
    if count == 0:
        return above_floor
    sizes = np.bincount(components.ravel())
    sizes[0] = 0
    # Filled holes hold lungs and bowel gas, but also what lies at the floor value inside (clipped or padded images).
    return ndimage.binary_fill_holes(components == sizes.argmax()) & above_floor
