"""Masked image consistency: what the teacher sees in the whole image, the student has to tell from what is left of it.

Reference: Hoyer et al., "MIC: Masked Image Consistency for Context-Enhanced Domain Adaptation", CVPR 2023
(arXiv 2212.01322), section 3.2. With y^M the student's prediction of the masked image, p^T the teacher's label of the
whole one and q^T its quality,

    L_M = q^T L_ce(y^M, p^T),    q^T = share of the voxels with max_c f_teacher(x)_c > tau
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast


def masked_consistency(
    logits_student: Tensor, logits_teacher: Tensor, threshold: float, regions: bool = False
) -> Tensor:
    """L_M, the mean over the images.

    Args:
        logits_student: (B, C, *S), of the masked images.
        logits_teacher: (B, C, *S), of the whole ones; detached.
        threshold: tau, in [0, 1).
        regions: sigmoid channels; the cross-entropy is the binary one, and q^T counts max(p, 1 - p) of each region.

    Returns:
        Scalar; 0 with a graph where the teacher is nowhere sure.

    Raises:
        ValueError: for logits of different shapes.
    """
    if logits_student.shape != logits_teacher.shape:
        raise ValueError(
            "masked_consistency expects student and teacher logits of one shape (B, C, *S); got "
            f"{tuple(logits_student.shape)} and {tuple(logits_teacher.shape)}"
        )
    with no_autocast(logits_student):
        student, teacher = full(logits_student), full(logits_teacher.detach())
        if regions:
            p = teacher.sigmoid()
            sure = torch.maximum(p, 1 - p) > threshold
            cross_entropy = F.binary_cross_entropy_with_logits(student, (p > 0.5).to(student.dtype), reduction="none")
        else:
            p, label = teacher.softmax(1).max(1)
            sure = p > threshold
            cross_entropy = F.cross_entropy(student, label, reduction="none")
        quality = sure.flatten(1).to(student.dtype).mean(1)
        return (quality * cross_entropy.flatten(1).mean(1)).mean()
