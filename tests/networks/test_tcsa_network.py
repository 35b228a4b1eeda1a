from __future__ import annotations

import pytest
import torch
from network_cases import CHANNELS, CLASSES, configuration, patch, plain_network
from torch import nn

from nnuda.networks.modality_fusion import ModalityFusion
from nnuda.networks.tcsa import TCSANetwork

CASES = [(dimension, architecture) for dimension in (2, 3) for architecture in ("PlainConvUNet", "ResidualEncoderUNet")]
K, D, F, DEEP, WIDTH = 3, 5, 4, 6, 8


def text() -> torch.Tensor:
    return torch.randn(2, K, D, generator=torch.Generator().manual_seed(1))


def fusion(conv_op: type = nn.Conv2d, learnt: bool = True) -> ModalityFusion:
    torch.manual_seed(0)
    module = ModalityFusion(DEEP, F, text(), WIDTH, conv_op)
    if learnt:
        nn.init.normal_(module.controller[-1].weight)
        nn.init.normal_(module.controller[-1].bias)
    return module


def naive(module: ModalityFusion, f: torch.Tensor, g: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """One image, class by class, voxel by voxel."""
    norm, _, _, _, linear = module.image_token
    token = linear(norm(g[None]).relu()[0].flatten(1).mean(1))
    h = torch.zeros(WIDTH)
    for t_k in t:
        a = module.attention_norm(module.query(torch.cat((module.text_token(t_k), token))) + module.attention(token))
        h = h + module.mlp_norm(a + module.mlp(a)) / len(t)
    parameters = module.controller(h)
    weight, bias = parameters[: F * F].view(F, F), parameters[F * F :]
    return torch.stack([v + weight @ v + bias for v in f.flatten(1).T], 1).view_as(f)


@pytest.mark.parametrize("conv_op", [nn.Conv2d, nn.Conv3d])
def test_equals_the_equation_image_by_image(conv_op):
    module, dimension = fusion(conv_op), 2 + (conv_op is nn.Conv3d)
    f, g = torch.randn(3, F, *[4] * dimension), torch.randn(3, DEEP, *[2] * dimension)
    fused = module(f, g, num_source=1)
    for i, domain in enumerate((0, 1, 1)):
        torch.testing.assert_close(fused[i], naive(module, f[i], g[i], text()[domain]), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(module(f[1:], g[1:]), fused[1:], rtol=1e-4, atol=1e-5)


def test_it_starts_as_nothing_and_every_weight_learns():
    module = fusion(learnt=False)
    f, g = torch.randn(2, F, 4, 4), torch.randn(2, DEEP, 2, 2)
    assert torch.equal(module(f, g, 1), f)
    module = fusion()
    module(f, g, 1).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in module.parameters())


def test_the_modality_words_decide():
    module, f, g = fusion(), torch.randn(1, F, 4, 4), torch.randn(1, DEEP, 2, 2)
    assert not torch.allclose(module(f, g, 1), module(f, g, 0))
    with pytest.raises(ValueError, match=r"class embeddings \(2, K, D\)"):
        ModalityFusion(DEEP, F, text()[0], WIDTH, nn.Conv2d)


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("dimension, architecture", CASES)
def test_the_network_starts_as_the_plain_one(dimension, architecture, deep_supervision):
    torch.manual_seed(0)
    plain = plain_network(configuration(dimension, architecture), deep_supervision)
    image = torch.randn(2, CHANNELS, *patch(dimension))
    expected = plain(image)
    network = TCSANetwork(plain, text(), WIDTH)
    logits = network(image, num_source=1)
    output = network(image, with_features=True, num_source=1)
    if not deep_supervision:
        logits, expected, output = [logits], [expected], output._replace(logits=[output.logits])
    assert len(logits) == len(expected) and logits[0].shape[1] == CLASSES
    for a, b, c in zip(logits, expected, output.logits):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)
        assert torch.equal(a, c)


def test_state_is_the_plain_networks_and_the_fusions_and_brings_the_text():
    config = configuration(2, "PlainConvUNet")
    plain, network = plain_network(config), TCSANetwork(plain_network(config), text(), WIDTH)
    assert [name for name in network.state_dict() if not name.startswith("fusion.")] == list(plain.state_dict())
    nn.init.normal_(network.fusion.controller[-1].weight)
    other = TCSANetwork(plain_network(config), torch.zeros(2, K, D), WIDTH)
    other.load_state_dict(network.state_dict())
    image = torch.randn(1, CHANNELS, *patch(2))
    assert torch.equal(other(image)[0], network(image)[0])


@pytest.mark.slow
def test_compiled_as_one_graph_it_gives_the_same():
    torch.manual_seed(0)
    network = TCSANetwork(plain_network(configuration(2, "PlainConvUNet")), text(), WIDTH)
    nn.init.normal_(network.fusion.controller[-1].weight)
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    image = torch.randn(3, CHANNELS, *patch(2))
    torch.testing.assert_close(compiled(image, True, 2), network(image, True, 2))
