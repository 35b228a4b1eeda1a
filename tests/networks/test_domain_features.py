from __future__ import annotations

import pytest
import torch
from network_cases import TEXT
from torch import nn
from torch.nn.functional import multi_head_attention_forward

from nnuda.networks.domain_features import DomainFeatures


@pytest.mark.parametrize("channels", (10, 128))
def test_equals_torchs_attention(channels: int) -> None:
    module, content = DomainFeatures(8, channels, TEXT, nn.Conv2d), torch.randn(2, 8, 3, 4)
    X_d, x_g = module(content)
    tokens = module.embed(content).flatten(2).permute(2, 0, 1)
    normal = module.norm(tokens)
    attended, _ = multi_head_attention_forward(
        normal, normal, normal, channels, module.num_heads, module.query_key_value.weight, None, None, None, False, 0.0,
        module.project.weight, module.project.bias,
    )  # fmt: skip
    expected = (tokens + attended).permute(1, 2, 0).unflatten(2, (3, 4))
    assert module.num_heads == {10: 1, 128: 2}[channels]
    assert torch.allclose(X_d, expected, atol=1e-5)
    assert torch.allclose(x_g, module.to_global(expected.mean((2, 3))), atol=1e-5)


def test_global_vector_does_not_know_where() -> None:
    module, content = DomainFeatures(8, 16, TEXT, nn.Conv3d), torch.randn(1, 8, 2, 3, 4)
    assert torch.allclose(module(content)[1], module(content.flip(2, 3, 4))[1], atol=1e-5)


def test_runs_in_float32_under_autocast() -> None:
    module, content = DomainFeatures(8, 16, TEXT, nn.Conv2d), torch.randn(1, 8, 3, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert all(torch.equal(half, full) for half, full in zip(module(content), module(content.float())))
        assert module(content.bfloat16())[1].dtype == torch.float32
