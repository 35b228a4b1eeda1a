"""Health signals of class prototypes: how alike the classes of a domain are, how far apart those of two domains.

Each function returns the value and whether there is one, both on the device: nothing here waits for it.
"""

from __future__ import annotations

import torch
from torch import Tensor

from nnuda.losses.covariance_cosine import class_cosines


def mean_cosine(rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean cosine between different valid rows, not centred: 1 where all classes are the same.

    Args:
        rows: (K, A).
        valid: bool (K,).

    Returns:
        Scalar, and bool scalar: at least two rows are valid.
    """
    return _mean_of_pairs(class_cosines(rows.detach(), valid, centered=False), valid)


def separation(rows: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance between different valid rows, the root of the mean squared difference over their channels.

    Args and returns as `mean_cosine`.
    """
    rows = torch.where(valid[:, None], rows.detach().float(), 0)
    distances = (rows[:, None] - rows[None]).square().mean(2).sqrt()
    return _mean_of_pairs(distances, valid)


def class_distances(rows_s: Tensor, valid_s: Tensor, rows_t: Tensor, valid_t: Tensor) -> tuple[Tensor, Tensor]:
    """Distance of each class's two prototypes, the root of the mean squared difference over the channels.

    Args:
        rows_s: (K, A), of the source.
        valid_s: bool (K,).
        rows_t: (K, A), of the target.
        valid_t: bool (K,).

    Returns:
        (K,), and bool (K,): the class has a prototype in both domains.
    """
    both = valid_s & valid_t
    difference = torch.where(both[:, None], rows_s.detach().float() - rows_t.detach().float(), 0)
    return difference.square().mean(1).sqrt(), both


def _mean_of_pairs(matrix: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    pairs = valid[:, None] & valid & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
    return torch.where(pairs, matrix, 0).sum() / pairs.sum().clamp(min=1), pairs.any()
