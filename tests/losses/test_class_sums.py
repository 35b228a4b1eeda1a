from __future__ import annotations

import pytest
import torch
from torch.autograd import gradcheck

from nnuda.labels import label_masks
from nnuda.losses.class_prototypes import class_sums


@pytest.mark.parametrize("size", [(3, 4), (2, 3, 4)])
def test_equals_a_loop_over_voxels(size):
    torch.manual_seed(0)
    features = torch.randn(2, 5, *size, dtype=torch.float64)
    label = torch.randint(4, (2, 1, *size))
    label[label == 3] = -1  # ignored
    sums, counts = class_sums(features, label_masks(label, 4, size))
    expected, number = torch.zeros(4, 5, dtype=torch.float64), [0] * 4
    for vector, y in zip(features.movedim(1, -1).reshape(-1, 5), label.flatten().tolist()):
        if y >= 0:
            expected[y] += vector
            number[y] += 1
    torch.testing.assert_close(sums, expected)
    assert counts.tolist() == number and number[3] == 0 and (sums[3] == 0).all()


def test_gradcheck_and_where_the_gradient_goes():
    torch.manual_seed(0)
    features = torch.randn(2, 3, 2, 2, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 2, 2, 2) > 0.5
    assert gradcheck(lambda f: class_sums(f, masks)[0], features)
    class_sums(features, masks)[0].sum().backward()
    assert torch.equal(features.grad, masks.sum(1, keepdim=True).expand_as(features).double())


def test_half_precision_is_summed_in_full():
    features, masks = (
        torch.full((1, 1, 300, 300), 3.0, dtype=torch.float16),
        torch.ones(1, 1, 300, 300, dtype=torch.bool),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16):
        sums, counts = class_sums(features, masks)
    assert sums.item() == 270_000 and counts.item() == 90_000 and sums.dtype == torch.float32


def test_refuses_other_voxels():
    with pytest.raises(ValueError, match="of the same voxels"):
        class_sums(torch.zeros(1, 2, 4, 4), torch.ones(1, 2, 2, 2, dtype=torch.bool))
