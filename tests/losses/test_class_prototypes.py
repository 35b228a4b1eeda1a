from __future__ import annotations

import pytest
import torch

from nnuda.labels import label_masks
from nnuda.losses.class_prototypes import class_prototypes

SIZES = [(5, 6), (3, 4, 5)]


def naive(z: torch.Tensor, masks: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Image by image, class by class, voxel by voxel."""
    prototypes = torch.zeros(*masks.shape[:2], z.shape[1], dtype=z.dtype)
    present = torch.zeros(masks.shape[:2], dtype=torch.bool)
    for b in range(len(z)):
        for k in range(masks.shape[1]):
            voxels = [z[(b, slice(None), *at)] for at in masks[b, k].nonzero().tolist()]
            if voxels:
                prototypes[b, k] = sum(v / v.norm() for v in voxels) / len(voxels)
                present[b, k] = True
    return prototypes, present


@pytest.mark.parametrize("size", SIZES)
def test_equals_the_naive_loop(size):
    torch.manual_seed(0)
    z = torch.randn(2, 4, *size, dtype=torch.float64)
    label = torch.randint(0, 5, (2, 1, *size))  # 4 is ignored
    label[1][label[1] == 2] = 0
    masks = label_masks(label, 4, size)
    prototypes, present = class_prototypes(z, masks)
    expected, seen = naive(z, masks)
    torch.testing.assert_close(prototypes, expected, rtol=1e-12, atol=1e-12)
    assert torch.equal(present, seen) and present.tolist() == [[True] * 4, [True, True, False, True]]


def test_length_is_the_mean_cosine_with_the_voxels():
    torch.manual_seed(0)
    z, masks = torch.randn(1, 3, 4, 4, dtype=torch.float64), torch.ones(1, 1, 4, 4, dtype=torch.bool)
    c = class_prototypes(z, masks)[0][0, 0]
    cosines = torch.cosine_similarity(z[0].flatten(1), c[:, None], dim=0)
    assert c.norm().item() == pytest.approx(cosines.mean().item(), abs=1e-12)


def test_scale_of_an_embedding_does_not_matter():
    torch.manual_seed(0)
    z, masks = torch.randn(1, 3, 4, 4, dtype=torch.float64), torch.rand(1, 2, 4, 4) > 0.5
    scaled = z * torch.rand(1, 1, 4, 4, dtype=torch.float64).add(0.1) * 100
    torch.testing.assert_close(class_prototypes(scaled, masks)[0], class_prototypes(z, masks)[0])


def test_gradcheck():
    torch.manual_seed(0)
    z = torch.randn(2, 3, 2, 3, dtype=torch.float64, requires_grad=True)
    masks = torch.rand(2, 3, 2, 3) > 0.5
    masks[0, 1] = False
    assert torch.autograd.gradcheck(lambda z: class_prototypes(z, masks)[0], z)


def test_gradient_stays_within_the_masks():
    torch.manual_seed(0)
    z, masks = torch.randn(1, 3, 4, 4, requires_grad=True), torch.zeros(1, 2, 4, 4, dtype=torch.bool)
    masks[0, 0, 1, 1:3] = True
    class_prototypes(z, masks)[0].square().sum().backward()
    assert torch.equal(z.grad.abs().sum(1) > 0, masks[:, 0])


@pytest.mark.parametrize("value", [0.0, 6e4])
def test_fp16_of_any_size_is_finite(value):
    z = torch.full((1, 128, 4, 4), value, dtype=torch.float16)
    z[0, :, 2:] *= -1
    z.requires_grad_()
    prototypes, _ = class_prototypes(z, torch.ones(1, 2, 4, 4, dtype=torch.bool))
    prototypes.sum().backward()
    assert prototypes.dtype == torch.float32 and prototypes.isfinite().all() and z.grad.isfinite().all()


def test_autocast_does_not_change_the_value():
    torch.manual_seed(0)
    z, masks = torch.randn(1, 3, 4, 4), torch.rand(1, 2, 4, 4) > 0.5
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = class_prototypes(z, masks)[0]
    assert inside.dtype == torch.float32 and torch.equal(inside, class_prototypes(z, masks)[0])


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match=r"got \(1, 3, 4, 4\) and \(1, 2, 8, 8\)"):
        class_prototypes(torch.zeros(1, 3, 4, 4), torch.ones(1, 2, 8, 8, dtype=torch.bool))
