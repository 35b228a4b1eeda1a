"""Masking images in blocks (MIC, arXiv 2212.01322)."""

from __future__ import annotations

import torch
from torch import Tensor


def mask_blocks(image: Tensor, ratio: float, block: float) -> Tensor:
    """Sets random blocks to 0, the mean of a normalised image: x^M = M x, M = [v > r] for each block, v ~ U(0, 1).

    Hoyer et al., "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation", CVPR 2023 (arXiv 2212.01322),
    equations 3 and 4.

    Args:
        image: (B, Cin, *S); all channels of an image have one mask.
        ratio: r, expected share of the blocks that are set to 0.
        block: side of a block as a share of the patch's, for each axis; at least one voxel.
    """
    sides = [max(1, round(block * size)) for size in image.shape[2:]]
    grid = [-(-size // side) for size, side in zip(image.shape[2:], sides)]
    kept = torch.rand((len(image), 1, *grid), device=image.device) > ratio
    for axis, (size, side) in enumerate(zip(image.shape[2:], sides), start=2):
        kept = kept.repeat_interleave(side, axis).narrow(axis, 0, size)
    return image * kept
