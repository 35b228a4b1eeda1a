from __future__ import annotations

import math

import pytest
import torch
from network_cases import TEXT
from torch import Tensor, nn

from nnuda.networks.attention import (
    DomainAdaptationModule,
    SegmentationAttentionModule,
    instance_normalise,
    spatial_gate,
)

F, F_D, C = 6, 5, 4


def module(form: str | None = "gate", dimension: int = 2) -> DomainAdaptationModule:
    conv_op = nn.Conv2d if dimension == 2 else nn.Conv3d
    return DomainAdaptationModule(F, F_D, C, TEXT, conv_op, form).double()


def maps(dimension: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """X_c, T^d and X_d in float64."""
    grid = (3, 4, 2)[:dimension]
    return (
        torch.randn(2, F, *grid, dtype=torch.float64),
        torch.randn(TEXT, dtype=torch.float64),
        torch.randn(2, F_D, *grid, dtype=torch.float64),
    )


@pytest.mark.parametrize("dimension", (2, 3))
def test_nor_has_mean_0_and_variance_1(dimension: int) -> None:
    content, _, _ = maps(dimension)
    normal = instance_normalise(3 * content + 7).flatten(2)
    assert torch.allclose(normal.mean(-1), torch.zeros(2, F, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(normal.var(-1, correction=0), torch.ones(2, F, dtype=torch.float64), atol=1e-4)
    norm_op = nn.InstanceNorm2d if dimension == 2 else nn.InstanceNorm3d
    assert torch.allclose(instance_normalise(content), norm_op(F)(content))


def test_nor_of_one_position_is_0() -> None:
    assert torch.equal(instance_normalise(torch.randn(2, F, 1, 1)), torch.zeros(2, F, 1, 1))


def test_gate_equals_the_equation() -> None:
    query, key, d = torch.randn(3, C), torch.randn(2, C, 3, 4), torch.tensor(1.7)
    gate = spatial_gate(query, key, d)
    for b in range(2):
        for n in range(3):
            scores = {(i, j): math.exp(float(query[n] @ key[b, :, i, j]) / 1.7) for i in range(3) for j in range(4)}
            for (i, j), score in scores.items():
                assert gate[b, n, i, j].item() == pytest.approx(12 * score / sum(scores.values()), rel=1e-4)


def test_constant_keys_give_nor_of_v() -> None:
    content, text, domain = maps()
    dam = module("gate")
    constant = domain[:, :, :1, :1].expand_as(domain)
    value = instance_normalise(dam.value(content))
    assert torch.allclose(dam.attention(text, constant, value), value)
    assert torch.allclose(dam(content, text, constant), 2 * value)  # with the residual


@pytest.mark.parametrize("form", ("gate", "channel"))
def test_d_starts_at_the_root_of_the_channels(form: str) -> None:
    assert module(form).attention.log_d.exp().item() == pytest.approx(math.sqrt(C))


def test_channel_form_equals_the_equation() -> None:
    content, text, domain = maps()
    dam = module("channel")
    value = instance_normalise(dam.value(content))
    key = dam.attention.key(domain).mean((2, 3))
    got = dam(content, text, domain)
    for b in range(2):
        weights = torch.softmax(dam.attention.query(text) * key[b] / math.sqrt(C), 0)
        for f in range(C):
            assert torch.allclose(got[b, f], value[b, f] + C * weights[f] * value[b, f])


def test_adain_gives_each_channel_the_prompts_statistics() -> None:
    content, text, domain = maps()
    dam = module("adain")
    gamma, beta = dam.attention.style(text).chunk(2)
    got = dam(content, text, domain).flatten(2)
    assert torch.allclose(got.mean(-1), beta.expand(2, C), atol=1e-9)
    assert torch.allclose(got.std(-1, correction=0), (1 + gamma).abs().expand(2, C), rtol=1e-4)


def test_no_prompt_leaves_nor_of_v() -> None:
    content, text, _ = maps()
    dam = module(None)
    assert torch.equal(dam(content, text, None), instance_normalise(dam.value(content)))


@pytest.mark.parametrize("form", ("gate", "channel", "adain"))
@pytest.mark.parametrize("dimension", (2, 3))
def test_own_contrast_and_brightness_do_not_pass_the_dam(form: str, dimension: int) -> None:
    content, text, domain = maps(dimension)
    dam = module(form, dimension)
    assert torch.allclose(dam(content, text, domain), dam(100 * content + 5, text, domain), atol=1e-3)


def test_sam_starts_as_identity_and_equals_the_equation() -> None:
    content, text = maps()[0], torch.randn(3, TEXT, dtype=torch.float64)
    sam = SegmentationAttentionModule(F, C, 3, TEXT, nn.Conv2d).double()
    attended, per_class = sam(content, text)
    assert torch.equal(attended, content)
    with torch.no_grad():
        sam.scale.normal_()
    query, key, value = sam.gate.query(text), sam.gate.key(content).flatten(2), sam.value(content).flatten(2)
    expected, classes = content.flatten(2).clone(), torch.zeros(2, 3, F, 12, dtype=torch.float64)
    for b in range(2):
        for k in range(3):
            classes[b, k] = 12 * torch.softmax(query[k] @ key[b] / math.sqrt(C), 0) * value[b]
            expected[b] += sam.scale[k][:, None] * classes[b, k]
    attended, per_class = sam(content, text)
    assert torch.allclose(attended.flatten(2), expected)
    assert torch.allclose(per_class.flatten(3), classes)


@pytest.mark.parametrize("dtype", (torch.float16, torch.bfloat16))
def test_autocast_changes_nothing(dtype: torch.dtype) -> None:
    content, text, domain = (t.float() for t in maps())
    dam, sam = module().float(), SegmentationAttentionModule(F, C, 1, TEXT, nn.Conv2d)
    expected = dam(content, text, domain), sam(content, text[None])[1]
    with torch.autocast("cpu", dtype=dtype):
        got = dam(content, text, domain), sam(content, text[None])[1]
    assert all(torch.equal(e, g) for e, g in zip(expected, got))


def test_extreme_keys_stay_finite() -> None:
    gate = spatial_gate(torch.full((1, C), 1e4), 1e4 * torch.randn(1, C, 3, 3), torch.tensor(0.1))
    assert torch.isfinite(gate).all() and gate.sum().item() == pytest.approx(9)
