from __future__ import annotations

import torch

from nnuda.networks.projection import contrast_projection


def test_projection_is_not_linear() -> None:
    projection, x = contrast_projection(6, 4), torch.randn(5, 6)
    assert projection(x).shape == (5, 4)
    assert not torch.allclose(projection(x) + projection(-x), 2 * projection(torch.zeros_like(x)), atol=1e-4)
