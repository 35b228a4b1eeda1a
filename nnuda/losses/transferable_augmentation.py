"""Expected cross-entropy under a semantic augmentation of the features, in closed form (TransMedSeg, arXiv 2505.14753).

A feature f of class y is moved towards the other domain: f~ ~ N(f + lambda dmu_y, lambda Sigma_y). With logits
z = W f + b (Jensen's inequality and the Gaussian's moment generating function; TSA, arXiv 2103.12562, and
ISDA, arXiv 1909.12220):

    E[-log softmax_y(W f~ + b)] <= CE(z + T[y], y)
    T[y, c] = lambda (w_c - w_y)^T dmu_y + lambda / 2 (w_c - w_y)^T Sigma_y (w_c - w_y)

T depends on the two classes alone: one C x C table a step, and a gather for each voxel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full_type, no_autocast


def augmentation_table(weight: Tensor, shift: Tensor, covariance: Tensor, strength: float) -> Tensor:
    """T of the equation above.

    Args:
        weight: W (C, F) of the layer that makes the logits; its gradient passes.
        shift: dmu (C, F), the other domain's class means minus this one's;
            0 for a class that a domain has not shown yet.
        covariance: Sigma (C, F, F), or its diagonal (C, F), of the domain moved to; 0 likewise.
        strength: lambda >= 0.

    Returns:
        (C, C), row y for voxels of class y; the diagonal is 0.
    """
    difference = weight[None] - weight[:, None]  # [y, c] = w_c - w_y
    return strength * _exponent(difference, shift, covariance)


def region_augmentation_table(weight: Tensor, shift: Tensor, covariance: Tensor, strength: float) -> Tensor:
    """The same for a sigmoid channel each: the two classes "outside" (w = 0) and "inside" (w_r).

    Args:
        weight: W (R, F).
        shift: dmu (R, 2, F), outside and inside.
        covariance: Sigma (R, 2, F, F) or (R, 2, F).
        strength: lambda >= 0.

    Returns:
        (R, 2): what a voxel outside (0) or inside (1) the region adds to the logit of being on the other side.
    """
    difference = torch.stack((weight, -weight), 1)  # [r, y] = w_other - w_y
    table = _exponent(difference.flatten(0, 1)[:, None], shift.flatten(0, 1), covariance.flatten(0, 1))
    return strength * table.view(len(weight), 2)


def _exponent(difference: Tensor, shift: Tensor, covariance: Tensor) -> Tensor:
    """a^T dmu_y + a^T Sigma_y a / 2 for a = difference (Y, C, F)."""
    linear = torch.einsum("yca,ya->yc", difference, shift)
    if covariance.ndim == 3:
        return linear + 0.5 * torch.einsum("yca,yab,ycb->yc", difference, covariance, difference)
    return linear + 0.5 * torch.einsum("yca,ya->yc", difference.square(), covariance)


def limit_table(table: Tensor, limit: float) -> Tensor:
    """The table of the largest lambda that keeps every |T| <= limit: T is linear in lambda."""
    return table * (limit / table.detach().abs().amax().clamp(min=limit))


def transferable_cross_entropy(logits: Tensor, label: Tensor, table: Tensor, ignore_index: int = -100) -> Tensor:
    """CE(z + T[y], y), the mean over the voxels that are not ignored; 0 with a graph where all are.

    Args:
        logits: z (B, C, *S).
        label: y (B, *S), integer.
        table: T (C, C).
        ignore_index: label that takes no part.
    """
    dtype = full_type(logits)
    with no_autocast(logits):
        kept = label != ignore_index
        classes = torch.arange(len(table), device=label.device)
        annotated = (torch.where(kept, label, 0)[..., None] == classes).to(dtype)
        added = (annotated @ table.to(dtype)).movedim(-1, 1)  # T[y]; the gradient of an index is slow on CUDA
        label = torch.where(kept, label, -100)
        return F.cross_entropy(logits.to(dtype) + added, label, reduction="sum") / kept.sum().clamp(min=1)


def region_transferable_cross_entropy(
    logits: Tensor, regions: Tensor, table: Tensor, kept: Tensor | None = None
) -> Tensor:
    """softplus(T[r, y] - (2 y - 1) z_r), reduced as nnU-Net's binary cross-entropy.

    Args:
        logits: z (B, R, *S).
        regions: y (B, R, *S), 0 or 1.
        table: T (R, 2).
        kept: (B, 1, *S) bool, where a voxel is labelled; None: everywhere.

    Returns:
        Scalar: the mean over everything; with `kept` nnU-Net's sum over the regions and mean over the kept voxels.
    """
    dtype = full_type(logits)
    with no_autocast(logits):
        inside = regions.bool()
        outer, inner = (column.view(1, -1, *[1] * (logits.ndim - 2)) for column in table.to(dtype).unbind(1))
        z = logits.to(dtype)
        loss = F.softplus(torch.where(inside, inner - z, outer + z))
        if kept is None:
            return loss.mean()
        return (loss * kept).sum() / kept.sum().clamp(min=1)
