"""Mixing images of two domains with a box (BCP, arXiv 2305.00673)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from acvl_utils.morphology.morphology_helper import remove_all_but_largest_component
from torch import Tensor


class MixedBatch(NamedTuple):
    """Images of both domains mixed.

    Attributes:
        image: (B, Cin, *S).
        from_source: (B, *S) bool, where the image shows the source.
    """

    image: Tensor
    from_source: Tensor


def mix_domains(image_s: Tensor, image_t: Tensor, share: float) -> MixedBatch:
    """Pastes a random box of the other domain: into source images in the first half of the batch,
    into target images in the rest.

    Args:
        image_s: (B, Cin, *S).
        image_t: likewise.
        share: side of the box as a share of the patch's, for each axis (BCP: 2/3).
    """
    outside = random_box(len(image_s), image_s.shape[2:], share).to(image_s.device, non_blocking=True)
    first = torch.arange(len(image_s), device=image_s.device) < (len(image_s) + 1) // 2
    from_source = torch.where(first.view(-1, *[1] * (image_s.ndim - 2)), outside, ~outside)
    return MixedBatch(torch.where(from_source[:, None], image_s, image_t), from_source)


def random_box(batch: int, shape: torch.Size, share: float) -> Tensor:
    """(B, *S) bool: False in a box at a random position, another one for each image."""
    box = torch.zeros((batch, *shape), dtype=torch.bool)
    for image in box:
        sides = [max(1, round(share * size)) for size in shape]
        starts = [int(torch.randint(size - side + 1, ())) for size, side in zip(shape, sides)]
        image[tuple(slice(start, start + side) for start, side in zip(starts, sides))] = True
    return ~box


def paste_boxes(image_s: Tensor, image_t: Tensor, share: float, probability: float) -> MixedBatch:
    """Target images, into some of which a box of the source image of the same index is pasted.

    Args:
        image_s: (B_s, Cin, *S).
        image_t: (B_t, Cin, *S); those from B_s on stay as they are.
        share: side of the box as a share of the patch's, for each axis.
        probability: of a box.
    """
    from_source = torch.zeros_like(image_t[:, 0], dtype=torch.bool)
    pairs = min(len(image_s), len(image_t))
    box = ~random_box(pairs, image_t.shape[2:], share).to(image_t.device, non_blocking=True)
    chosen = torch.rand(pairs, device=image_t.device) < probability
    from_source[:pairs] = box & chosen.view(-1, *[1] * (box.ndim - 1))
    image = image_t.clone()
    image[:pairs] = torch.where(from_source[:pairs, None], image_s[:pairs], image_t[:pairs])
    return MixedBatch(image, from_source)


def largest_components(label: Tensor, num_classes: int) -> Tensor:
    """Keeps the largest connected component of each foreground class of each image, background elsewhere.

    Args:
        label: (B, *S), integer.
        num_classes: C, background included.
    """
    kept = np.zeros(label.shape, dtype=np.int64)
    for image, out in zip(label.cpu().numpy(), kept):
        for c in range(1, num_classes):
            if (mask := image == c).any():
                out[remove_all_but_largest_component(mask)] = c
    return torch.from_numpy(kept).to(label.device)


def largest_region_components(regions: Tensor) -> Tensor:
    """The same for regions (B, R, *S), bool."""
    return torch.stack([largest_components(region.long(), 2).bool() for region in regions.unbind(1)], 1)
