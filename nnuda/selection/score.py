"""The scores of one network on the fixed target patches."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from nnuda.losses.entropy import entropy
from nnuda.selection.agreement import agreement, overlap
from nnuda.selection.class_prior import class_prior_distance, foreground
from nnuda.selection.density import alike_of_each_class, soft_neighbourhood_density
from nnuda.selection.patches import SourceShares, TargetPatches

Predict = Callable[[Tensor], Tensor]


@torch.no_grad()
def score_target(
    patches: TargetPatches,
    source: SourceShares,
    predict: Predict,
    second: Predict | None,
    batch_size: int,
    regions: bool,
    density_voxels: int,
    temperature: float,
    device: torch.device,
) -> dict[str, float | list[float] | None]:
    """Entropy, class prior, agreement and density of a network's predictions.

    Args:
        patches: of the target.
        source: sizes of its classes.
        predict: image (B, Cin, *S) to finest logits (B, C, *S), by the network that will predict.
        second: what it is to agree with, likewise; None leaves the agreement out.
        batch_size: patches at a time.
        regions: whether the logits are of regions.
        density_voxels: voxels of the density.
        temperature: tau of the density.
        device: the network's.

    Returns:
        "entropy" (nats), "class_prior" (nats), "agreement" and "density" (0 to 1), and "class_shares", the share of the
        target's voxels predicted as each foreground class. None for what has no finite value.
    """
    entropies, both, sampled = [], [], []
    counts, voxels, size = 0, int(patches.inside.sum()), patches.inside[0].numel()
    for start in range(0, len(patches.image), batch_size):
        image = patches.image[start : start + batch_size].to(device, non_blocking=True)
        inside = patches.inside[start : start + batch_size].to(device, non_blocking=True)
        all_p = _probabilities(predict(image), regions)
        p = all_p[inside]
        predicted = foreground(p, regions)
        entropies.append(entropy(p, regions).sum())
        counts = counts + predicted.sum(0)
        here = (patches.sampled >= start * size) & (patches.sampled < (start + len(image)) * size)
        sampled.append(all_p.flatten(0, -2)[(patches.sampled[here] - start * size).to(device)])
        if second is not None:
            both.append(overlap(predicted, foreground(_probabilities(second(image), regions)[inside], regions)))
    shares = [count / max(1, voxels) for count in counts.tolist()]
    return {
        "entropy": _finite(float(torch.stack(entropies).cpu().double().sum()) / max(1, voxels)),
        "class_prior": _prior(shares, source, voxels),
        "agreement": agreement(torch.stack(both).sum(0)) if both else None,
        "density": _density(torch.cat(sampled), regions, density_voxels, temperature),
        "class_shares": shares,
    }


def _probabilities(logits: Tensor, regions: bool) -> Tensor:
    logits = logits.float().movedim(1, -1)
    return logits.sigmoid() if regions else logits.softmax(-1)


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _prior(shares: list[float], source: SourceShares, voxels: int) -> float | None:
    pairs = [(q, pi) for q, pi, watched in zip(shares, source.share, source.watched) if watched]
    return class_prior_distance(*zip(*pairs), voxels) if pairs else None


def _density(p: Tensor, regions: bool, number: int, temperature: float) -> float | None:
    p = p[alike_of_each_class(foreground(p, regions), number)]
    return _finite(soft_neighbourhood_density(torch.cat((p, 1 - p), 1) if regions else p, temperature))
