from __future__ import annotations

import pytest
import torch
from torch import nn

from nnuda.networks.image_decoder import ImageDecoder, decoder_widths


@pytest.mark.parametrize("kernels", (3, [3, 3]))
def test_features_have_the_resolutions_of_the_skips(kernels: int | list[int]) -> None:
    decoder = ImageDecoder(12, [32, 48, 64], [kernels] * 3, 2, nn.Conv2d)
    skips = [torch.randn(2, 32, 20, 12), torch.randn(2, 48, 10, 6)]
    features = decoder(torch.randn(2, 12, 5, 3), skips)
    assert [f.shape[1:] for f in features] == [(8, 20, 12), (24, 10, 6)]
    assert decoder.image(features).shape == (2, 2, 20, 12)


def test_widths() -> None:
    assert decoder_widths([32, 64, 128, 256]) == [8, 32, 64]
    assert decoder_widths([8, 8, 16]) == [8, 8]


def test_contrast_and_brightness_of_the_skips_do_not_pass() -> None:
    decoder = ImageDecoder(12, [8, 16, 32], [[1, 3, 3], [3, 3, 3], [3, 3, 3]], 1, nn.Conv3d)
    adapted, skips = torch.randn(1, 12, 2, 3, 3), [torch.randn(1, 8, 4, 12, 12), torch.randn(1, 16, 4, 6, 6)]
    image = decoder.image(decoder(adapted, skips))
    restyled = decoder.image(decoder(adapted, [100 * skip + 5 for skip in skips]))
    assert torch.allclose(image, restyled, atol=1e-2 * image.abs().max().item())
    moved = decoder.image(decoder(adapted, [skip.flip(-1) for skip in skips]))
    assert not torch.allclose(image, moved, atol=1e-1 * image.abs().max().item())
