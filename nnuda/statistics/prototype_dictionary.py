"""Feature dictionaries of similarity-based prototypes: the latest prototypes of each class, from many images."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch import distributed as dist


class PrototypeDictionary(nn.Module):
    """A first-in, first-out queue of unit vectors for each class, without gradients (Ye et al., arXiv 2510.20596).

    It bridges images that do not show every class. Buffers hold all its state: a checkpoint continues exactly.

    Args:
        num_classes: K.
        size: S, entries per class (the paper: 400, better than 200 and 600).
        channels: D.
    """

    def __init__(self, num_classes: int, size: int, channels: int) -> None:
        super().__init__()
        if min(num_classes, size, channels) < 1:
            raise ValueError(
                f"PrototypeDictionary expects positive sizes; got {num_classes} classes, {size} entries "
                f"and {channels} channels."
            )
        self.register_buffer("entries", torch.zeros(num_classes, size, channels))
        self.register_buffer("pushed", torch.zeros(num_classes, dtype=torch.long))

    @torch.no_grad()
    def update(self, prototypes: Tensor, present: Tensor) -> None:
        """Push the prototypes of some images; the oldest of a full class leave.

        Call it after the loss, or an anchor finds itself among the entries.

        Args:
            prototypes: (B, K, D), a row per class; L2-normalised and detached here. Images are pushed in order.
            present: (B, K) bool; what is not present is not pushed.

        A prototype that overflowed, as AMP's steps may, is not pushed. Under DDP every rank must call it: the result is
        that of one process with all ranks' images, rank after rank.
        """
        present = present & prototypes.isfinite().all(2)
        prototypes, present = self.reduce(F.normalize(prototypes.to(self.entries.dtype), dim=2), present)
        rows = torch.arange(len(self.pushed), device=self.pushed.device)
        for vectors, shown in zip(prototypes, present):  # not indexed by `shown`, which would wait for the GPU
            place = self.pushed % self.entries.shape[1]
            self.entries[rows, place] = torch.where(shown[:, None], vectors, self.entries[rows, place])
            self.pushed += shown

    @staticmethod
    def reduce(prototypes: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Prototypes and presence of all ranks' images, along B; without DDP the same. Ranks may have different B."""
        if not (dist.is_available() and dist.is_initialized()):
            return prototypes, present
        mine = torch.tensor([len(prototypes)], device=prototypes.device)
        sizes = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
        dist.all_gather(sizes, mine)
        sizes = [int(size) for size in sizes]
        # backends differ in what they do with bool
        return (_gather(prototypes, sizes), _gather(present.to(torch.uint8), sizes).bool())

    def compute(self) -> tuple[Tensor, Tensor]:
        """The entries (K, S, D), in no particular order, and which of them are filled, (K, S) bool.

        A copy: a graph that was built on it survives the next update.
        """
        size = self.entries.shape[1]
        return self.entries.clone(), torch.arange(size, device=self.pushed.device) < self.pushed[:, None]

    def class_vectors(self) -> tuple[Tensor, Tensor]:
        """What a report compares: means of the entries (K, D), and of which classes there is one, bool (K,)."""
        entries, filled = self.compute()
        counts = filled.sum(1)
        return (entries * filled[..., None]).sum(1) / counts.clamp(min=1)[:, None], counts > 0

    def reset(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()


def _gather(tensor: Tensor, sizes: list[int]) -> Tensor:
    """The ranks' tensors along axis 0, which has sizes[rank] rows on each."""
    padded = tensor.new_zeros(max(sizes), *tensor.shape[1:])
    padded[: len(tensor)] = tensor
    gathered = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(gathered, padded)
    return torch.cat([part[:size] for part, size in zip(gathered, sizes)])
