"""Class-wise prototypes: where in the embedding space each class of an image lies.

Reference: Ye, Ju, Ma and Zhang, "Unsupervised Domain Adaptation via Similarity-based Prototypes for Cross-Modality
Segmentation", MICCAI-DART 2021 (arXiv 2510.20596).

    c_k = sum_p w_{p,k} z_p / sum_p w_{p,k}

with unit embeddings z_p; w_{p,k} is 1 where the label is k or, on the target, where the network's confident prediction
is k, else 0. Each image has prototypes of its own; a class that it does not show has none.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast

SHORTEST = 1e-3
"""Embeddings shorter than this keep less than unit length: a unit vector's gradient grows with 1 / length."""


def class_prototypes(embeddings: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Masked average pooling of unit embeddings, image by image and class by class.

    Args:
        embeddings: z, (B, D, *S); L2-normalised here.
        masks: bool, (B, K, *S), which voxels belong to a class; classes may overlap.

    Returns:
        Prototypes (B, K, D), not of unit length: the length of one is the mean cosine between it and its voxels.
        Presence, bool (B, K); an absent class has the prototype 0.

    Raises:
        ValueError: for other shapes.
    """
    if embeddings.shape[:1] + embeddings.shape[2:] != masks.shape[:1] + masks.shape[2:] or masks.ndim < 3:
        raise ValueError(
            "class_prototypes expects embeddings (B, D, *S) and masks (B, K, *S) of the same voxels; "
            f"got {tuple(embeddings.shape)} and {tuple(masks.shape)}"
        )
    with no_autocast(embeddings):
        z = full(embeddings).flatten(2)
        z = F.normalize(z, dim=1, eps=SHORTEST)
        weights = masks.flatten(2).to(z.dtype)
        count = weights.sum(2)
        return weights @ z.transpose(1, 2) / count.clamp(min=1)[:, :, None], count > 0


def class_sums(features: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of the features of each class, and of how many voxels: what batches, ranks and memories can be added up from.

    Used by TCSA-UDA (arXiv 2511.05782). Unlike in `class_prototypes`, the features are taken as they are, not
    normalised, and the images of a batch are pooled together.

    Args:
        features: (B, A, *S). The gradient passes.
        masks: bool (B, K, *S), which voxels belong to a class (`nnuda.labels`).

    Returns:
        Sums (K, A) in float32, or float64 where the features are; counts (K,) of the same type. An absent class has 0
        and 0.

    Raises:
        ValueError: for other shapes.
    """
    if features.shape[:1] + features.shape[2:] != masks.shape[:1] + masks.shape[2:] or masks.ndim < 3:
        raise ValueError(
            "class_sums expects features (B, A, *S) and masks (B, K, *S) of the same voxels; "
            f"got {tuple(features.shape)} and {tuple(masks.shape)}"
        )
    with no_autocast(features):
        values = full(features).flatten(2)
        weights = masks.flatten(2).to(values.dtype)
        return (weights @ values.transpose(1, 2)).sum(0), weights.sum((0, 2))
