"""L_BSCL of UUDS: embeddings that hold the object attract each other and repel those that do not.

Reference: "Unified Uncertain Dual-prompts Cross-domain Segmentation Framework for Medical Image Segmentation"
(UUDS), ICLR 2025 submission, section 3.1.2, equation 4; Khosla et al., "Supervised Contrastive Learning",
NeurIPS 2020, equation 2, for the form that equation 4 is taken from.

L = sum_i -1/|P(i)| sum_{p in P(i)} log(exp(z_i . z_p / tau) / sum_{a in A(i)} exp(z_i . z_a / tau))

- literal: P(i) and A(i) hold the samples with and without the object, so the denominator has negatives only; the value
  can be negative. P(i) of a sample without the object is not defined: read as the other samples without it.
- intended (supcon): P(i) = {p != i with the label of i}, A(i) = {a != i}.

Both are averaged over the anchors where the paper prints a sum, so that the weight does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast


def supervised_contrastive(
    z: Tensor,
    label: Tensor,
    tau: float = 0.07,
    form: Literal["supcon", "literal"] = "supcon",
) -> Tensor:
    """In-batch supervised contrastive loss (UUDS, equation 4).

    Args:
        z: embeddings, (N, D); L2-normalised here.
        label: (N,), bool or int; equal values attract. No gradient.
        tau: temperature of the inner products. The paper gives no value; 0.07 is SupContrast's.
        form: "supcon" contrasts with all others, "literal" with the negatives alone.

    Returns:
        Scalar, the mean over the N anchors. An anchor without a positive counts as 0; where all labels are equal the
        loss is 0 with a graph.

    Raises:
        ValueError: for shapes other than the above or an unknown form.
    """
    if z.ndim != 2 or label.shape != z.shape[:1]:
        raise ValueError(
            f"supervised_contrastive expects z (N, D) and label (N,); got {tuple(z.shape)} and {tuple(label.shape)}"
        )
    same = label[:, None] == label[None, :]
    other = ~torch.eye(len(z), dtype=torch.bool, device=z.device)
    positive = same & other
    if form == "supcon":
        contrast = other
    elif form == "literal":
        contrast = ~same
    else:
        raise ValueError(f"form is 'supcon' or 'literal', got {form!r}")

    with no_autocast(z):
        z = F.normalize(full(z), dim=1)
        similarity = z @ z.T / tau
        # The smallest number and not -inf: over nothing but -inf the backward of logsumexp makes NaN, which the masks
        # below would hide, but autograd's anomaly mode stops at.
        denominator = similarity.masked_fill(~contrast, torch.finfo(z.dtype).min).logsumexp(1)
        attraction = (similarity * positive).sum(1) / positive.sum(1).clamp(min=1)
        counts = positive.any(1) & (~same).any()
        return torch.where(counts, denominator - attraction, 0.0).sum() / max(len(z), 1)


def pool_blocks(features: Tensor, mask: Tensor, grid: int | Sequence[int]) -> tuple[Tensor, Tensor]:
    """Cut every patch into a grid of blocks, each with one pooled feature and one binary label.

    nnU-Net's batches are far smaller than the paper's: blocks instead of whole images give the loss enough samples.
    Features and mask are cut along the same lines: the mask is brought to the features' resolution first.

    Args:
        features: (B, F, *S).
        mask: bool, (B, *S0), at the resolution of the features or finer: True where the object is. Which labels count
            as the object, and that ignored voxels do not, is the caller's choice.
        grid: blocks an axis, one number for all or one each; an axis has at most as many blocks as S has elements.

    Returns:
        Mean features of the blocks, (N, F), and whether a block holds any of the object, bool (N,);
        N = B * number of blocks, batch first.

    Raises:
        ValueError: for shapes other than the above.
    """
    size = features.shape[2:]
    if len(size) not in (2, 3) or mask.ndim != features.ndim - 1 or len(mask) != len(features):
        raise ValueError(
            "pool_blocks expects features (B, F, *S) and mask (B, *S0) with 2 or 3 spatial axes; "
            f"got {tuple(features.shape)} and {tuple(mask.shape)}"
        )
    grid = [grid] * len(size) if isinstance(grid, int) else list(grid)
    if len(grid) != len(size) or min(grid) < 1:
        raise ValueError(f"grid holds one positive number for each of the {len(size)} spatial axes; got {grid}")
    pool = F.adaptive_avg_pool2d if len(size) == 2 else F.adaptive_avg_pool3d
    grid = [min(blocks, extent) for blocks, extent in zip(grid, size)]

    with no_autocast(features):
        pooled = pool(full(features), grid)
        occupied = pool(pool(mask[:, None].float(), size), grid) > 0
    return pooled.flatten(2).transpose(1, 2).flatten(0, 1), occupied.flatten()
