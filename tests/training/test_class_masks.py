from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from nnuda.training.class_masks import source_masks

LABEL = torch.tensor([[[[0.0, 1, 2, 3]]]])  # 3 is ignored


def manager(**attributes) -> SimpleNamespace:
    return SimpleNamespace(**{"has_regions": False, "num_segmentation_heads": 3, **attributes})


def test_label_maps():
    masks = source_masks(LABEL, manager(), (1, 4))
    assert torch.equal(masks[0, :, 0], torch.eye(4, dtype=torch.bool)[:3])


@pytest.mark.parametrize("ignored", [False, True])
def test_regions_exclude_each_other_and_leave_ignored_voxels_out(ignored):
    both, right = (LABEL == 1) | (LABEL == 2), LABEL == 2
    label = torch.cat([both, right, *([LABEL == 3] if ignored else [])], 1).float()
    regions = manager(has_regions=True, foreground_regions=[(1, 2), 2], has_ignore_label=ignored)
    masks = source_masks(label, regions, (1, 4))[0, :, 0].int().tolist()
    assert masks == [[1, 0, 0, 0 if ignored else 1], [0, 1, 0, 0], [0, 0, 1, 0]]
    assert source_masks(label, regions, (1, 2)).shape == (1, 3, 1, 2)
