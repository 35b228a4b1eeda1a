"""Entropy of predictions, in nats: one convention for losses, selection and evaluation.

    classes:   H = -sum_c p_c ln p_c                                        0 to ln C
    regions:   H = 1/R sum_r (-p_r ln p_r - (1 - p_r) ln(1 - p_r))          0 to ln 2

Regions are no distribution: each is a binary variable, and the mean over them does not grow with their number.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast


def entropy(p: Tensor, regions: bool = False, dim: int = 1, floor: float = 0.0) -> Tensor:
    """H of each voxel.

    As a score without labels it goes back to Morerio et al., ICLR 2018 (arXiv 1711.10288). It is low too where a class
    has vanished.

    Args:
        p: probabilities, of classes that sum to 1, or of regions, along an axis.
        regions: whether the channels are regions.
        dim: that axis.
        floor: see `entropy_terms`.

    Returns:
        As p without that axis: from 0 to `largest_entropy`.
    """
    if regions:
        return (entropy_terms(p, floor) + entropy_terms(1 - p, floor)).mean(dim)
    return entropy_terms(p, floor).sum(dim)


def entropy_terms(p: Tensor, floor: float = 0.0) -> Tensor:
    """-p ln p of each probability, 0 at 0.

    Args:
        p: of any shape.
        floor: added within the logarithm, where a paper's equation has it: -p ln(p + floor).
    """
    return -p * torch.log(p + floor) if floor else torch.special.entr(p)


def self_information(logits: Tensor, regions: bool = False) -> Tensor:
    """-p ln p of each class, or the binary entropy of each region, from logits: with gradients where p is nearly 0.

    Args:
        logits: (B, C, *S), or (B, R, *S) with `regions`.
        regions: sigmoid channels instead of a softmax.

    Returns:
        As the logits. The sum over the classes, or the mean over the regions, is `entropy`.
    """
    with no_autocast(logits):
        logits = full(logits)
        if regions:
            inside, outside = F.logsigmoid(logits), F.logsigmoid(-logits)
            return -(inside.exp() * inside + outside.exp() * outside)
        log_p = logits.log_softmax(1)
        return -log_p.exp() * log_p


def largest_entropy(channels: int, regions: bool = False) -> float:
    """ln C, or ln 2 for regions: of a prediction that knows nothing."""
    return math.log(2 if regions else channels)
