"""L_cl of similarity-based prototypes: a prototype resembles its class's entries of a dictionary more than the others'.

Reference: Ye, Ju, Ma and Zhang, "Unsupervised Domain Adaptation via Similarity-based Prototypes for Cross-Modality
Segmentation", MICCAI-DART 2021 (arXiv 2510.20596). It describes the term; its form is ours:

    s(c, B^l) = mean of the k largest cosines between c and the entries of class l in dictionary B   (Mean Top-k)
    L_cl = mean_k -log( exp(s(c_k, B^k) / tau) / sum_l exp(s(c_k, B^l) / tau) )

Among 400 entries, one with a wrong label moves the largest cosine from 0 to 1, but Mean Top-20 from 0 to 0.05. At
tau = 1 the loss is flat: perfectly orthogonal classes still give log(1 + (C - 1) / e), 0.905 for C = 5.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast

SHORTEST = 1e-3
"""Prototypes shorter than this, of voxels that cancel out, count with less than unit length."""


def prototype_contrast(
    prototypes: Tensor, present: Tensor, entries: Tensor, filled: Tensor, k: int = 20, tau: float = 1.0
) -> Tensor:
    """L_cl against one dictionary.

    The dictionary must not hold the prototypes themselves yet: each would find itself among its k most similar entries.

    Args:
        prototypes: the anchors c_k, (B, K, D), a row per class; L2-normalised here. Gradients pass.
        present: bool, (B, K), the classes that an image shows.
        entries: B, (K, S, D), unit vectors, S a class; detached here.
        filled: bool, (K, S), which entries exist. A class without any is left out of the sum, and its anchors out of
            the mean.
        k: cosines that are averaged; all of a class that has fewer.
        tau: temperature.

    Returns:
        Scalar, the mean over the anchors that count; 0 with a graph where none does.

    Raises:
        ValueError: for shapes other than the above, or k below 1.
    """
    _check_shapes(prototypes, present, entries, filled)
    if k < 1:
        raise ValueError(f"k is the number of cosines to average, at least 1; got {k}")
    with no_autocast(prototypes):
        c = full(prototypes)
        cosine = torch.einsum("bkd,lsd->bkls", F.normalize(c, dim=2, eps=SHORTEST), entries.detach().to(c.dtype))
        similarity = mean_top_k(cosine, filled, k) / tau
        known = filled.any(1)
        logits = similarity.masked_fill(~known, torch.finfo(c.dtype).min)
        loss = logits.logsumexp(2) - similarity.diagonal(dim1=1, dim2=2)
        counts = present & known
        return torch.where(counts, loss, 0.0).sum() / counts.sum().clamp(min=1)


def mean_top_k(similarity: Tensor, filled: Tensor, k: int) -> Tensor:
    """Mean of the k largest similarities along the last axis (Mean Top-k).

    Args:
        similarity: (..., S).
        filled: bool, broadcastable to `similarity`; what is not filled does not count.
        k: all where fewer are filled.

    Returns:
        (...); 0 where nothing is filled.
    """
    k = min(k, similarity.shape[-1])
    largest = similarity.masked_fill(~filled, torch.finfo(similarity.dtype).min).topk(k, dim=-1).values
    count = filled.sum(-1, keepdim=True).clamp(max=k)
    counted = torch.arange(k, device=similarity.device) < count
    return torch.where(counted, largest, 0.0).sum(-1) / count.squeeze(-1).clamp(min=1)


def _check_shapes(prototypes: Tensor, present: Tensor, entries: Tensor, filled: Tensor) -> None:
    classes, length = prototypes.shape[1:] if prototypes.ndim == 3 else (None, None)
    same = present.shape == prototypes.shape[:2] and entries.shape[:2] == filled.shape
    if not same or entries.ndim != 3 or (entries.shape[0], entries.shape[2]) != (classes, length):
        raise ValueError(
            "prototype_contrast expects prototypes (B, K, D), present (B, K), entries (K, S, D) and filled (K, S); "
            f"got {tuple(prototypes.shape)}, {tuple(present.shape)}, {tuple(entries.shape)} and {tuple(filled.shape)}"
        )
