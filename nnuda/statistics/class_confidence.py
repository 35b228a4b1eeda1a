"""How sure a teacher is of each class, and the thresholds that follow from it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist


class ClassConfidence(nn.Module):
    """A confidence threshold for each class: tau_c = tau m_c / max_k m_k, at least the floor.

    m_c is the moving mean, over iterations, of the probability of the voxels that the teacher calls c; 1 until c is
    first seen. A class that is learnt slowly is then not shut out by a threshold that only the background meets.
    After FreeMatch (arXiv 2205.07246, equation 6), which takes the mean probability of c over *all* voxels: in a
    segmentation that is the share of the class, and would let through any voxel of a small class.

    Args:
        classes: C, or R regions.
        tau: threshold of the class that the teacher is surest of, in [0, 1).
        floor: lowest threshold.
        momentum: of the moving mean.
    """

    def __init__(self, classes: int, tau: float, floor: float, momentum: float = 0.98) -> None:
        super().__init__()
        self.tau, self.floor, self.momentum = tau, min(floor, tau), momentum
        self.register_buffer("mean", torch.ones(classes))
        self.register_buffer("seen", torch.zeros(classes, dtype=torch.bool))

    @torch.no_grad()
    def update(self, probability: Tensor, regions: bool = False) -> None:
        """Take in a batch.

        Args:
            probability: (B, C, *S), the teacher's.
            regions: channels are regions; what counts are the voxels inside each.
        """
        flat = probability.detach().movedim(1, 0).flatten(1)
        if regions:
            called = flat > 0.5
        else:
            called = flat.argmax(0) == torch.arange(len(flat), device=flat.device)[:, None]
        sums = torch.stack(((flat * called).sum(1), called.sum(1).to(flat.dtype)))
        if dist.is_available() and dist.is_initialized():  # every rank goes on with the same thresholds
            dist.all_reduce(sums)
        total, voxels = sums
        batch = total / voxels.clamp(min=1)
        moved = torch.where(self.seen, torch.lerp(batch, self.mean, self.momentum), batch)
        self.mean.copy_(torch.where(voxels > 0, moved, self.mean))
        self.seen |= voxels > 0

    def compute(self) -> Tensor:
        """The thresholds, (C,), each within [floor, tau]."""
        return (self.tau * self.mean / self.mean.max()).clamp(min=self.floor)

    def reset(self) -> None:
        """As before the first batch."""
        self.mean.fill_(1)
        self.seen.fill_(False)
