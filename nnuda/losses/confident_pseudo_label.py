"""Teacher-student term: the student learns the confident part of its averaged teacher's prediction.

References: Tarvainen and Valpola, "Mean teachers are better role models", NeurIPS 2017, for the averaged teacher;
Sohn et al., "FixMatch", NeurIPS 2020, equation 4, for hard pseudo-labels above a confidence, cross-entropy on another
view. The soft Dice beside the cross-entropy is nnU-Net's habit, here with the same mask. No part of the UUDS paper.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from nnuda.losses.precision import full, no_autocast
from nnuda.losses.soft_dice import mean_of_present, soft_dice

IGNORED = -100


def confident_pseudo_label_loss(
    logits_student: Tensor, logits_teacher: Tensor, confidence: float | Tensor, regions: bool = False
) -> Tensor:
    """Cross-entropy plus soft Dice with the teacher's labels, over the voxels where the teacher is confident.

    Args:
        logits_student: (B, C, *S). Class 0 is the background; with `regions` every channel is a foreground region.
        logits_teacher: (B, C, *S) for the same voxels; detached.
        confidence: probability above which the teacher's label counts, in [0, 1); or (C,), one for each label.
        regions: sigmoid channels; a channel counts where max(p, 1 - p) exceeds `confidence`, and the cross-entropy is
            the binary one.

    Returns:
        Scalar: cross-entropy, the mean over confident voxels, plus Dice loss, pooled over the batch, the mean over
        the foreground classes that the confident pseudo-label holds. 0 with a graph where nothing is confident.

    Raises:
        ValueError: for logits of different shapes or without a foreground channel.
    """
    if logits_student.shape != logits_teacher.shape or logits_student.shape[1] < (1 if regions else 2):
        raise ValueError(
            "confident_pseudo_label_loss expects student and teacher logits of one shape (B, C, *S), C >= 2 with the "
            f"background first (C >= 1 with regions); got {tuple(logits_student.shape)} and "
            f"{tuple(logits_teacher.shape)}"
        )
    with no_autocast(logits_student):
        student = full(logits_student)
        teacher = logits_teacher.detach().to(student.dtype)
        return _regions(student, teacher, confidence) if regions else _classes(student, teacher, confidence)


def _classes(student: Tensor, teacher: Tensor, confidence: float | Tensor) -> Tensor:
    probability, label = teacher.softmax(1).max(1)
    confident = probability > (confidence[label] if isinstance(confidence, Tensor) else confidence)
    label = label.masked_fill(~confident, IGNORED)
    cross_entropy = F.cross_entropy(student, label, ignore_index=IGNORED, reduction="sum")
    student = student.softmax(1)
    dice = [_dice_sums(student[:, c], label == c, confident) for c in range(1, student.shape[1])]
    return cross_entropy / confident.sum().clamp(min=1) + _mean_dice(dice)


def _regions(student: Tensor, teacher: Tensor, confidence: float | Tensor) -> Tensor:
    teacher = teacher.sigmoid()
    label = teacher > 0.5
    if isinstance(confidence, Tensor):
        confidence = confidence.view(-1, *[1] * (teacher.ndim - 2))
    confident = torch.maximum(teacher, 1 - teacher) > confidence
    cross_entropy = F.binary_cross_entropy_with_logits(student, label.to(student.dtype), reduction="none")
    cross_entropy = (cross_entropy * confident).sum() / confident.sum().clamp(min=1)
    student = student.sigmoid()
    dice = [_dice_sums(student[:, c], label[:, c] & confident[:, c], confident[:, c]) for c in range(student.shape[1])]
    return cross_entropy + _mean_dice(dice)


def deeply_supervised(
    logits_student: list[Tensor],
    logits_teacher: Tensor,
    weights: Sequence[float],
    confidence: float | Tensor,
    regions: bool = False,
) -> Tensor:
    """The loss at every resolution of nnU-Net's deep supervision, sum_i w_i L_i; the teacher's labels and mask of a
    coarser one are those of the nearest voxels.

    Args:
        logits_student: (B, C, *S_i) for each resolution, finest first.
        logits_teacher: (B, C, *S_0).
        weights: w_i, nnU-Net's; a resolution of weight 0 is left out.
        confidence: as in `confident_pseudo_label_loss`.
        regions: likewise.
    """
    return sum(
        weight
        * confident_pseudo_label_loss(
            logits, F.interpolate(logits_teacher, logits.shape[2:], mode="nearest-exact"), confidence, regions
        )
        for weight, logits in zip(weights, logits_student)
        if weight
    )


def _dice_sums(prediction: Tensor, label: Tensor, confident: Tensor) -> Tensor:
    """Intersection, and sizes of prediction and label, of one class (B, *S) within the mask, (3,)."""
    return torch.stack(((prediction * label).sum(), (prediction * confident).sum(), label.sum()))


def _mean_dice(sums: list[Tensor]) -> Tensor:
    return mean_of_present(*soft_dice(*torch.stack(sums, 1)))
