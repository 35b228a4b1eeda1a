"""`training.augmentation = strong`: random intensity curves and random convolutions,
each redrawn to zero mean and unit variance.

Both change what an organ looks like and leave where it is, so that a network cannot lean on one scanner's contrast.

References:
    [0] Models Genesis, arXiv 1908.06912, section 2.2 (Bezier curves as intensity transforms).
    [1] Causality-inspired single-source domain generalization, arXiv 2111.12525, section 3.2
        (GIN: random convolution networks).
    [2] SLAug, arXiv 2211.15075 (their use in medical segmentation).

The random draw (`get_parameters`) is apart from its application (`_apply_to_image`), which is deterministic.
"""
from __future__ import annotations

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, leaky_relu

_CURVE_POINTS = 256
_EPS = 1e-5


def _generator() -> torch.Generator:
    """A generator seeded by NumPy's: nnU-Net's background processes have a NumPy state each,
    but the same torch state."""
    return torch.Generator().manual_seed(int(np.random.randint(2 ** 31)))


def standardize(image: Tensor) -> Tensor:
    """(C, *S) to zero mean and unit variance in each channel; a constant channel becomes zero."""
    flat = image.flatten(1)
    flat = flat - flat.mean(1, keepdim=True)
    return (flat / (flat.std(1, unbiased=False, keepdim=True) + _EPS)).view_as(image)


def bezier_curve(inner: Tensor, falling: bool) -> tuple[Tensor, Tensor]:
    """A cubic Bezier curve from (0, 0) to (1, 1), monotone in both coordinates,
    or its mirror image from (0, 1) to (1, 0).

    Args:
        inner: (2, 2), the two inner control points in [0, 1], each (x, y).
        falling: mirror y, which inverts the contrast.

    Returns:
        x and y, (256,) each, x ascending. [0]
    """
    points = torch.cat([torch.zeros(1, 2), inner, torch.ones(1, 2)])
    t = torch.linspace(0, 1, _CURVE_POINTS)[:, None]
    curve = ((1 - t) ** 3 * points[0] + 3 * (1 - t) ** 2 * t * points[1]
             + 3 * (1 - t) * t ** 2 * points[2] + t ** 3 * points[3])
    x, y = curve.sort(0).values.T.contiguous()  # searchsorted warns of strides
    return x, 1 - y if falling else y


def interpolate(value: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear y(value); x ascending."""
    right = torch.searchsorted(x, value.contiguous()).clamp(1, len(x) - 1)
    share = (value - x[right - 1]) / (x[right] - x[right - 1]).clamp_min(1e-12)
    return torch.lerp(y[right - 1], y[right], share.clamp(0, 1))


class RandomIntensityCurve(ImageOnlyTransform):
    """Each channel's intensities, scaled to [0, 1], through a random Bezier curve [0].

    Args:
        inversion: share of the curves that fall.
    """

    def __init__(self, inversion: float) -> None:
        super().__init__()
        self.inversion = inversion

    def get_parameters(self, **data_dict) -> dict:
        """One random curve for each channel of the image."""
        generator, channels = _generator(), data_dict["image"].shape[0]
        falling = torch.rand(channels, generator=generator) < self.inversion
        return {"curves": [bezier_curve(torch.rand(2, 2, generator=generator), bool(fall)) for fall in falling]}

    def _apply_to_image(self, img: Tensor, curves: list[tuple[Tensor, Tensor]]) -> Tensor:
        low, high = img.flatten(1).min(1).values, img.flatten(1).max(1).values
        channels = [interpolate((channel - low[i]) / (high[i] - low[i] + _EPS), *curves[i])
                    for i, channel in enumerate(img)]
        return standardize(torch.stack(channels))


class RandomConvolution(ImageOnlyTransform):
    """The image mixed with the output of a random shallow convolution network, GIN [1].

    Kernels are 1 or 3 wide, weights and shifts standard normal, LeakyReLU between the layers;
    the mixture's share is uniform.

    Args:
        layers: number of convolutions.
        channels: hidden channels.
    """

    def __init__(self, layers: int, channels: int) -> None:
        super().__init__()
        self.layers = layers
        self.channels = channels

    def get_parameters(self, **data_dict) -> dict:
        """Kernels and shifts of one random network, and its share of the mixture."""
        generator, image = _generator(), data_dict["image"]
        widths = [image.shape[0]] + [self.channels] * (self.layers - 1) + [image.shape[0]]
        kernels, shifts = [], []
        for fan_in, fan_out in zip(widths[:-1], widths[1:]):
            size = 3 if torch.rand((), generator=generator) < 0.5 else 1
            kernels.append(torch.randn(fan_out, fan_in, *[size] * (image.ndim - 1), generator=generator))
            shifts.append(torch.randn(fan_out, generator=generator))
        return {"kernels": kernels, "shifts": shifts, "share": float(torch.rand((), generator=generator))}

    def _apply_to_image(self, img: Tensor, kernels: list[Tensor], shifts: list[Tensor], share: float) -> Tensor:
        convolve = conv2d if img.ndim == 3 else conv3d
        image, mixed = standardize(img), standardize(img)[None]
        for i, (kernel, shift) in enumerate(zip(kernels, shifts)):
            mixed = convolve(mixed if i == 0 else leaky_relu(mixed), kernel, shift, padding="same")
        return standardize(share * standardize(mixed[0]) + (1 - share) * image)


def strong_transforms(settings: dict) -> list[BasicTransform]:
    """The strong augmentation as nnU-Net transforms, to be put behind its own intensity transforms.

    Args:
        settings: effective settings; reads `augmentation.*`.
    """
    curve = RandomIntensityCurve(settings["augmentation.curve_inversion"])
    convolution = RandomConvolution(settings["augmentation.convolution_layers"],
                                    settings["augmentation.convolution_channels"])
    return [RandomTransform(curve, settings["augmentation.curve_probability"]),
            RandomTransform(convolution, settings["augmentation.convolution_probability"])]
