from __future__ import annotations

import pytest
import torch
from network_cases import CLASSES, configuration, patch, plain_network
from torch import nn

from nnuda.labels import nearest
from nnuda.networks.embedding import EmbeddingHead
from nnuda.networks.generator import Generator
from nnuda.networks.image_head import ImageHead


@pytest.mark.parametrize("architecture", ("PlainConvUNet", "ResidualEncoderUNet"))
@pytest.mark.parametrize("dimension", (2, 3))
def test_features_are_what_the_segmentation_layer_reads(architecture: str, dimension: int) -> None:
    config, x = configuration(dimension, architecture), torch.randn(2, 1, *patch(dimension))
    plain = plain_network(config)
    logits, features = Generator(plain, 1, [1], 16, 4).segment(x)
    for got, expected in zip(logits, plain(x), strict=True):
        assert torch.equal(got, expected)
    assert torch.equal(plain.decoder.seg_layers[-1](features), logits[0])
    assert features.shape[1] == 8 and logits[0].shape[1] == CLASSES


@pytest.mark.parametrize("dimension", (2, 3))
def test_outputs(dimension: int) -> None:
    generator = Generator(plain_network(configuration(dimension)), 2, [1, 2], 16, 4)
    output = generator(torch.randn(3, 1, *patch(dimension)))
    assert [len(z) for z in output.logits] == [3, 3, 3] and output.image.shape == (3, 2, *patch(dimension))
    assert output.embedding.shape == (3, 16, *(size // 4 for size in patch(dimension)))


@pytest.mark.parametrize("size, stride", [((64, 32), 4), ((30, 14), 4), ((64, 2), 4), ((12, 14, 9), 3), ((8, 8), 1)])
def test_embedded_voxels_are_those_of_the_labels(size: tuple[int, ...], stride: int) -> None:
    head = EmbeddingHead(1, 4, stride, nn.Conv2d if len(size) == 2 else nn.Conv3d)
    number = torch.arange(float(torch.tensor(size).prod())).view(1, 1, *size)
    head.project = nn.Identity()
    embedded = head(number)
    assert embedded.shape[2:] == tuple(max(1, extent // stride) for extent in size)
    assert torch.equal(nearest(number.long(), embedded.shape[2:]), embedded.long())


def test_projection_is_one_voxel_wide_and_not_linear() -> None:
    head, x = EmbeddingHead(6, 5, 2, nn.Conv2d), torch.randn(1, 6, 8, 8)
    moved = x.clone()
    moved[..., 4, 2] += 1
    changed = (head(x) != head(moved)).any(1)[0]
    assert changed.nonzero().tolist() == [[2, 1]]
    assert not torch.allclose(head(x) + head(-x), 2 * head(torch.zeros_like(x)), atol=1e-4)


@pytest.mark.parametrize("kernel, reached", [([3, 3, 3], [5, 5, 5]), ([1, 3, 3], [0, 5, 5])])
def test_pyramid_reaches_as_far_as_its_rates_and_kernel(kernel: list[int], reached: list[int]) -> None:
    head = ImageHead(2, 1, kernel, [1, 4], nn.Conv3d).double()
    x = torch.randn(1, 2, 13, 13, 13, dtype=torch.float64, requires_grad=True)
    for branch in (*head.branches, head.merge):  # a norm mixes all positions
        branch[1], branch[2] = nn.Identity(), nn.Identity()
    head(x)[0, 0, 6, 6, 6].backward()
    at = x.grad[0].abs().sum(0).nonzero()
    assert [(int(axis.min()), int(axis.max())) for axis in at.T] == [(6 - r, 6 + r) for r in reached]


def test_image_head_learns() -> None:
    head, x = ImageHead(8, 1, [3, 3], [1, 2], nn.Conv2d), torch.randn(2, 8, 16, 16)
    head(x).square().sum().backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in head.parameters())
