"""L_sim of similarity-based prototypes: a class's voxels close to its prototype, the prototypes far from each other.

Reference: Ye, Ju, Ma and Zhang, "Unsupervised Domain Adaptation via Similarity-based Prototypes for Cross-Modality
Segmentation", MICCAI-DART 2021 (arXiv 2510.20596). It describes the two terms; their form is ours:

    L_sc = mean_k mean_{p in k} (1 - cos(z_p, c_k))         within a class, in [0, 1]
    L_dc = mean_{k<l} max(0, cos(c_k, c_l))                 between classes, in [0, 1]
    L_sim = L_sc + L_dc

over the classes that an image shows, each with the same weight whatever its size. L_sc alone is smallest where all
embeddings are equal; L_dc is what keeps them apart. As the mean of unit vectors, c_k has the length
mean_p cos(z_p, c_k), so that L_sc = mean_k (1 - |c_k|), whether or not its gradient passes through the prototype.
"""

from __future__ import annotations

from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast

SHORTEST = 1e-3
"""Prototypes shorter than this, of voxels that cancel out, count with less than unit length."""


def class_similarity(prototypes: Tensor, present: Tensor, form: Literal["clamped", "unclamped"] = "clamped") -> Tensor:
    """L_sim = L_sc + L_dc.

    Args:
        prototypes: c_k, (B, K, D), means of unit embeddings (`class_prototypes`), not normalised. Gradients pass.
        present: bool, (B, K), the classes that an image shows.
        form: "clamped" stops pushing at orthogonal prototypes, as above; "unclamped" takes the cosine itself, whose
            mean is -1 / (K - 1) at best.

    Returns:
        Scalar, the mean over the images that show any class; an image with one class has L_dc = 0. 0 with a graph
        where no image shows any.

    Raises:
        ValueError: for shapes other than the above or an unknown form.
    """
    if prototypes.ndim != 3 or present.shape != prototypes.shape[:2]:
        raise ValueError(
            "class_similarity expects prototypes (B, K, D) and present (B, K); "
            f"got {tuple(prototypes.shape)} and {tuple(present.shape)}"
        )
    if form not in ("clamped", "unclamped"):
        raise ValueError(f"form is 'clamped' or 'unclamped', got {form!r}")
    with no_autocast(prototypes):
        c = full(prototypes)
        unit = F.normalize(c, dim=2, eps=SHORTEST)
        within = _mean(1 - (c * unit).sum(2), present)
        cosine = unit @ unit.transpose(1, 2)
        pair = (present[:, :, None] & present[:, None, :]).triu(1)
        between = _mean((cosine.clamp(min=0) if form == "clamped" else cosine).flatten(1), pair.flatten(1))
        return _mean((within + between)[None], present.any(1)[None])[0]


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    """Mean along axis 1 over the counted values, 0 where there are none; both (N, M)."""
    return (values * counted).sum(1) / counted.sum(1).clamp(min=1)
