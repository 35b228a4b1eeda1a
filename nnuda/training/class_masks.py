"""Which voxels of the labelled source belong to a class."""
from __future__ import annotations

from collections.abc import Sequence

from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

from nnuda.losses.class_prototypes import label_masks, region_masks


def source_masks(label: Tensor, manager: LabelManager, size: Sequence[int]) -> Tensor:
    """Masks of the classes, background first; of regions as `region_masks`.

    Args:
        label: nnU-Net's, (B, 1, *S0) label map or (B, R, *S0) regions, with the ignored voxels as one more channel.
        manager: nnU-Net's.
        size: *S of the features.

    Returns:
        bool (B, K, *S); ignored voxels are in none.
    """
    if not manager.has_regions:
        return label_masks(label, manager.num_segmentation_heads, size)
    regions = len(manager.foreground_regions)
    return region_masks(label[:, :regions], size, label[:, -1:] if manager.has_ignore_label else None)
