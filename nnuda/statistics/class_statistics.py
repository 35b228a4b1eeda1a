"""Running mean and covariance of each class's features (the memory of TransMedSeg; ISDA, TSA)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch import distributed as dist

COUNT_LIMIT = 1e6  # voxels; beyond it a count only says "many", and float32 still adds exactly
VOXELS_PER_CHANNEL = 10  # a full covariance of F channels is trusted from 10 F voxels on


class ClassMoments(NamedTuple):
    """Moments of some features by class: counts (K,), means (K, F), population covariances (K, F, F), or
    variances (K, F)."""

    count: Tensor
    mean: Tensor
    covariance: Tensor


class ClassStatistics(nn.Module):
    """Mean and covariance of each class, a moving average that starts as the plain average.

    With n new and N old voxels of a class, w = max(n / (n + N), 1 - momentum):

        mu <- (1 - w) mu + w m,    Sigma <- (1 - w) Sigma + w V + w (1 - w) (mu - m) (mu - m)^T

    ISDA (arXiv 1909.12220), equations 14-16, with momentum = 1: exact for any partition of the data. Below 1 the old
    features of a changing network are forgotten. A class without new voxels stays as it is.

    Args:
        num_classes: K.
        channels: F.
        covariance: "full" or "diagonal".
        momentum: in (0, 1].
    """

    def __init__(self, num_classes: int, channels: int, covariance: str = "full", momentum: float = 0.99) -> None:
        super().__init__()
        if covariance not in ("full", "diagonal") or not 0 < momentum <= 1:
            raise ValueError(
                "ClassStatistics expects covariance full or diagonal and a momentum in (0, 1]; got "
                f"{covariance!r} and {momentum}."
            )
        self.full = covariance == "full"
        self.momentum = momentum
        self.register_buffer("count", torch.zeros(num_classes))
        self.register_buffer("mean", torch.zeros(num_classes, channels))
        self.register_buffer("covariance", torch.zeros(num_classes, channels, *([channels] if self.full else [])))

    @torch.no_grad()
    def update(self, samples: Sequence[Tensor]) -> None:
        """Take in new features.

        Args:
            samples: K tensors (n_k, F), the features of each class; n_k may be 0. Detached here.

        A class with a feature that overflowed, as AMP's steps may, is left out. Under DDP every rank must call it: the
        result is that of one process with all ranks' samples.
        """
        new = self.reduce(finite(class_moments([sample.to(self.mean.dtype) for sample in samples], self.full)))
        weight = new.count / (new.count + self.count).clamp(min=1)
        weight = torch.where(new.count > 0, weight.clamp(min=1 - self.momentum), 0)
        merged = merge_moments(ClassMoments(self.count, self.mean, self.covariance), new, weight)
        self.count.copy_(merged.count.clamp(max=COUNT_LIMIT))
        self.mean.copy_(merged.mean)
        self.covariance.copy_(merged.covariance)

    @staticmethod
    def reduce(moments: ClassMoments) -> ClassMoments:
        """The moments of the union of all ranks' samples; without DDP the same."""
        if not (dist.is_available() and dist.is_initialized()):
            return moments
        gathered = [[torch.empty_like(part) for _ in range(dist.get_world_size())] for part in moments]
        for parts, part in zip(gathered, moments):
            dist.all_gather(parts, part.contiguous())
        first, *others = (ClassMoments(*parts) for parts in zip(*gathered))
        for other in others:
            first = merge_moments(first, other, other.count / (first.count + other.count).clamp(min=1))
        return first

    def compute(self) -> ClassMoments:
        """Counts, means, and the covariances that can be trusted: full from 10 F voxels on,
        variances alone from 10 on, else 0."""
        count, covariance = self.count, self.covariance
        keep = (count >= VOXELS_PER_CHANNEL).to(covariance.dtype)
        if not self.full:
            return ClassMoments(count, self.mean, covariance * keep[:, None])
        diagonal = torch.diag_embed(covariance.diagonal(dim1=1, dim2=2))
        enough = (count >= VOXELS_PER_CHANNEL * self.mean.shape[1])[:, None, None]
        return ClassMoments(count, self.mean, torch.where(enough, covariance, diagonal) * keep[:, None, None])

    def class_vectors(self) -> tuple[Tensor, Tensor]:
        """What a report compares: means (K, F), and of which classes there is one, bool (K,)."""
        return self.mean.clone(), self.count > 0

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()


def class_moments(samples: Sequence[Tensor], full: bool) -> ClassMoments:
    """Moments of K tensors (n_k, F); zeros for an empty one."""
    moments = []
    for sample in samples:
        n = max(len(sample), 1)
        mean = sample.sum(0) / n
        centred = sample - mean
        moments.append((mean, centred.T @ centred / n if full else centred.square().sum(0) / n))
    means, covariances = zip(*moments)
    count = torch.stack(
        [mean.new_full((), len(sample)) for mean, sample in zip(means, samples)]
    )  # filled on the device
    return ClassMoments(count, torch.stack(means), torch.stack(covariances))


def finite(moments: ClassMoments) -> ClassMoments:
    """The moments, zeros for a class where one is NaN or infinite."""
    valid = moments.mean.isfinite().all(1) & moments.covariance.isfinite().flatten(1).all(1)
    return ClassMoments(*(torch.where(valid.view(-1, *[1] * (part.ndim - 1)), part, 0) for part in moments))


def merge_moments(old: ClassMoments, new: ClassMoments, weight: Tensor) -> ClassMoments:
    """Moments of a mixture of two populations by class, the new one with `weight` (K,);
    the term of the means' distance is kept."""
    w = weight[:, None]
    gap = old.mean - new.mean
    if old.covariance.ndim == 3:
        between, v = gap[:, :, None] * gap[:, None, :], w[:, :, None]
    else:
        between, v = gap.square(), w
    return ClassMoments(
        old.count + new.count,
        (1 - w) * old.mean + w * new.mean,
        (1 - v) * old.covariance + v * new.covariance + v * (1 - v) * between,
    )


@torch.no_grad()
def sample_classes(features: Tensor, masks: Sequence[Tensor], limit: int) -> list[Tensor]:
    """At most `limit` voxels of each class, spread evenly over all of the class's voxels from a random first one.

    Args:
        features: (B, F, *S).
        masks: K boolean tensors (B, *S).
        limit: voxels of a class.

    Returns:
        K tensors (n_k, F), detached.
    """
    flat = features.detach().flatten(2)
    offset = torch.rand(len(masks), device=features.device)
    samples = []
    for mask, start in zip(masks, offset):
        image, voxel = mask.flatten(1).nonzero(as_tuple=True)
        if len(image) > limit:
            step = len(image) / limit
            chosen = ((torch.arange(limit, device=image.device) + start) * step).long().clamp(max=len(image) - 1)
            image, voxel = image[chosen], voxel[chosen]
        samples.append(flat[image, :, voxel])
    return samples
