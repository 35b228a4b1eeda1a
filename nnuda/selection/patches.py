"""The fixed patches that are scored: drawn once, by a generator of their own, alike from both domains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.nnunet_dataset import nnUNetBaseDataset
from nnunetv2.utilities.label_handling.label_handling import LabelManager
from torch import Tensor

OUTSIDE = -1  # nnU-Net's mark of what is not image, in the segmentation of a preprocessed case
# patches of the source that show a class, from which on it is watched: by chance e^-4 of as many draws would have none
SEEN_IN = 4


@dataclass(frozen=True)
class TargetPatches:
    """Patches of the target as the network takes them.

    Attributes:
        image: (n, Cin, *S), float32, on the CPU.
        inside: (n, *S) bool, where there is image: neither padding nor what nnU-Net calls outside.
        sampled: (M,) voxels for the density, random indices into n * S, all inside.
    """

    image: Tensor
    inside: Tensor
    sampled: Tensor


@dataclass(frozen=True)
class SourceShares:
    """Sizes of the classes in the source's labels.

    Attributes:
        share: share of the voxels of each foreground class or region, in the network's order.
        watched: whether enough patches show it to miss it elsewhere.
    """

    share: list[float]
    watched: list[bool]


def draw_patches(
    shapes: dict[str, Sequence[int]], patch_size: Sequence[int], number: int, seed: int
) -> list[tuple[str, list[list[int]]]]:
    """Boxes spread over the cases, and over the first axis of each; elsewhere anywhere; around a case that is smaller.

    Args:
        shapes: (Z, Y, X) of each case.
        patch_size: two or three voxels; two are a slice.
        number: of patches; where the cases have fewer positions along their first axis, that many.
        seed: of the draw, which touches no other random state.

    Returns:
        (case, [[lower, upper] of each of three axes]), by case.
    """
    rng = np.random.default_rng(seed)
    size = np.array([1] * (3 - len(patch_size)) + list(patch_size))
    room = {case: np.array(shape) - size for case, shape in shapes.items()}
    positions = {case: max(0, int(free[0])) + 1 for case, free in room.items()}
    counts = _deal([str(case) for case in rng.permutation(sorted(shapes))], positions, number)
    patches = []
    for case in sorted(counts):
        for i in range(counts[case]):
            lower = [int(rng.integers(0, free + 1)) if free >= 0 else free // 2 for free in room[case].tolist()]
            if room[case][0] >= 0:  # one of equal stretches of the first axis
                lower[0] = int((i + rng.random()) * positions[case] / counts[case])
            patches.append((case, [[low, low + length] for low, length in zip(lower, size.tolist())]))
    return patches


def _deal(cases: list[str], positions: dict[str, int], number: int) -> dict[str, int]:
    counts, left = dict.fromkeys(cases, 0), min(number, sum(positions.values()))
    while left:
        for case in cases:
            if left and counts[case] < positions[case]:
                counts[case], left = counts[case] + 1, left - 1
    return counts


def read_target(
    dataset: nnUNetBaseDataset, patch_size: Sequence[int], number: int, seed: int, sampled: int
) -> TargetPatches:
    """Read `number` patches of preprocessed target cases, and draw `sampled` of their voxels."""
    images, inside = [], []
    for case, box in _draw(dataset, patch_size, number, seed):
        image, nonzero, _, _ = dataset.load_case(case)
        images.append(torch.from_numpy(crop_and_pad_nd(image, box, 0)).float())
        inside.append(torch.from_numpy(crop_and_pad_nd(nonzero, box, OUTSIDE))[0] != OUTSIDE)
    image, inside = torch.stack(images), torch.stack(inside)
    if len(patch_size) == 2:
        image, inside = image[:, :, 0], inside[:, 0]
    voxels = np.unique(np.random.default_rng(seed).integers(inside.numel(), size=sampled))
    voxels = torch.from_numpy(np.random.default_rng(seed).permutation(voxels))
    return TargetPatches(image, inside, voxels[inside.flatten()[voxels]])


def read_source_shares(
    dataset: nnUNetBaseDataset, patch_size: Sequence[int], number: int, seed: int, labels: LabelManager
) -> SourceShares:
    """Count the labels of `number` patches of source cases; voxels with the ignore label do not count."""
    classes = labels.foreground_regions if labels.has_regions else labels.foreground_labels
    counts, voxels, seen = np.zeros(len(classes)), 0, np.zeros(len(classes), int)
    for case, box in _draw(dataset, patch_size, number, seed):
        label = crop_and_pad_nd(dataset.load_case(case)[1], box, OUTSIDE)
        label = label[(label != OUTSIDE) & (label != (labels.ignore_label if labels.has_ignore_label else OUTSIDE))]
        here = np.array([np.isin(label, values).sum() for values in classes])
        counts, voxels, seen = counts + here, voxels + label.size, seen + (here > 0)
    return SourceShares((counts / max(1, voxels)).tolist(), (seen >= SEEN_IN).tolist())


def _draw(
    dataset: nnUNetBaseDataset, patch_size: Sequence[int], number: int, seed: int
) -> list[tuple[str, list[list[int]]]]:
    shapes = {case: dataset.load_case(case)[0].shape[1:] for case in dataset.identifiers}
    return draw_patches(shapes, patch_size, number, seed)
