"""The target's stream: nnU-Net's patch sampling without labels."""

from __future__ import annotations

import numpy as np
import torch
from acvl_utils.cropping_and_padding.bounding_boxes import crop_and_pad_nd
from nnunetv2.training.dataloading.data_loader import nnUNetDataLoader
from threadpoolctl import threadpool_limits


class TargetLoader(nnUNetDataLoader):
    """Draws patches of target cases uniformly; there is no foreground to oversample.

    Takes the arguments of nnUNetDataLoader; `transforms` is a TwoViews. The ignore label of the source
    does not apply to target patches.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, oversample_foreground_percent=0.0, **kwargs)
        self.has_ignore = False  # else get_bbox asks for the locations of annotated voxels

    def generate_train_batch(self) -> dict[str, torch.Tensor]:
        """Returns: {"weak": (B, Cin, *S), "strong": (B, Cin, *S)}, float32."""
        with torch.no_grad(), threadpool_limits(limits=1, user_api=None):
            views = [self.transforms(**self._patch(case)) for case in self.get_indices()]
        return {name: torch.stack([view[name] for view in views]).float() for name in ("weak", "strong")}

    def _patch(self, case: str) -> dict[str, torch.Tensor]:
        image, nonzero, _, _ = self._data.load_case(case)
        lower, upper = self.get_bbox(np.array(image.shape[1:]), False, None)
        box = [[low, high] for low, high in zip(lower, upper)]
        voxels = torch.from_numpy(crop_and_pad_nd(image, box, 0)).float()
        if not voxels.isfinite().all():  # of which a confidence would make no pseudo-label, and nobody would know
            raise ValueError(f"{case}: expected finite voxels")
        patch = {
            "image": voxels,
            "segmentation": torch.from_numpy(crop_and_pad_nd(nonzero, box, -1, cast_cropped_to=np.int16)).to(
                torch.int16
            ),
        }
        return {name: value[:, 0] for name, value in patch.items()} if self.patch_size_was_2d else patch
