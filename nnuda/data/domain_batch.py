"""What one training step sees of each domain. The target's batch has no label attribute:
the label firewall is in the type."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SourceBatch:
    """A batch of the labelled source.

    Attributes:
        image: (B, Cin, *S), augmented.
        label: (B, 1, *S) label map or (B, R, *S) regions, or a list of them,
            one a deep-supervision resolution, finest first.
        weak: (B, Cin, *S), the same patches, moved alike, with their intensities untouched; None unless the trainer
            asks for it (`reads_weak_source`).
    """

    image: Tensor
    label: Tensor | list[Tensor]
    weak: Tensor | None = None


@dataclass(frozen=True)
class TargetBatch:
    """A batch of the unlabelled target: two views of the same patches, voxel by voxel aligned.

    Attributes:
        image: (B, Cin, *S), the strong view, which the network learns from.
        weak: (B, Cin, *S), the weak view, moved like the strong one but with its intensities
            untouched; a teacher sees it.
        from_source: (B, *S) bool, where the strong view shows a pasted box of a source image; None without any.
    """

    image: Tensor
    weak: Tensor
    from_source: Tensor | None = None

    def without_images(self) -> TargetBatch:
        """An empty batch (0, Cin, *S) of the same patches, for a step that learns from the source alone."""
        return TargetBatch(self.image[:0], self.weak[:0])


def to_device(batch: dict, device: torch.device) -> tuple[SourceBatch, TargetBatch]:
    """Move what the two-domain stream drew to the device."""

    def move(value: Tensor | list[Tensor]) -> Tensor | list[Tensor]:
        if isinstance(value, list):
            return [move(item) for item in value]
        return value.to(device, non_blocking=True)

    target = batch["target_domain"]
    image, *weak = move(batch["data"]).chunk(batch.get("source_views", 1), dim=1)
    return (
        SourceBatch(image, move(batch["target"]), *weak),
        TargetBatch(move(target["strong"]), move(target["weak"])),
    )
