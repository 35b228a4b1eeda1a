"""nnU-Net's training pipeline, taken apart by kind of transform, so that both domains and both views use
nnU-Net's own augmentation."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.rot90 import Rot90Transform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.spatial.transpose import TransposeAxesTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnuda.data.strong_augmentation import Strength, strong_transforms

_AFTER_INTENSITY = (MirrorTransform, MaskImageTransform, RemoveLabelTansform)
_SPATIAL = (
    Convert3DTo2DTransform,
    SpatialTransform,
    Convert2DTo3DTransform,
    Rot90Transform,
    TransposeAxesTransform,
    MirrorTransform,
)


def _moves(transform: BasicTransform) -> bool:
    """Whether a transform moves voxels; DA5 turns and transposes at random."""
    return isinstance(transform.transform if isinstance(transform, RandomTransform) else transform, _SPATIAL)


def with_strong_augmentation(
    pipeline: ComposeTransforms, settings: dict, strength: Strength | None = None
) -> ComposeTransforms:
    """nnU-Net's training pipeline with the strong transforms behind its own intensity transforms.

    They come before mirroring, masking and the label transforms: voxels outside a mask stay zero.

    Args:
        pipeline: what `get_training_transforms` returned.
        settings: effective settings; unchanged unless `training.augmentation` is "strong".
        strength: scales the strong transforms' probabilities while the training runs; None: always 1.
    """
    if settings["training.augmentation"] != "strong":
        return pipeline
    transforms = list(pipeline.transforms)
    position = next(i for i, transform in enumerate(transforms) if isinstance(transform, _AFTER_INTENSITY))
    masked = [
        channel
        for transform in transforms
        if isinstance(transform, MaskImageTransform)
        for channel in transform.apply_to_channels
    ]
    return ComposeTransforms(
        [*transforms[:position], *strong_transforms(settings, masked, strength), *transforms[position:]]
    )


def quarter_turns(patch_size: Sequence[int], rotation: tuple[float, float], dummy_2d: bool) -> list[BasicTransform]:
    """Random quarter turns in the plane where nnU-Net turns a patch freely: the target's labels stay sharp, since no
    voxel is interpolated, and an image is seen in no position that the source was not trained on.

    Args:
        patch_size: (*S).
        rotation: nnU-Net's range of angles in radians.
        dummy_2d: whether nnU-Net turns a 3D patch in the plane alone.

    Returns:
        One transform, or none: where nnU-Net turns by less than a quarter, where the patch is not square in the plane,
        and in 3D patches that are turned about three axes.
    """
    freely = rotation[1] >= math.pi / 2 and (len(patch_size) == 2 or dummy_2d)
    if not freely or patch_size[-1] != patch_size[-2]:
        return []
    axes = {len(patch_size) - 2, len(patch_size) - 1}
    return [Rot90Transform(num_axis_combinations=1, num_rot_per_combination=(0, 1, 2, 3), allowed_axes=axes)]


class SourceViews(BasicTransform):
    """nnU-Net's training pipeline that keeps a weak view beside the augmented one, moved alike.

    Random numbers are drawn as without it: the augmented view and the labels are the same.

    Args:
        pipeline: a training pipeline of nnU-Net's, with the strong transforms where they are wanted.

    Attributes:
        transforms: those of the pipeline, as `TwoViews` reads them.
    """

    def __init__(self, pipeline: ComposeTransforms) -> None:
        super().__init__()
        self.transforms = list(pipeline.transforms)
        end = next(i for i, t in enumerate(self.transforms) if isinstance(t, _AFTER_INTENSITY))
        self.spatial = ComposeTransforms([t for t in self.transforms[:end] if _moves(t)])
        self.intensity = ComposeTransforms([t for t in self.transforms[:end] if not _moves(t)])
        self.rest = self.transforms[end:]

    def __call__(self, **data_dict) -> dict:
        """`image` (C, *S) and `segmentation` (1, *S) to `image` (2 C, *S'), the augmented view and behind it the weak
        one, and the pipeline's `segmentation`."""
        data = self.spatial(**data_dict)
        weak = data["image"].clone()
        data = self.intensity(**data)
        data["image"] = torch.cat([data["image"], weak])
        for transform in self.rest:
            augmented, weak = data["image"].chunk(2)
            if isinstance(transform, MaskImageTransform):  # it knows channels by their numbers
                data["image"] = torch.cat([transform(**{**data, "image": half})["image"] for half in (augmented, weak)])
            elif isinstance(transform, RandomTransform) and not _moves(transform):  # DA5's intensities after mirroring
                data["image"] = torch.cat([transform(**{**data, "image": augmented})["image"], weak])
            else:
                data = transform(**data)
        return data


class TwoViews(BasicTransform):
    """Moves a target patch once, then makes its weak and its strong view.

    Args:
        pipeline: a training pipeline of nnU-Net's (or SourceViews of it), made with the target's `use_mask_for_norm`.
            Its spatial transforms serve both views, its intensity transforms the strong one, its mask both; what it
            does to labels falls away.
        turns: replace nnU-Net's rotation and scaling, for patches that have their final size; mirroring stays. None:
            nnU-Net's own.
    """

    def __init__(self, pipeline: ComposeTransforms | SourceViews, turns: list[BasicTransform] | None = None) -> None:
        super().__init__()
        label_free = self._before_labels(pipeline.transforms)
        moves = [t for t in label_free if _moves(t)]
        if turns is not None:
            moves = [*turns, *(t for t in moves if isinstance(t, MirrorTransform))]
        self.spatial = ComposeTransforms(moves)
        self.intensity = ComposeTransforms(
            [t for t in label_free if not _moves(t) and not isinstance(t, MaskImageTransform)]
        )
        self.mask = ComposeTransforms([t for t in label_free if isinstance(t, MaskImageTransform)])

    @staticmethod
    def _before_labels(transforms: list[BasicTransform]) -> list[BasicTransform]:
        end = next(i for i, transform in enumerate(transforms) if isinstance(transform, RemoveLabelTansform))
        return transforms[:end]

    def __call__(self, **data_dict) -> dict:
        """`image` (C, *S) and `segmentation` (1, *S), nnU-Net's mask of the non-zero region,
        to `weak` and `strong` (C, *S')."""
        moved = self.spatial(**data_dict)
        region = moved["segmentation"]
        strong = self.intensity(image=moved["image"].clone(), segmentation=region)["image"]
        return {
            name: self.mask(image=image, segmentation=region)["image"]
            for name, image in (("weak", moved["image"]), ("strong", strong))
        }
