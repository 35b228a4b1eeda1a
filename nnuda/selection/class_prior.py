"""Whether the sizes of the predicted classes are those of the source."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor


def foreground(p: Tensor, regions: bool = False) -> Tensor:
    """The predicted classes, as nnU-Net decides: the most probable class, or every region above 0.5.

    Args:
        p: (N, C) probabilities of N voxels, background first, or (N, R) of regions.
        regions: Whether the channels are regions.

    Returns:
        (N, K) bool, without the background: K = C - 1, or K = R.
    """
    if regions:
        return p > 0.5
    label = p.argmax(1, keepdim=True)
    return label == label.new_tensor(range(1, p.shape[1]))


def class_prior_distance(shares: Sequence[float], source_shares: Sequence[float], voxels: int) -> float:
    """d = 1/K sum_c |ln((N q_c + 1) / (N pi_c + 1))|.

    The mean factor by which predicted classes are too large or too small, as a logarithm. A divergence between the two
    distributions (Kullback-Leibler, Jensen-Shannon) would hardly see a structure of a thousandth of the volume vanish;
    here each class counts alike. The one voxel keeps it finite.

    Args:
        shares: q_c, share of the target's voxels that is predicted as each of K classes.
        source_shares: pi_c, share of the source's voxels that is labelled so.
        voxels: N, number of the target's voxels.

    Returns:
        In nats: 0 where the shares are the source's, 0.69 where every class has half or twice its size.

    Raises:
        ValueError: not one share of each class, or no class.
    """
    if len(shares) != len(source_shares) or not shares:
        raise ValueError(f"Expected a share of each class in both domains; got {len(shares)} and {len(source_shares)}.")
    factors = [(voxels * q + 1) / (voxels * pi + 1) for q, pi in zip(shares, source_shares)]
    return sum(abs(math.log(factor)) for factor in factors) / len(factors)
