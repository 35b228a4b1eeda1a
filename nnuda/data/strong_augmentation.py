"""`training.augmentation = strong`: random intensity curves and random convolutions.

Both change what an organ looks like and leave where it is, so that a network cannot lean on one scanner's contrast.
Each channel keeps its own mean and standard deviation: what prediction sees of a patch is normalised over the whole
image, so a dark patch stays dark. Voxels outside the mask of a channel that is normalised inside a mask do not count.

References:
    [0] Models Genesis, arXiv 1908.06912, section 2.2 (Bezier curves as intensity transforms).
    [1] Causality-inspired single-source domain generalization, arXiv 2111.12525, section 3.2
        (GIN: random convolution networks), and IPA there (two appearances of an image, blended by a smooth random field).
    [2] SLAug, arXiv 2211.15075 (their use in medical segmentation).

The random draw (`get_parameters`) is apart from its application (`_apply_to_image`), which is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.context import get_spawning_popen
from multiprocessing.sharedctypes import RawValue

import numpy as np
import torch
from batchgeneratorsv2.transforms.base.basic_transform import BasicTransform, ImageOnlyTransform
from batchgeneratorsv2.transforms.utils.random import RandomTransform
from torch import Tensor
from torch.nn.functional import conv2d, conv3d, leaky_relu
from torch.nn.functional import interpolate as resize

_CURVE_POINTS = 256
_EPS = 1e-5
_EDGE = 20  # of a region: steepness of the step from 0 to 1

Curve = tuple[Tensor, Tensor]  # x ascending, and y, both in [0, 1]


def _generator() -> torch.Generator:
    """A generator seeded by NumPy's: nnU-Net's background processes have a NumPy state each,
    but the same torch state."""
    return torch.Generator().manual_seed(int(np.random.randint(2**31)))


def inside_masks(channels: int, segmentation: Tensor | None, masked: Sequence[int]) -> list[Tensor | None]:
    """Where each channel's voxels count: (*S) bool for the channels normalised inside the mask, None for the others.

    Args:
        channels: number of channels of the image.
        segmentation: nnU-Net's (1, *S), negative outside of the mask.
        masked: indices of the channels that are normalised inside the mask.
    """
    inside = None if segmentation is None or not masked else segmentation[0] >= 0
    return [inside if i in masked and inside is not None and inside.any() else None for i in range(channels)]


def standardize(channel: Tensor, inside: Tensor | None = None) -> Tensor:
    """(*S) to zero mean and unit variance over the inside; a constant becomes zero."""
    values = channel if inside is None else channel[inside]
    centred = channel - values.mean()
    return centred / (values.std(unbiased=False) + _EPS)


def with_statistics_of(channel: Tensor, reference: Tensor, inside: Tensor | None = None) -> Tensor:
    """(*S) shifted and scaled to the reference's mean and standard deviation over the inside."""
    values = reference if inside is None else reference[inside]
    return standardize(channel, inside) * values.std(unbiased=False) + values.mean()


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
    curve = (
        (1 - t) ** 3 * points[0] + 3 * (1 - t) ** 2 * t * points[1] + 3 * (1 - t) * t**2 * points[2] + t**3 * points[3]
    )
    x, y = curve.sort(0).values.T.contiguous()  # searchsorted warns of strides
    return x, 1 - y if falling else y


