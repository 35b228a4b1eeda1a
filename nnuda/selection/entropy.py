"""How sure a prediction is."""
from __future__ import annotations

import math

import torch
from torch import Tensor


def voxel_entropy(p: Tensor, regions: bool = False) -> Tensor:
    """H = -sum_c p_c ln p_c; of regions, which are no distribution, the mean of -p_r ln p_r - (1 - p_r) ln(1 - p_r).

    Morerio et al., ICLR 2018 (arXiv 1711.10288), choose hyper-parameters by it. It is low too where a class has
    vanished.

    Args:
        p: (N, C) probabilities of N voxels, or (N, R) of regions.
        regions: Whether the channels are regions.

    Returns:
        (N,) in nats: from 0 to `largest_entropy`.
    """
    if regions:
        return (torch.special.entr(p) + torch.special.entr(1 - p)).mean(1)
    return torch.special.entr(p).sum(1)


def largest_entropy(channels: int, regions: bool = False) -> float:
    """ln C, or ln 2 for regions, in nats: of a prediction that knows nothing."""
    return math.log(2 if regions else channels)
