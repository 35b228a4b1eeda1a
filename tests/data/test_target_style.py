from __future__ import annotations

import cmath
import math

import numpy as np
import pytest
import torch
from skimage.exposure import match_histograms as scikit_image

from nnuda.data.target_style import in_target_style, inside, match_histograms, mix_amplitudes


def everywhere(image: torch.Tensor) -> torch.Tensor:
    return torch.ones_like(image, dtype=torch.bool)


@pytest.mark.parametrize("size_s, size_t", [((9, 8), (9, 8)), ((4, 5, 6), (3, 5, 7))])
@pytest.mark.parametrize("ties", [False, True])
def test_histograms_are_scikit_images(size_s, size_t, ties):
    torch.manual_seed(0)
    image, reference = torch.randn(2, 2, *size_s), 3 * torch.rand(2, 2, *size_t) + 5
    if ties:  # as in an empty background
        image, reference = image.clamp_min(0.3).mul(8).round() / 8, reference.clamp_min(6)
    made = match_histograms(image, reference, everywhere(image), everywhere(reference))
    for b in range(2):
        for c in range(2):
            expected = scikit_image(image[b, c].double().numpy(), reference[b, c].double().numpy())
            np.testing.assert_allclose(made[b, c].numpy(), expected, atol=2e-5)


def test_outside_the_masks_nothing_counts_and_nothing_changes():
    torch.manual_seed(0)
    image, reference = torch.randn(1, 2, 8, 8), torch.rand(1, 2, 8, 8) + 5
    image[..., :3, :], reference[..., :, 6:] = 0, 0
    mask = [True, False]
    made = match_histograms(image, reference, inside(image, mask), inside(reference, mask))
    assert (made[0, 0, :3] == 0).all()
    expected = scikit_image(image[0, 0, 3:].flatten().numpy(), reference[0, 0, :, :6].flatten().numpy())
    np.testing.assert_allclose(made[0, 0, 3:].flatten().numpy(), expected, atol=2e-5)
    expected = scikit_image(image[0, 1].numpy(), reference[0, 1].numpy())  # not masked: all voxels count
    np.testing.assert_allclose(made[0, 1].numpy(), expected, atol=2e-5)


def test_an_empty_reference_or_image_leaves_the_image():
    image, empty = torch.randn(1, 1, 6, 6), torch.zeros(1, 1, 6, 6)
    assert torch.equal(match_histograms(image, empty, inside(image, [True]), inside(empty, [True])), image)
    assert torch.equal(match_histograms(empty, image, inside(empty, [True]), inside(image, [True])), empty)


def naive_fourier(image: list[list[float]], reference: list[list[float]], beta: float) -> list[list[float]]:
    """FDA, equations 1 to 3, term by term, of one image."""
    height, width = len(image), len(image[0])
    places = [(h, w) for h in range(height) for w in range(width)]

    def transform(x: list[list[float]], u: int, v: int) -> complex:
        return sum(x[h][w] * cmath.exp(-2j * math.pi * (h * u / height + w * v / width)) for h, w in places)

    def of_zero(frequency: int, size: int) -> int:
        return frequency if frequency <= size // 2 else frequency - size

    spectrum = {}
    for u, v in places:
        low = abs(of_zero(u, height)) <= int(beta * height) and abs(of_zero(v, width)) <= int(beta * width)
        own, other = transform(image, u, v), transform(reference, u, v)
        spectrum[u, v] = cmath.rect(abs(other) if low else abs(own), cmath.phase(own))

    def back(h: int, w: int) -> float:
        terms = (
            value * cmath.exp(2j * math.pi * (h * u / height + w * v / width)) for (u, v), value in spectrum.items()
        )
        return sum(terms).real / (height * width)

    return [[back(h, w) for w in range(width)] for h in range(height)]


@pytest.mark.parametrize("size, beta", [((8, 6), 0.2), ((7, 8), 0.15), ((6, 6), 0.0)])
def test_amplitudes_against_the_equations(size, beta):
    torch.manual_seed(1)
    image, reference = torch.randn(1, 1, *size, dtype=torch.float64), torch.rand(1, 1, *size, dtype=torch.float64) + 2
    made = mix_amplitudes(image, reference, beta)
    expected = naive_fourier(image[0, 0].tolist(), reference[0, 0].tolist(), beta)
    torch.testing.assert_close(made[0, 0], torch.tensor(expected, dtype=torch.float64))


def test_amplitudes_in_3d_are_real_and_all_of_them_are_the_references():
    torch.manual_seed(1)
    image, reference = torch.randn(2, 1, 4, 6, 6), torch.randn(2, 1, 4, 6, 6)
    made = mix_amplitudes(image, reference, 0.5)
    axes = (2, 3, 4)
    torch.testing.assert_close(torch.fft.fftn(made, dim=axes).abs(), torch.fft.fftn(reference, dim=axes).abs())


@pytest.mark.parametrize("style", ["histogram", "fourier"])
def test_a_share_of_the_images_takes_the_style_of_a_target_image_each(style):
    torch.manual_seed(0)
    image, reference = torch.randn(40, 1, 8, 8), torch.randn(3, 1, 8, 8) + 4
    assert torch.equal(in_target_style(image, reference, style, 0.0, 0.1), image)
    changed = (in_target_style(image, reference, style, 0.5, 0.1) != image).flatten(1).any(1)
    assert 8 < changed.sum() < 32
    made = in_target_style(image, reference, style, 1.0, 0.1)
    torch.testing.assert_close(
        made.mean((1, 2, 3)),
        reference.mean((1, 2, 3)).repeat(14)[:40].abs() * image.mean((1, 2, 3)).sign()
        if style == "fourier"  # the phase, here the sign of the mean, is the image's
        else reference.mean((1, 2, 3)).repeat(14)[:40],
        atol=1e-4,
        rtol=0,
    )


@pytest.mark.parametrize("style", ["histogram", "fourier"])
def test_masked_channels_stay_zero_outside(style):
    image, reference = torch.randn(2, 2, 8, 8), torch.randn(2, 2, 8, 8) + 4
    image[:, :, :3] = 0
    made = in_target_style(image, reference, style, 1.0, 0.1, [True, False], [False, False])
    assert (made[:, 0, :3] == 0).all() and (made[:, 1, :3] != 0).all() and (made[:, :, 3:] != image[:, :, 3:]).any()
