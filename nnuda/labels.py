"""Labels: what the classes are called, and which voxels belong to a class, a region or neither.

The one place for nnU-Net's rules: class 0 is the background; regions may overlap and are painted one over the other;
the ignore label, the last channel of region labels, is in no mask.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

SURE = 20.0  # logit; exp(-20) vanishes beside 1 in float32
PSEUDO_LABELS_ONLY = "pseudo_labels_only"  # in a dataset.json: every label is a prediction, none was drawn by a person
PSEUDO_LABELS = "pseudo_labels"  # in a dataset.json: how the names of the cases begin whose labels are predictions
PSEUDO_LABELLED = "target_"  # how the names of target cases begin in a dataset that holds predictions as labels


# ---- names ----------------------------------------------------------------------------------------------------------


def foreground_names(dataset_json: dict) -> list[str]:
    """Names of the foreground classes by rising label, or of the regions as nnU-Net orders them;
    neither background nor ignore."""
    labels = {
        name: value for name, value in dataset_json["labels"].items() if name != "ignore" and value not in (0, [0])
    }
    values = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in labels.items()}
    if any(len(value) > 1 for value in values.values()):  # when nnU-Net speaks of regions
        return list(labels)
    return sorted(labels, key=lambda name: int(values[name][0]))


def class_names(dataset_json: dict) -> list[str]:
    """The background, then the foreground classes or regions in the order of the network's channels."""
    background = next((name for name, value in dataset_json["labels"].items() if value in (0, [0])), "background")
    return [background, *foreground_names(dataset_json)]


# ---- masks of labels ------------------------------------------------------------------------------------------------


def nearest(values: Tensor, size: Sequence[int]) -> Tensor:
    """Nearest-neighbour sampling, in the values' own type.

    This is the one rule by which labels, predictions and features meet at another resolution: torch's "nearest", whose
    voxel i * stride is also the centre of a strided convolution's output i.

    Args:
        values: (B, C, *S0).
        size: *S.

    Returns:
        (B, C, *S).
    """
    if values.shape[2:] == torch.Size(size):
        return values
    sampled = F.interpolate(values if values.is_floating_point() else values.float(), size=tuple(size), mode="nearest")
    return sampled.to(values.dtype)


def label_masks(label: Tensor, num_classes: int, size: Sequence[int]) -> Tensor:
    """Masks of the classes of a label map, the background first.

    Args:
        label: (B, 1, *S0). Values outside 0 ... num_classes - 1, such as nnU-Net's ignore label, are in no mask.
        num_classes: C.
        size: *S of the masks.

    Returns:
        bool, (B, C, *S).
    """
    classes = torch.arange(num_classes, device=label.device).view(1, -1, *[1] * (label.ndim - 2))
    return nearest(label, size) == classes


def region_masks(regions: Tensor, size: Sequence[int], ignored: Tensor | None = None) -> Tensor:
    """Masks of regions that exclude each other, after the background: voxels of no region.

    A voxel belongs to the last region that holds it, as nnU-Net paints regions into a segmentation. Nested regions as
    they are would share voxels, and L_dc would push apart what L_sc pulls together.

    Args:
        regions: (B, R, *S0), non-zero inside.
        size: *S of the masks.
        ignored: (B, 1, *S0), non-zero where a voxel is in none of the masks, not even the background's.

    Returns:
        bool, (B, R + 1, *S).
    """
    inside = nearest(regions, size).bool()
    masks, free = [], torch.ones_like(inside[:, 0])
    if ignored is not None:
        free = ~nearest(ignored, size)[:, 0].bool()
    for region in reversed(inside.unbind(1)):
        masks.append(region & free)
        free = free & ~region
    return torch.stack([free, *reversed(masks)], 1)


def source_masks(label: Tensor, manager: LabelManager, size: Sequence[int]) -> Tensor:
    """Masks of the classes of the labelled source, background first; of regions as `region_masks`.

    Args:
        label: nnU-Net's, (B, 1, *S0) label map or (B, R, *S0) regions, with the ignored voxels as one more channel.
        manager: nnU-Net's.
        size: *S of the masks.

    Returns:
        bool (B, K, *S); ignored voxels are in none.
    """
    if not manager.has_regions:
        return label_masks(label, manager.num_segmentation_heads, size)
    regions = len(manager.foreground_regions)
    return region_masks(label[:, :regions], size, label[:, -1:] if manager.has_ignore_label else None)


def preprocessed_masks(segmentation: Tensor, manager: LabelManager, size: Sequence[int]) -> Tensor:
    """The same of a segmentation as nnU-Net preprocesses it, whose regions are not yet channels.

    Args:
        segmentation: (B, 1, *S0); -1 is outside of nnU-Net's non-zero mask.
        manager: nnU-Net's.
        size: *S of the masks.

    Returns:
        bool (B, K, *S); ignored voxels and those outside are in none.
    """
    if not manager.has_regions:
        return label_masks(segmentation, manager.num_segmentation_heads, size)
    inside = [
        torch.isin(segmentation, torch.tensor(np.atleast_1d(region), dtype=segmentation.dtype))
        for region in manager.foreground_regions
    ]
    ignored = (segmentation < 0) | (segmentation == manager.ignore_label if manager.has_ignore_label else False)
    return region_masks(torch.cat(inside, 1), size, ignored)


