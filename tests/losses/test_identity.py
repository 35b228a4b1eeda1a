from __future__ import annotations

import pytest
import torch

from nnuda.losses.identity import identity_loss


def naive(reconstruction: torch.Tensor, image: torch.Tensor) -> float:
    differences = [abs(a - b) for a, b in zip(reconstruction.flatten().tolist(), image.flatten().tolist())]
    return sum(differences) / len(differences)


@pytest.mark.parametrize("shape", [(2, 1, 4, 5), (1, 2, 3, 4, 5)])
def test_equals_the_naive_loop(shape):
    torch.manual_seed(0)
    reconstruction, image = torch.randn(shape, dtype=torch.float64), torch.randn(shape, dtype=torch.float64)
    assert identity_loss(reconstruction, image).item() == pytest.approx(naive(reconstruction, image), rel=1e-12)


def test_is_zero_for_the_image_itself():
    image = torch.randn(2, 1, 4, 4)
    assert identity_loss(image, image).item() == 0


def test_gradcheck():
    torch.manual_seed(0)
    reconstruction = torch.randn(2, 1, 3, 3, dtype=torch.float64, requires_grad=True)
    image = torch.randn(2, 1, 3, 3, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda x: identity_loss(x, image), reconstruction)


def test_fp16_of_any_size_is_finite():
    reconstruction = torch.full((1, 1, 4, 4), 6e4, dtype=torch.float16, requires_grad=True)
    loss = identity_loss(reconstruction, -reconstruction.detach())
    loss.backward()
    assert loss.dtype == torch.float32 and loss.item() == pytest.approx(1.2e5, rel=1e-3)
    assert reconstruction.grad.isfinite().all()


def test_a_broadcast_is_refused():
    with pytest.raises(ValueError, match=r"got \(2, 1, 4, 4\) for an image \(2, 2, 4, 4\)"):
        identity_loss(torch.zeros(2, 1, 4, 4), torch.zeros(2, 2, 4, 4))
