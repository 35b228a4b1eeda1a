"""L_VLC of TCSA-UDA: the classes of an image should relate to each other as their texts do.

Reference: Maurya, Liu and Zwiggelaar, "TCSA-UDA: Text-Driven Cross-Semantic Alignment for Unsupervised Domain
Adaptation in Medical Image Segmentation", arXiv 2511.05782, vision-language covariance cosine loss. The abstract
describes it; the form is that of the authors' release, and its gradient that of CoPT (ECCV 2024), from which it comes:

    Sigma_p = P^ P^^T,   Sigma_t = T^ T^^T   (rows of unit length, K x K matrices of cosines)
    L_VLC = 1 - <vec(Sigma_p), vec(Sigma_t)> / (|vec(Sigma_p)| |vec(Sigma_t)|)

with a prototype p_k and a text t_k a class. The two need not have the same length.

Texts of short prompts are all similar (cosines of 0.7 to 0.95). As printed, image classes that are *all the same* then
score better than orthogonal ones: 0.0045 against 0.47 for five classes and text cosines of 0.8. The default therefore
subtracts the mean over the classes from P and from T before the rows are normalised: collapsed classes give 1, and
scaling or rotating P still changes nothing. With two classes the two centred rows are opposite whatever they were, so
that the centred loss is 0 and has no gradient: it needs three.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from nnuda.losses.precision import full, no_autocast

SHORTEST = 1e-3
"""Rows shorter than this share of the longest uncentred row keep less than unit length: after centring, rounding errors
of equal rows would otherwise become unit vectors, and the gradient grows with 1 / length."""


def covariance_cosine(
    prototypes: Tensor,
    valid: Tensor,
    text: Tensor,
    center: Literal["class", "none"] = "class",
    off_diagonal: bool = False,
) -> Tensor:
    """L_VLC, from the class prototypes of an image feature map and the embeddings of the classes' texts.

    Args:
        prototypes: (K, A), the gradient passes (`nnuda.statistics.class_memory.ClassMemory.blend`).
        valid: bool (K,), the classes that have a prototype.
        text: (K, D), detached here: else the texts would move to the image.
        center: "class" as above; "none" is the release's, which rewards classes that are all the same.
        off_diagonal: compare the cosines between different classes alone; the diagonal is 1 on both sides.

    Returns:
        Scalar in [0, 2]; 0 with a graph where fewer than two classes are valid.

    Raises:
        ValueError: for shapes other than the above or an unknown `center`.
    """
    fits = prototypes.ndim == text.ndim == 2 and valid.shape == prototypes.shape[:1] == text.shape[:1]
    if not fits:
        raise ValueError(
            "covariance_cosine expects prototypes (K, A), valid (K,) and text (K, D); "
            f"got {tuple(prototypes.shape)}, {tuple(valid.shape)} and {tuple(text.shape)}"
        )
    if center not in ("class", "none"):
        raise ValueError(f"center is 'class' or 'none', got {center!r}")
    with no_autocast(prototypes):
        counted = valid[:, None] & valid
        if off_diagonal:
            counted = counted & ~torch.eye(len(valid), dtype=torch.bool, device=valid.device)
        grams = [class_cosines(rows, valid, center == "class") * counted for rows in (prototypes, text.detach())]
        image, words = (gram.to(grams[0].dtype).flatten() for gram in grams)
        # a Gram with one row of full length has at least norm 1: only collapsed classes fall below
        shortest = SHORTEST if off_diagonal else 1.0
        cosine = (image * words).sum() / (_length(image, 0, shortest) * _length(words, 0, shortest)).squeeze()
        return (1 - cosine) * (valid.sum() > 1)


def class_cosines(rows: Tensor, valid: Tensor, centered: bool) -> Tensor:
    """Cosines between the valid rows; 0 elsewhere.

    Args:
        rows: (K, A).
        valid: bool (K,).
        centered: subtract the mean of the valid rows first.

    Returns:
        (K, K).
    """
    rows = full(rows)
    rows = torch.where(valid[:, None], rows, 0)
    scale = rows.detach().square().sum(1).amax().sqrt()
    if centered:
        mean = rows.sum(0) / valid.sum().clamp(min=1)
        rows = torch.where(valid[:, None], rows - mean, 0)
    unit = rows / _length(rows, 1, SHORTEST * scale)
    return unit @ unit.T


def _length(rows: Tensor, dim: int, shortest: Tensor | float) -> Tensor:
    """Euclidean length, `shortest` at least; its gradient at 0 is 0, where that of a root is NaN."""
    squared = rows.square().sum(dim, keepdim=True)
    return squared.clamp(min=shortest**2).clamp(min=torch.finfo(rows.dtype).tiny).sqrt()