def foreground_masks(label: Tensor, manager: LabelManager) -> list[Tensor]:
    """Masks of the foreground classes, or of the regions as they are; overlapping ones share voxels.

    Args:
        label: as `source_masks`.
        manager: nnU-Net's.

    Returns:
        bool (B, *S0), one per class or region; ignored voxels are in none.
    """
    if manager.has_regions:
        return [label[:, i].bool() for i in range(len(manager.foreground_regions))]
    return [label[:, 0] == value for value in manager.foreground_labels]


def labels_and_kept(label: Tensor, manager: LabelManager) -> tuple[Tensor, Tensor | None]:
    """The labels without the ignore label's channel, and where they count.

    Args:
        label: as `source_masks`.
        manager: nnU-Net's.

    Returns:
        Label map (B, *S0), or regions (B, R, *S0) as bool; bool (B, *S0) or (B, 1, *S0) where they count, None:
        everywhere.
    """
    if manager.has_regions:
        regions = label[:, : len(manager.foreground_regions)].bool()
        return regions, ~label[:, -1:].bool() if manager.has_ignore_label else None
    return label[:, 0], label[:, 0] != manager.ignore_label if manager.has_ignore_label else None


def channel_masks(label: Tensor, kept: Tensor | None, manager: LabelManager) -> list[Tensor]:
    """Masks of each class, or of the outside and inside of each region, from what `labels_and_kept` or `pseudo_labels`
    returned.

    Args:
        label: (B, *S), or (B, R, *S) bool.
        kept: where it counts; None: everywhere.
        manager: nnU-Net's.

    Returns:
        bool (B, *S), C of them, or 2 R.
    """
    if manager.has_regions:
        masks = torch.stack((~label, label), 2).flatten(1, 2)
        kept = None if kept is None else kept.expand_as(label).repeat_interleave(2, 1)
        return list((masks if kept is None else masks & kept).unbind(1))
    return [label == c if kept is None else (label == c) & kept for c in range(manager.num_segmentation_heads)]


# ---- pseudo-labels --------------------------------------------------------------------------------------------------


def pseudo_labels(logits: Tensor, confidence: float, regions: bool) -> tuple[Tensor, Tensor]:
    """What a network predicts, and where it is confident.

    Args:
        logits: (B, C, *S).
        confidence: delta; a voxel counts where its class's probability exceeds it, a region's where max(p, 1 - p) does.
        regions: sigmoid channels instead of a softmax.

    Returns:
        Label map (B, *S) or regions (B, R, *S), and bool of the same shape.
    """
    if regions:
        p = logits.float().sigmoid()
        return p > 0.5, torch.maximum(p, 1 - p) > confidence
    p, label = logits.float().softmax(1).max(1)
    return label, p > confidence


def confident_masks(logits: Tensor, confidence: float, size: Sequence[int], regions: bool = False) -> Tensor:
    """Masks of the classes that a prediction is sure of, for prototypes of images without labels.

    Args:
        logits: (B, C, *S0), detached here.
        confidence: delta; a voxel counts where its class's probability exceeds it. With `regions`, where max(p, 1 - p)
            of every channel does.
        size: *S of the masks.
        regions: sigmoid channels instead of a softmax.

    Returns:
        bool, (B, C, *S); with `regions` (B, C + 1, *S) as `region_masks`.
    """
    with torch.autocast(logits.device.type, enabled=False):
        logits = nearest(logits.detach(), size)
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        if regions:
            p = logits.sigmoid()
            unsure = (torch.maximum(p, 1 - p) <= confidence).any(1, keepdim=True)
            return region_masks(p > 0.5, size, unsure)
        p, label = logits.softmax(1).max(1, keepdim=True)
        return label_masks(label, logits.shape[1], size) & (p > confidence)


def certain_logits(label: Tensor, manager: LabelManager) -> Tensor:
    """An annotation as a teacher would give it that is sure everywhere but where the label says ignore.

    Args:
        label: nnU-Net's, (B, 1, *S) label map or (B, R, *S) regions, with the ignored voxels as one more channel.
        manager: nnU-Net's.

    Returns:
        (B, C, *S) logits: probability 1 to float32's precision, and equal for all classes (0.5 for a region) where
        ignored.
    """
    channels = manager.num_segmentation_heads
    if manager.has_regions:
        inside = label[:, :channels].bool()
        ignored = label[:, channels:].bool() if manager.has_ignore_label else torch.zeros_like(inside[:, :1])
    else:
        inside = label_masks(label, channels, label.shape[2:])
        ignored = label == manager.ignore_label if manager.has_ignore_label else torch.zeros_like(inside[:, :1])
    return (SURE * (2 * inside.float() - 1)).masked_fill(ignored, 0.0)
