from __future__ import annotations

from dataclasses import FrozenInstanceError, fields

import pytest
import torch

from nnuda.data.domain_batch import SourceBatch, TargetBatch, to_device


def test_the_targets_batch_has_no_label():
    assert {field.name for field in fields(TargetBatch)} == {
        "image",
        "weak",
        "from_source",
    }  # the last: a mask of boxes
    batch = TargetBatch(torch.zeros(1), torch.zeros(1))
    with pytest.raises(AttributeError):
        batch.label  # noqa: B018
    with pytest.raises((FrozenInstanceError, TypeError)):
        batch.label = torch.zeros(1)


@pytest.mark.parametrize("deep_supervision", [False, True])
def test_everything_lands_on_the_device(deep_supervision):
    label = [torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 2, 2)] if deep_supervision else torch.zeros(2, 1, 4, 4)
    drawn = {
        "data": torch.zeros(2, 1, 4, 4),
        "target": label,
        "keys": ["a", "b"],
        "target_domain": {"weak": torch.zeros(3, 1, 4, 4), "strong": torch.ones(3, 1, 4, 4)},
    }
    source, target = to_device(drawn, torch.device("meta"))
    assert isinstance(source, SourceBatch) and isinstance(target, TargetBatch)
    labels = source.label if deep_supervision else [source.label]
    assert [tuple(one.shape) for one in labels] == (
        [(2, 1, 4, 4), (2, 1, 2, 2)] if deep_supervision else [(2, 1, 4, 4)]
    )
    assert all(tensor.device.type == "meta" for tensor in (source.image, target.image, target.weak, *labels))


def test_the_network_learns_from_the_strong_view():
    drawn = {
        "data": torch.zeros(1, 1),
        "target": torch.zeros(1, 1),
        "target_domain": {"weak": torch.zeros(1, 1), "strong": torch.ones(1, 1)},
    }
    source, target = to_device(drawn, torch.device("cpu"))
    assert source.weak is None
    assert target.image.item() == 1 and target.weak.item() == 0


def test_a_weak_view_of_the_source_lies_behind_the_augmented_one():
    drawn = {
        "data": torch.tensor([[[1.0], [2.0], [3.0], [4.0]]]),
        "source_views": 2,
        "target": torch.zeros(1, 1, 1),
        "target_domain": {"weak": torch.zeros(1, 2, 1), "strong": torch.ones(1, 2, 1)},
    }
    source, _ = to_device(drawn, torch.device("cpu"))
    assert source.image.flatten().tolist() == [1, 2] and source.weak.flatten().tolist() == [3, 4]
