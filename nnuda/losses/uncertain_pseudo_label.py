"""L_useg of UUDS: the network's own certain predictions on the target supervise the adaptation.

Reference: "Unified Uncertain Dual-prompts Cross-domain Segmentation Framework for Medical Image Segmentation"
(UUDS), ICLR 2025 submission, section 3.2, equations 5 to 8.

    u = -Y^ log(Y^ + 1e-9)                        (5)
    Y = {Y^ | u < chi},  Y^mask = 1[u < chi]      (6, 7)
    L = 1 - 2 sum_mask Y Y^ / (sum_mask Y + sum_mask Y^)      (8)

- literal: equation 5 is one channel's term alone (largest at p = 1/e, not at p = 1/2) and Y is Y^ itself with its
  gradient, so that equation 8 sharpens the prediction towards itself.
- intended: the entropy is summed over the classes, and the pseudo-*label* is the detached arg max inside the mask.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from nnuda.losses.entropy import entropy, entropy_terms
from nnuda.losses.precision import full, no_autocast
from nnuda.losses.soft_dice import mean_of_present, soft_dice

FLOOR = 1e-9  # equation 5's
BINARY_THRESHOLD = 0.2
"""Entropy in nats below which a two-class prediction is certain (its larger probability above 0.9495)."""


def uncertain_pseudo_label_loss(
    logits: Tensor,
    chi: float | None = None,
    target: Literal["hard", "soft_detached", "literal"] = "hard",
    regions: bool = False,
) -> Tensor:
    """Masked Dice of the predictions with their own certain part (UUDS, equations 5 to 8).

    Args:
        logits: (B, C, *S). Class 0 is the background; with `regions` every channel is a foreground region.
        chi: entropy in nats below which a prediction counts as certain. None: 0.2 for two classes, which is also the
            value of a region and of the literal form; 0.2 log(C) / log(2) for C classes.
        target: "hard" detached arg max, "soft_detached" detached probabilities, or "literal" (both factors keep their
            gradient and each class is masked by its own term of equation 5).
        regions: sigmoid channels, each with the two-class entropy and mask of its own, instead of a softmax.

    Returns:
        Scalar, the mean over the samples of the mean over the foreground classes that their masked pseudo-label holds;
        a sample without any counts as 0, with a graph.

    Raises:
        ValueError: for logits without a foreground channel or an unknown target.
    """
    if logits.ndim < 3 or logits.shape[1] < (1 if regions else 2):
        raise ValueError(
            "uncertain_pseudo_label_loss expects logits (B, C, *S), C >= 2 with the background first "
            f"(C >= 1 with regions); got {tuple(logits.shape)}"
        )
    if target not in ("hard", "soft_detached", "literal"):
        raise ValueError(f"target is 'hard', 'soft_detached' or 'literal', got {target!r}")
    with no_autocast(logits):
        logits = full(logits)
        probabilities = logits.sigmoid() if regions else logits.softmax(1)
        with torch.no_grad():
            certain = _certain(probabilities, chi, target == "literal", regions)
            winner = None if regions else probabilities.argmax(1)
        terms = []
        # Class by class: a product over all of them at once would keep another (B, C, *S) of floats for the backward.
        for c in range(0 if regions else 1, logits.shape[1]):
            prediction = probabilities[:, c]
            if target == "hard":
                pseudo_label = prediction.detach() > 0.5 if regions else winner == c
            else:
                pseudo_label = prediction.detach() if target == "soft_detached" else prediction
            terms.append(_masked_dice(prediction, pseudo_label, certain[:, c]))
        return mean_of_present(*(torch.stack(term, 1) for term in zip(*terms))).mean()


def _certain(probabilities: Tensor, chi: float | None, by_term: bool, regions: bool) -> Tensor:
    """Y^mask of every class (UUDS, equation 7), bool, (B, C, *S)."""
    if by_term:
        return entropy_terms(probabilities, FLOOR) < (BINARY_THRESHOLD if chi is None else chi)
    if regions:  # each with its own
        uncertainty = entropy_terms(probabilities, FLOOR) + entropy_terms(1 - probabilities, FLOOR)
        return uncertainty < (BINARY_THRESHOLD if chi is None else chi)
    if chi is None:
        chi = BINARY_THRESHOLD * math.log(probabilities.shape[1]) / math.log(2)
    return (entropy(probabilities, floor=FLOOR) < chi)[:, None].expand_as(probabilities)


def _masked_dice(prediction: Tensor, label: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Equation 8 of one class, all (B, *S): the loss of each sample and whether its masked label is not empty, (B,)."""
    label = label * mask
    return soft_dice(*(values.flatten(1).sum(1) for values in (prediction * label, prediction * mask, label)))