def interpolate(value: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Piecewise linear y(value); x ascending."""
    right = torch.searchsorted(x, value.contiguous()).clamp(1, len(x) - 1)
    share = (value - x[right - 1]) / (x[right] - x[right - 1]).clamp_min(1e-12)
    return torch.lerp(y[right - 1], y[right], share.clamp(0, 1))


@dataclass(frozen=True)
class BezierCurves:
    """Draws monotone Bezier curves [0].

    Attributes:
        inversion: share of the curves that fall.
    """

    inversion: float

    def __call__(self, generator: torch.Generator) -> Curve:
        """One curve."""
        falling = bool(torch.rand((), generator=generator) < self.inversion)
        return bezier_curve(torch.rand(2, 2, generator=generator), falling)


@dataclass(frozen=True)
class KnotCurves:
    """Draws piecewise linear curves through evenly spaced knots of uniformly distributed height.

    A curve that is not monotone lets tissues change places in the order of brightness, as they do between CT and MR or
    between sequences; a monotone curve can only keep that order or invert it.

    Attributes:
        inversion: share of the monotone curves that fall.
        reordering: share of the curves that are not monotone.
        knots: number of knots, at least 2.
    """

    inversion: float
    reordering: float
    knots: int

    def __call__(self, generator: torch.Generator) -> Curve:
        """One curve."""
        height = torch.rand(self.knots, generator=generator)
        reordered, falling = torch.rand(2, generator=generator) < torch.tensor([self.reordering, self.inversion])
        return torch.linspace(0, 1, self.knots), height if reordered else height.sort(descending=bool(falling)).values


def smooth_region(shape: Sequence[int], generator: torch.Generator) -> Tensor:
    """A region of random size and form with soft edges: (*shape) in [0, 1].

    A random field, uniform on a grid of 2 to 12 points an axis and linear between them, cut at a random height [1].
    """
    points = int(torch.randint(2, 13, (), generator=generator))
    grid = torch.rand(1, 1, *[min(points, size) for size in shape], generator=generator)
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    field = resize(grid, tuple(shape), mode=mode, align_corners=True)[0, 0]
    height = 0.3 + 0.4 * torch.rand((), generator=generator)
    return torch.sigmoid(_EDGE * (field - height))


class RandomIntensityCurve(ImageOnlyTransform):
    """Each channel's intensities, scaled to [0, 1], through a random curve; of some images those of a region alone.

    There the parts of one organ differ, as a scar, a contrast agent or the field of a coil makes them differ.

    Args:
        draw: makes a curve from a generator.
        masked: channels that are normalised inside nnU-Net's mask.
        regional: share of the images that are changed in a region alone, all channels in the same.
    """

    def __init__(
        self, draw: Callable[[torch.Generator], Curve], masked: Sequence[int] = (), regional: float = 0.0
    ) -> None:
        super().__init__()
        self.draw = draw
        self.masked = tuple(masked)
        self.regional = regional

    def get_parameters(self, **data_dict) -> dict:
        """One random curve for each channel of the image, the region that it changes, and where its voxels count."""
        generator, (channels, *shape) = _generator(), data_dict["image"].shape
        curves = [self.draw(generator) for _ in range(channels)]
        regional = torch.rand((), generator=generator) < self.regional
        return {
            "curves": curves,
            "region": smooth_region(shape, generator) if regional else None,
            "inside": inside_masks(channels, data_dict.get("segmentation"), self.masked),
        }

    def _apply_to_image(
        self, img: Tensor, curves: list[Curve], inside: list[Tensor | None], region: Tensor | None = None
    ) -> Tensor:
        changed = torch.stack([self._through(*parts) for parts in zip(img, curves, inside)])
        if region is None:
            return changed
        blended = torch.lerp(img, changed, region)
        return torch.stack([with_statistics_of(*parts) for parts in zip(blended, img, inside)])

    @staticmethod
    def _through(channel: Tensor, curve: Curve, inside: Tensor | None) -> Tensor:
        values = channel if inside is None else channel[inside]
        low, high = values.min(), values.max()
        changed = interpolate((channel - low) / (high - low + _EPS), *curve)
        return with_statistics_of(changed, channel, inside)


class RandomConvolution(ImageOnlyTransform):
    """The image mixed with the output of a random shallow convolution network, GIN [1].

    Kernels are 1 or 3 wide, weights and shifts standard normal, LeakyReLU between the layers;
    the mixture's share is uniform.

    Args:
        layers: number of convolutions.
        channels: hidden channels.
        masked: channels that are normalised inside nnU-Net's mask.
    """

    def __init__(self, layers: int, channels: int, masked: Sequence[int] = ()) -> None:
        super().__init__()
        self.layers = layers
        self.channels = channels
        self.masked = tuple(masked)

    def get_parameters(self, **data_dict) -> dict:
        """Kernels and shifts of one random network, its share of the mixture, and where voxels count."""
        generator, image = _generator(), data_dict["image"]
        widths = [image.shape[0]] + [self.channels] * (self.layers - 1) + [image.shape[0]]
        kernels, shifts = [], []
        for fan_in, fan_out in zip(widths[:-1], widths[1:]):
            size = 3 if torch.rand((), generator=generator) < 0.5 else 1
            kernels.append(torch.randn(fan_out, fan_in, *[size] * (image.ndim - 1), generator=generator))
            shifts.append(torch.randn(fan_out, generator=generator))
        return {
            "kernels": kernels,
            "shifts": shifts,
            "share": float(torch.rand((), generator=generator)),
            "inside": inside_masks(image.shape[0], data_dict.get("segmentation"), self.masked),
        }

    def _apply_to_image(
        self, img: Tensor, kernels: list[Tensor], shifts: list[Tensor], share: float, inside: list[Tensor | None]
    ) -> Tensor:
        convolve = conv2d if img.ndim == 3 else conv3d
        image = torch.stack([standardize(*parts) for parts in zip(img, inside)])
        mixed = image[None]
        for i, (kernel, shift) in enumerate(zip(kernels, shifts)):
            mixed = convolve(mixed if i == 0 else leaky_relu(mixed), kernel, shift, padding="same")
        blended = [
            share * standardize(new, where) + (1 - share) * old for new, old, where in zip(mixed[0], image, inside)
        ]
        return torch.stack([with_statistics_of(*parts) for parts in zip(blended, img, inside)])


class Strength:
    """How much of the strong augmentation is on: the training writes it, its background processes read it.

    Attributes:
        share: factor of all probabilities, in [0, 1].
    """

    def __init__(self) -> None:
        self._shared = RawValue("d", 1.0)

    @property
    def share(self) -> float:
        return self._shared.value

    @share.setter
    def share(self, share: float) -> None:
        self._shared.value = share

    def __getstate__(self) -> object:
        return self._shared if get_spawning_popen() else self.share  # shared with processes alone

    def __setstate__(self, state: object) -> None:
        self._shared = RawValue("d", state) if isinstance(state, float) else state


class StrongTransform(RandomTransform):
    """A transform with a probability that is scaled by `strength`; random numbers are drawn as without."""

    def __init__(self, transform: BasicTransform, probability: float, strength: Strength) -> None:
        super().__init__(transform, probability)
        self.strength = strength

    def get_parameters(self, **_: object) -> dict:
        return {"apply_transform": torch.rand(1).item() < self.apply_probability * self.strength.share}


def strong_transforms(
    settings: dict, masked: Sequence[int] = (), strength: Strength | None = None
) -> list[BasicTransform]:
    """The strong augmentation as nnU-Net transforms, to be put behind its own intensity transforms.

    Args:
        settings: effective settings; reads `augmentation.*`.
        masked: channels that are normalised inside nnU-Net's mask.
        strength: scales the probabilities while the training runs; None: always 1.
    """
    strength = strength or Strength()
    inversion = settings["augmentation.curve_inversion"]
    if settings["augmentation.curve"] == "knots":
        draw = KnotCurves(inversion, settings["augmentation.curve_reordering"], settings["augmentation.curve_knots"])
    else:
        draw = BezierCurves(inversion)
    convolution = RandomConvolution(
        settings["augmentation.convolution_layers"], settings["augmentation.convolution_channels"], masked
    )
    curve = RandomIntensityCurve(draw, masked, settings["augmentation.curve_regional"])
    return [
        StrongTransform(curve, settings["augmentation.curve_probability"], strength),
        StrongTransform(convolution, settings["augmentation.convolution_probability"], strength),
    ]
