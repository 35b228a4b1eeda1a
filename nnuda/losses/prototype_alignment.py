"""L_PAM of TCSA-UDA: the prototypes of a class in both domains should be the same.

Reference: Maurya, Liu and Zwiggelaar, TCSA-UDA, arXiv 2511.05782, prototype alignment module; the form is that of the
authors' release:

    L_PAM = sum_k mean_a (c_{k,a}^s - c_{k,a}^t)^2,     c_k^d = m sg(c_k^d) + (1 - m) mean_{p in k} g_p

on deep features g, the background among the classes, m = 0.01.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full_type, no_autocast

SHORTEST = 1e-3
"""Prototypes shorter than this keep less than unit length where they are normalised."""


def prototype_alignment(
    prototypes_s: Tensor,
    valid_s: Tensor,
    prototypes_t: Tensor,
    valid_t: Tensor,
    normalized: bool = False,
    detach_source: bool = False,
) -> Tensor:
    """Sum over the classes of the mean squared difference of their two prototypes.

    To leave the background out, give the rows from 1 on.

    Args:
        prototypes_s: (K, A), of the source (`nnuda.statistics.class_memory.ClassMemory.blend`).
        valid_s: bool (K,), the classes that have one.
        prototypes_t: (K, A), of the target.
        valid_t: bool (K,).
        normalized: L2-normalise them first, so that the loss does not depend on the features' scale: at most 4 / A a
            class. The release does not.
        detach_source: let the target move alone. In the release both do.

    Returns:
        Scalar; classes without a prototype in one of the domains count 0, with a graph.

    Raises:
        ValueError: for shapes other than the above.
    """
    fits = prototypes_s.ndim == 2 and prototypes_t.shape == prototypes_s.shape
    if not fits or not valid_s.shape == valid_t.shape == prototypes_s.shape[:1]:
        raise ValueError(
            "prototype_alignment expects prototypes (K, A) and valid (K,) of both domains; got "
            f"{tuple(prototypes_s.shape)}, {tuple(valid_s.shape)}, {tuple(prototypes_t.shape)}, {tuple(valid_t.shape)}"
        )
    with no_autocast(prototypes_s):
        dtype = full_type(prototypes_s)
        source, target = (prototypes_s.detach() if detach_source else prototypes_s).to(dtype), prototypes_t.to(dtype)
        if normalized:
            source, target = (F.normalize(prototypes, dim=1, eps=SHORTEST) for prototypes in (source, target))
        difference = torch.where((valid_s & valid_t)[:, None], source - target, 0)
        return difference.square().mean(1).sum()
