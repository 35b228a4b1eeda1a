"""nnU-Net's training pipeline, taken apart by kind of transform, so that both domains and both views use
nnU-Net's own augmentation."""
from __future__ import annotations

from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform
from batchgeneratorsv2.transforms.spatial.mirroring import MirrorTransform
from batchgeneratorsv2.transforms.spatial.spatial import SpatialTransform
from batchgeneratorsv2.transforms.utils.compose import ComposeTransforms
from batchgeneratorsv2.transforms.utils.nnunet_masking import MaskImageTransform
from batchgeneratorsv2.transforms.utils.pseudo2d import Convert2DTo3DTransform, Convert3DTo2DTransform
from batchgeneratorsv2.transforms.utils.remove_label import RemoveLabelTansform

from nnuda.data.strong_augmentation import strong_transforms

_SPATIAL = (Convert3DTo2DTransform, SpatialTransform, Convert2DTo3DTransform, MirrorTransform)


def with_strong_augmentation(pipeline: ComposeTransforms, settings: dict) -> ComposeTransforms:
    """nnU-Net's training pipeline with the strong transforms behind its own intensity transforms.

    They come before mirroring, masking and the label transforms: voxels outside a mask stay zero.

    Args:
        pipeline: what `get_training_transforms` returned.
        settings: effective settings; unchanged unless `training.augmentation` is "strong".
    """
    if settings["training.augmentation"] != "strong":
        return pipeline
    behind = (MirrorTransform, MaskImageTransform, RemoveLabelTansform)
    position = next(i for i, transform in enumerate(pipeline.transforms) if isinstance(transform, behind))
    transforms = list(pipeline.transforms)
    return ComposeTransforms([*transforms[:position], *strong_transforms(settings), *transforms[position:]])


class TwoViews(BasicTransform):
    """Moves a target patch once, then makes its weak and its strong view.

    Args:
        pipeline: a training pipeline of nnU-Net's, made with the target's `use_mask_for_norm`.
            Its spatial transforms serve both views, its intensity transforms the strong one, its mask both; what it
            does to labels falls away.
    """

    def __init__(self, pipeline: ComposeTransforms) -> None:
        super().__init__()
        label_free = self._before_labels(pipeline.transforms)
        self.spatial = ComposeTransforms([t for t in label_free if isinstance(t, _SPATIAL)])
        self.intensity = ComposeTransforms([t for t in label_free
                                            if not isinstance(t, (*_SPATIAL, MaskImageTransform))])
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
        strong = self.intensity(image=moved["image"].clone())["image"]
        return {name: self.mask(image=image, segmentation=region)["image"]
                for name, image in (("weak", moved["image"]), ("strong", strong))}
