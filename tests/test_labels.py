"""Names of classes and masks of labels."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from nnunetv2.utilities.label_handling.label_handling import LabelManager

from nnuda.labels import (
    channel_masks,
    class_names,
    confident_masks,
    foreground_masks,
    foreground_names,
    label_masks,
    labels_and_kept,
    nearest,
    preprocessed_masks,
    pseudo_labels,
    region_masks,
    source_masks,
)

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


@pytest.mark.parametrize(
    "labels, order, names",
    [
        ({"background": 0, "c": 3, "a": 1, "b": 2}, None, ["a", "b", "c"]),
        ({"background": 0, "b": 2, "a": 1, "ignore": 3}, None, ["a", "b"]),
        ({"background": 0, "b": "2", "a": "1"}, None, ["a", "b"]),
        ({"background": 0, "b": [2], "a": [1]}, None, ["a", "b"]),  # one label each: nnU-Net speaks of no regions
        ({"background": 0, "whole": [2, 1], "core": [2], "ignore": 3}, [1, 2], ["whole", "core"]),
        ({"core": 2, "background": 0, "whole": [1, 2]}, [2, 1], ["core", "whole"]),
    ],
)
def test_names_stand_in_the_order_of_the_networks_channels(labels, order, names):
    assert foreground_names({"labels": labels}) == names
    manager = LabelManager(
        {name: int(value) if isinstance(value, str) else value for name, value in labels.items()}, order
    )
    if manager.has_regions:
        channels = manager.foreground_regions
        assert [labels[name] if isinstance(labels[name], int) else tuple(labels[name]) for name in names] == list(
            channels
        )
    else:
        assert [
            int(labels[name][0] if isinstance(labels[name], list) else labels[name]) for name in names
        ] == manager.foreground_labels


def test_regions_are_exclusive_and_ignored_voxels_left_out():
    label = torch.tensor([[[[-1.0, 0, 1, 2, 3]]]])
    manager = SimpleNamespace(has_regions=True, foreground_regions=[(1, 2), 2], has_ignore_label=True, ignore_label=3)
    masks = preprocessed_masks(label, manager, (1, 5))[0, :, 0].int().tolist()
    assert masks == [[0, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 1, 0]]


def test_names_are_the_networks_channels():
    assert class_names({"labels": {"background": 0, "b": 2, "a": 1, "ignore": 3}}) == ["background", "a", "b"]
    assert class_names({"labels": {"air": 0, "whole": [1, 2], "core": [2]}}) == ["air", "whole", "core"]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int16, torch.int64, torch.bool])
def test_nearest_takes_every_stride_th_voxel(dtype):
    x = torch.arange(2 * 8 * 12).view(2, 1, 8, 12).to(dtype)
    sampled = nearest(x, (2, 6))
    assert sampled.dtype == dtype and torch.equal(sampled, x[..., ::4, ::2])
    assert nearest(x, (8, 12)) is x
    volume = torch.arange(4 * 6 * 6).view(1, 1, 4, 6, 6).to(dtype)
    assert torch.equal(nearest(volume, [4, 3, 2]), volume[..., :, ::2, ::3])


def test_masks_of_labels_leave_the_ignored_voxels_out():
    label = torch.tensor([[0, 1, 2, 3], [1, 1, -1, 0]], dtype=torch.float32)[None, None]
    masks = label_masks(label, 3, (2, 4))
    for k in range(3):
        assert torch.equal(masks[0, k], label[0, 0] == k)
    assert torch.equal(masks.any(1)[0], torch.tensor([[1, 1, 1, 0], [1, 1, 0, 1]]).bool())
    assert torch.equal(label_masks(label, 3, (1, 2))[0, :, 0].int().argmax(0), torch.tensor([0, 2]))


def test_masks_of_nested_regions_exclude_each_other():
    whole, core = torch.tensor([[1, 1, 1, 0, 0]]), torch.tensor([[0, 1, 0, 1, 0]])
    masks = region_masks(torch.stack((whole, core))[None], (1, 5))
    assert masks[0, :, 0].int().tolist() == [[0, 0, 0, 0, 1], [1, 0, 1, 0, 0], [0, 1, 0, 1, 0]]
    ignored = torch.tensor([[1, 0, 0, 1, 0]])[None, None]
    masks = region_masks(torch.stack((whole, core))[None], (1, 5), ignored)
    assert masks[0, :, 0].int().tolist() == [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [0, 1, 0, 0, 0]]


def test_confident_masks_of_classes():
    p = torch.tensor([[0.95, 0.05, 0.4], [0.04, 0.91, 0.35], [0.01, 0.04, 0.25]])[None, :, None]  # (1, 3, 1, 3)
    masks = confident_masks(p.log(), 0.9, (1, 3))
    assert masks[0, :, 0].int().tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert not confident_masks(p.log(), 0.96, (1, 3)).any()
    assert confident_masks(p.log(), 0.0, (1, 3)).sum(1).eq(1).all()


def test_confident_masks_of_regions():
    p = torch.tensor([[0.95, 0.99, 0.05, 0.6], [0.05, 0.95, 0.05, 0.01]])[None, :, None]  # (1, 2, 1, 4)
    masks = confident_masks(p.logit(), 0.9, (1, 4), regions=True)
    assert masks[0, :, 0].int().tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


@pytest.mark.parametrize("regions", [False, True])
def test_confident_masks_meet_features_of_another_resolution_and_keep_no_graph(regions):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 8, 8, requires_grad=True)
    masks = confident_masks(logits, 0.5, (2, 4, 4), regions)
    assert masks.dtype == torch.bool and not masks.requires_grad
    assert torch.equal(masks, confident_masks(logits, 0.5, (4, 8, 8), regions)[..., ::2, ::2, ::2]) and masks.any()


@pytest.mark.parametrize("ignored", [False, True])
def test_labels_of_regions_and_where_they_count(ignored):
    both, right = (LABEL == 1) | (LABEL == 2), LABEL == 2
    label = torch.cat([both, right, *([LABEL == 3] if ignored else [])], 1).float()
    regions = manager(has_regions=True, foreground_regions=[(1, 2), 2], has_ignore_label=ignored)
    assert [mask[0, 0].int().tolist() for mask in foreground_masks(label, regions)] == [[0, 1, 1, 0], [0, 0, 1, 0]]
    found, kept = labels_and_kept(label, regions)
    assert torch.equal(found, torch.cat([both, right], 1))
    assert (kept[0, 0, 0].int().tolist() == [1, 1, 1, 0]) if ignored else kept is None
    last = 0 if ignored else 1
    assert [mask[0, 0].int().tolist() for mask in channel_masks(found, kept, regions)] == [
        [1, 0, 0, last],
        [0, 1, 1, 0],
        [1, 1, 0, last],
        [0, 0, 1, 0],
    ]


def test_labels_of_classes_and_where_they_count():
    classes = manager(foreground_labels=[1, 2], has_ignore_label=True, ignore_label=3)
    assert [mask[0, 0].int().tolist() for mask in foreground_masks(LABEL, classes)] == [[0, 1, 0, 0], [0, 0, 1, 0]]
    label, kept = labels_and_kept(LABEL, classes)
    assert label[0, 0].tolist() == [0, 1, 2, 3] and kept[0, 0].int().tolist() == [1, 1, 1, 0]
    masks = torch.stack(channel_masks(label, kept, classes), 1)
    assert torch.equal(masks, source_masks(LABEL, classes, (1, 4)))


@pytest.mark.parametrize("regions", [False, True])
def test_pseudo_labels_are_confident_where_their_masks_are(regions):
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 4, 5)
    label, confident = pseudo_labels(logits, 0.6, regions)
    masks = confident_masks(logits, 0.6, (4, 5), regions)
    if regions:
        assert torch.equal(label, logits > 0)
        assert torch.equal(masks.any(1), confident.all(1))
    else:
        assert torch.equal(label, logits.argmax(1))
        assert torch.equal(masks.any(1), confident) and torch.equal(masks.int().argmax(1)[confident], label[confident])
