from __future__ import annotations

import pytest
import torch

from nnuda.data.mixing import largest_components, largest_region_components, mix_domains, random_box


@pytest.mark.parametrize("shape", [(9, 12), (6, 9, 12)])
def test_boxes_have_the_asked_size_and_move(shape):
    torch.manual_seed(0)
    boxes = ~random_box(20, shape, 2 / 3)
    for axis, size in enumerate(shape):
        others = [i + 1 for i in range(len(shape)) if i != axis]
        assert (boxes.any(dim=tuple(others)) if others else boxes).sum(1).eq(round(2 / 3 * size)).all()
    assert len({tuple(box.nonzero()[0].tolist()) for box in boxes}) > 3
    assert (~random_box(1, (1, 1), 0.1)).all()


def test_first_half_shows_target_in_the_box_and_the_rest_source():
    torch.manual_seed(0)
    source, target = torch.full((4, 2, 6, 6), 1.0), torch.full((4, 2, 6, 6), -1.0)
    mixed = mix_domains(source, target, 0.5)
    assert torch.equal(mixed.image[:, 0] == 1, mixed.from_source)
    assert mixed.from_source.flatten(1).sum(1).tolist() == [27, 27, 9, 9]
    one = mix_domains(source[:1], target[:1], 0.5)
    assert one.from_source.sum() == 27


@pytest.mark.parametrize("depth", [(), (2,)])
def test_only_the_largest_component_of_each_class_stays(depth):
    label = torch.zeros(2, *depth, 6, 8, dtype=torch.long)
    label[..., 0:2, 0:3] = 1
    label[..., 5, 7] = 1
    label[..., 4:6, 0:2] = 2
    label[..., 0, 6] = 2
    kept = largest_components(label, 4)
    expected = label.clone()
    expected[..., 5, 7] = expected[..., 0, 6] = 0
    assert torch.equal(kept, expected)
    regions = torch.stack((label > 0, label == 2), 1)
    parts = largest_region_components(regions)
    assert parts.dtype == torch.bool and torch.equal(parts[:, 1], expected == 2)
