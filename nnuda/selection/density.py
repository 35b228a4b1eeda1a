"""Soft neighbourhood density: whether predictions form clusters."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn.functional import normalize


def soft_neighbourhood_density(p: Tensor, temperature: float = 0.05) -> float:
    """SND = -1/N sum_i sum_j P_ij ln P_ij / ln(N - 1), P_ij = softmax_{j != i}(f_i . f_j / tau), f_i = p_i / ||p_i||.

    Saito et al., ICCV 2021 (arXiv 2108.10860), on class probabilities with tau = 0.05 as there. A voxel whose
    neighbours are many and equally near has a large entropy. The paper does not divide; here the largest value is 1.
    It is largest where all predictions are one, that is, in a collapse.

    Args:
        p: (N, C) probabilities of N > 2 voxels; of regions (N, 2R), the probabilities of inside and outside.
        temperature: tau.

    Returns:
        From 0 to 1; NaN for fewer than 3 voxels.
    """
    if len(p) < 3:
        return math.nan
    f = normalize(p.float(), dim=1)
    similarity = f @ f.T / temperature
    similarity.fill_diagonal_(-math.inf)
    return float(torch.special.entr(similarity.softmax(1)).sum(1).mean()) / math.log(len(p) - 1)


def alike_of_each_class(foreground: Tensor, number: int) -> Tensor:
    """Choose as many voxels of each predicted class, or combination of regions, as far as there are so many.

    Most voxels are background: drawn from all alike, the density would be the background's.

    Args:
        foreground: (M, K) bool, predicted classes without the background, in random order.
        number: of voxels in all.

    Returns:
        (N,) indices, N at most `number`: the first ones of each class.
    """
    _, group = foreground.unique(dim=0, return_inverse=True)
    share = number // (int(group.max()) + 1)
    return torch.cat([(group == g).nonzero()[:share, 0] for g in range(int(group.max()) + 1)])
