"""Whether two predictions of the same voxels agree: of teacher and student, or of an image and its mirror image."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def overlap(a: Tensor, b: Tensor) -> Tensor:
    """Voxels of each class in both predictions, and in either.

    Args:
        a: (N, K) bool.
        b: likewise.

    Returns:
        (2, K) integers: |A_c and B_c|, and |A_c| + |B_c|. Sums over batches give the whole.
    """
    return torch.stack(((a & b).sum(0), a.sum(0) + b.sum(0)))


def agreement(overlap: Tensor) -> float:
    """1/|K'| sum_{c in K'} 2 |A_c and B_c| / (|A_c| + |B_c|): the mean Dice of two predictions.

    K' are the classes that either has. Two predictions without any foreground say nothing: 0, not 1.

    Args:
        overlap: (2, K), what the function `overlap` counted.

    Returns:
        From 0 to 1.
    """
    both, sizes = overlap.cpu().double()
    present = sizes > 0
    return float((2 * both[present] / sizes[present]).mean()) if present.any() else 0.0


def mirrored(predict: Callable[[Tensor], Tensor], axes: Sequence[int]) -> Callable[[Tensor], Tensor]:
    """A prediction through the mirror: flip the image along all axes, predict, flip back.

    Args:
        predict: (B, Cin, *S) to (B, C, *S).
        axes: spatial axes that the training mirrors along, from 0, as in nnU-Net's checkpoints.
    """
    dims = [axis + 2 for axis in axes]
    return lambda image: predict(image.flip(dims)).flip(dims)
