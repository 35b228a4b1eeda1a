"""Moving class prototypes of one domain (the memory of TCSA-UDA's losses)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch import distributed as dist


class ClassMemory(nn.Module):
    """One vector per class, without gradients; the batch's own part keeps its gradient (TCSA-UDA, arXiv 2511.05782).

    With m_k what is remembered and p_k the mean over the batch's voxels of class k:

        c_k = p_k                                   at the first update
        c_k = momentum sg(m_k) + (1 - momentum) p_k   where the batch shows k
        c_k = sg(m_k)                               where it does not
        m_k <- sg(c_k)                              after the loss

    The authors' release detaches p_k too, so that the vision-language loss reaches no weight of the image network; the
    gradient through (1 - momentum) p_k is that of CoPT (ECCV 2024), from which the loss comes.

    Args:
        num_classes: K.
        channels: A.
        momentum: in [0, 1); the gradient is scaled by 1 - momentum.
    """

    def __init__(self, num_classes: int, channels: int, momentum: float) -> None:
        super().__init__()
        if min(num_classes, channels) < 1 or not 0 <= momentum < 1:
            raise ValueError(
                "ClassMemory expects positive sizes and a momentum in [0, 1); got "
                f"{num_classes} classes, {channels} channels and {momentum}."
            )
        self.momentum = momentum
        self.register_buffer("mean", torch.zeros(num_classes, channels))
        self.register_buffer("seen", torch.zeros(num_classes, dtype=torch.bool))

    def blend(self, sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Prototypes c of the batch and the memory, which is left as it is.

        Args:
            sums: (K, A), of this rank's features by class, with their graph (`losses.class_prototypes.class_sums`).
            counts: (K,), of how many voxels.

        Returns:
            c (K, A), and for which classes there is one, bool (K,).

        Under DDP every rank must call it, and gets the prototypes of all ranks' voxels.
        """
        sums, counts = self.reduce(sums, counts)
        present, seen = counts > 0, self.seen.clone()  # copies: the graph survives the update
        batch = sums / counts.clamp(min=1)[:, None]
        memory = self.mean.clone().to(batch.dtype)
        blended = torch.where(seen[:, None], self.momentum * memory + (1 - self.momentum) * batch, batch)
        return torch.where(present[:, None], blended, memory), present | seen

    @torch.no_grad()
    def update(self, prototypes: Tensor, valid: Tensor) -> None:
        """Remember what `blend` gave; call it after the loss.

        A vector that overflowed, as AMP's steps may, is not remembered.
        """
        taken = valid & prototypes.isfinite().all(1)
        self.mean.copy_(torch.where(taken[:, None], prototypes.to(self.mean.dtype), self.mean))
        self.seen.copy_(self.seen | taken)

    def compute(self) -> tuple[Tensor, Tensor]:
        """What is remembered, (K, A), and of which classes, bool (K,); a copy."""
        return self.mean.clone(), self.seen.clone()

    def class_vectors(self) -> tuple[Tensor, Tensor]:
        """What a report compares: vectors (K, A), and of which classes there is one, bool (K,)."""
        return self.compute()

    @staticmethod
    def reduce(sums: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Sums and counts of all ranks' voxels; without DDP the same.

        The gradient to this rank's own voxels is multiplied by the number of ranks, which the averaging of gradients
        takes back: the step is that of one process with all ranks' images.
        """
        if not (dist.is_available() and dist.is_initialized()):
            return sums, counts
        all_sums, all_counts = sums.detach().clone(), counts.detach().clone()
        dist.all_reduce(all_sums)
        dist.all_reduce(all_counts)
        return all_sums + dist.get_world_size() * (sums - sums.detach()), all_counts

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()
