"""Entropy minimisation, direct and adversarial: a prediction of the target should be as sure as one of the source.

Reference: Vu et al., "ADVENT: Adversarial Entropy Minimization for Domain Adaptation in Semantic Segmentation",
CVPR 2019 (arXiv 1811.12833); an ablation of TCSA-UDA (arXiv 2511.05782), as in its release. With

    I_k = -P_k log P_k / log K                                weighted self-information, (B, K, *S)

the direct loss (MinEnt, equations 2 and 3) is the mean over the voxels, as in the release, of the normalised entropy

    L_ent = mean sum_k I_k

In the adversarial one a discriminator tells the domains by where a prediction is unsure. It reads I and learns to give 0 to the source and 1 to the target; the network wants the target to pass for the source:

    L_adv = BCE(D(I_t), 0),      L_D = 1/2 BCE(D(I_s), 0) + 1/2 BCE(D(I_t), 1)
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.entropy import largest_entropy, self_information
from nnuda.losses.precision import full, no_autocast


def weighted_self_information(logits: Tensor, regions: bool = False) -> Tensor:
    """Weighted self-information map I of a prediction: its share of the largest entropy.

    Args:
        logits: (B, K, *S), K at least 2; with `regions` (B, R, *S).
        regions: sigmoid channels: each gives its own binary entropy in bits.

    Returns:
        As the logits. The sum over the classes is the normalised entropy in [0, 1].

    Raises:
        ValueError: for a softmax over fewer than two classes.
    """
    if not regions and logits.shape[1] < 2:
        raise ValueError(
            f"weighted_self_information expects logits (B, K, *S), at least two classes; got {tuple(logits.shape)}"
        )
    return self_information(logits, regions) / largest_entropy(logits.shape[1], regions)


def entropy_minimisation(logits_t: Tensor, regions: bool = False) -> Tensor:
    """L_ent of the target's prediction.

    Args:
        logits_t: (B, K, *S), K at least 2; with `regions` (B, R, *S).
        regions: sigmoid channels; the mean over the regions of their binary entropies.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: as `weighted_self_information`.
    """
    maps = weighted_self_information(logits_t, regions)
    return maps.mean() if regions else maps.sum(1).mean()


def entropy_generator(scores_t: Tensor) -> Tensor:
    """L_adv: the target's prediction should pass for the source's.

    Args:
        scores_t: D(I_t), logits of any shape. The caller keeps the gradient from the discriminator's parameters.

    Returns:
        Scalar, the mean over all scores; log 2 where they are 0.
    """
    with no_autocast(scores_t):
        return F.softplus(full(scores_t)).mean()


def entropy_discriminator(scores_s: Tensor, scores_t: Tensor) -> Tensor:
    """L_D: tell the target's prediction from the source's.

    Args:
        scores_s: D(I_s), logits of any shape, of a detached prediction.
        scores_t: D(I_t), likewise.

    Returns:
        Scalar; log 2 where every score is 0.
    """
    with no_autocast(scores_s):
        return (F.softplus(full(scores_s)).mean() + F.softplus(-full(scores_t)).mean()) / 2
