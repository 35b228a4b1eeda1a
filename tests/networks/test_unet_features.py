from __future__ import annotations

import pytest
import torch
from network_cases import CHANNELS, CLASSES, configuration, patch, plain_network

from nnuda.networks.structure_graph import StructureGraph
from nnuda.networks.unet_features import UNetWithFeatures

CASES = [(dimension, architecture) for dimension in (2, 3) for architecture in ("PlainConvUNet", "ResidualEncoderUNet")]


def head(network: UNetWithFeatures, features: torch.Tensor) -> torch.Tensor:
    """W f + b, voxel by voxel."""
    layer = network.segmentation_layer
    return torch.einsum("bf...,cf->bc...", features, layer.weight.flatten(1)) + layer.bias.view(
        1, -1, *[1] * (features.ndim - 2)
    )


@pytest.mark.parametrize("deep_supervision", [True, False])
@pytest.mark.parametrize("dimension, architecture", CASES)
def test_features_are_exactly_what_the_last_layer_reads(dimension, architecture, deep_supervision):
    torch.manual_seed(0)
    plain = plain_network(configuration(dimension, architecture), deep_supervision)
    network = UNetWithFeatures(plain)
    image = torch.randn(2, CHANNELS, *patch(dimension))
    expected, output = plain(image), network(image, with_features=True)
    logits = output.logits[0] if deep_supervision else output.logits
    torch.testing.assert_close(head(network, output.features), logits, rtol=1e-5, atol=1e-5)
    if not deep_supervision:
        expected, output = [expected], output._replace(logits=[output.logits])
    assert len(output.logits) == len(expected) and all(torch.equal(a, b) for a, b in zip(output.logits, expected))
    assert logits.shape == (2, CLASSES, *patch(dimension)) and output.bottleneck.shape[1] == 32


@pytest.mark.parametrize("dimension, architecture", CASES)
def test_state_is_the_plain_networks(dimension, architecture):
    config = configuration(dimension, architecture)
    plain, network = plain_network(config), UNetWithFeatures(plain_network(config))
    assert list(network.state_dict()) == list(plain.state_dict())
    network.load_state_dict(plain.state_dict())
    image = torch.randn(1, CHANNELS, *patch(dimension))
    assert all(torch.equal(a, b) for a, b in zip(network(image), plain(image)))


@pytest.mark.parametrize("dimension, architecture", CASES)
@pytest.mark.slow
def test_compiled_as_one_graph_it_gives_the_same(dimension, architecture):
    torch.manual_seed(0)
    network = UNetWithFeatures(plain_network(configuration(dimension, architecture)))
    torch.compiler.reset()
    compiled = torch.compile(network, fullgraph=True, backend="eager")
    image = torch.randn(2, CHANNELS, *patch(dimension))
    output, expected = compiled(image, with_features=True), network(image, with_features=True)
    torch.testing.assert_close(output, expected)
    torch.testing.assert_close(head(network, output.features), output.logits[0], rtol=1e-5, atol=1e-5)


def test_structure_graph_assigns_and_learns():
    torch.manual_seed(0)
    graph, nodes = StructureGraph(16, 8, 5), torch.randn(20, 16, requires_grad=True)
    assignment = graph(nodes)
    assert assignment.shape == (20, 5)
    torch.testing.assert_close(assignment.sum(1), torch.ones(20))
    assignment[:, 0].sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in graph.parameters()) and nodes.grad.abs().sum() > 0
    assert graph(torch.zeros(3, 16)).isfinite().all()
