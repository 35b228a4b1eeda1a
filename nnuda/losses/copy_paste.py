"""Bidirectional copy-paste between the domains (BCP, arXiv 2305.00673), the base of TransMedSeg's pseudo-labelling.

    x_in = M x_s + (1 - M) x_t,    x_out = M x_t + (1 - M) x_s,    L = (L_Dice + L_CE) / 2

each part of a mixed image with its own labels: the annotation where source voxels lie, the teacher's labels, weighted,
where target voxels do.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast
from nnuda.losses.soft_dice import mean_of_present, soft_dice


def copy_paste_loss(
    logits: Tensor,
    label_s: Tensor,
    label_t: Tensor,
    from_source: Tensor,
    kept_s: Tensor | None = None,
    target_weight: float = 0.5,
    regions: bool = False,
) -> Tensor:
    """The loss on mixed images.

    Args:
        logits: (B, C, *S) of the mixed images. Class 0 is the background; with `regions` every channel is a region.
        label_s: labels of the source images, (B, *S) integer, or (B, R, *S) with `regions`.
        label_t: the teacher's labels of the target images, likewise.
        from_source: (B, *S) bool, where the mixed image shows the source.
        kept_s: (B, *S) bool, source voxels that are labelled; None: all.
        target_weight: weight of the target's part against the source's (BCP: 0.5).

    Returns:
        Scalar; each part is (cross-entropy, the mean over its voxels, plus Dice loss, the mean over its
        foreground classes) / 2.
        0 with a graph where a part is empty.
    """
    with no_autocast(logits):
        z = full(logits)
        labelled = from_source if kept_s is None else from_source & kept_s
        part = _regions if regions else _classes
        return part(z, label_s, labelled) + target_weight * part(z, label_t, ~from_source)


def _classes(z: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    label = torch.where(mask, label.long(), 0)
    cross_entropy = (F.cross_entropy(z, label, reduction="none") * mask).sum() / mask.sum().clamp(min=1)
    one_hot = F.one_hot(label, z.shape[1]).movedim(-1, 1)
    return (cross_entropy + _dice(z.softmax(1)[:, 1:], one_hot[:, 1:], mask[:, None])) / 2


def _regions(z: Tensor, label: Tensor, mask: Tensor) -> Tensor:
    mask, label = mask[:, None], label.to(z.dtype)
    cross_entropy = (F.binary_cross_entropy_with_logits(z, label, reduction="none") * mask).sum()
    cross_entropy = cross_entropy / (mask.sum() * z.shape[1]).clamp(min=1)
    return (cross_entropy + _dice(z.sigmoid(), label, mask)) / 2


def _dice(p: Tensor, y: Tensor, mask: Tensor) -> Tensor:
    """Dice loss within the mask, pooled over the batch, mean over the classes that the mask holds;
    0 where it holds none."""
    axes = (0, *range(2, p.ndim))
    return mean_of_present(*soft_dice(*((v * mask).sum(axes) for v in (p * y, p, y))))
