"""`augmentation.style`: source images take over the intensities of target images, in the training step.

References:
    [0] Histogram matching: v -> F_t^-1(F_s(v)), F the cumulative histograms; as scikit-image's `match_histograms`.
    [1] Yang and Soatto, "FDA: Fourier Domain Adaptation for Semantic Segmentation", CVPR 2020 (arXiv 2004.05498),
        equations 1 to 3: the low frequencies' amplitude of the target, everything else of the source,

            M = 1 for frequencies in [-beta H : beta H, -beta W : beta W], else 0
            x_{s->t} = F^-1([M A(x_t) + (1 - M) A(x_s), P(x_s)]),    A amplitude and P phase of the Fourier transform F

Both leave where an organ is. A voxel outside the mask of a channel that is normalised inside a mask is 0: it takes no
part and stays 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.fft import fftfreq, fftn, ifftn


def in_target_style(
    image: Tensor,
    reference: Tensor,
    style: str,
    probability: float,
    band: float,
    masked_s: Sequence[bool] = (),
    masked_t: Sequence[bool] = (),
) -> Tensor:
    """Source images, some of them in the style of a target image each.

    Args:
        image: (B_s, C, *S), source.
        reference: (B_t, C, *S), target; the i-th image takes the style of the (i mod B_t)-th.
        style: "histogram" or "fourier".
        probability: share of the images that are changed.
        band: beta of "fourier".
        masked_s: of each channel, whether it is normalised inside a mask; none by default.
        masked_t: likewise of the target.

    Returns:
        as the image.
    """
    reference = reference[torch.arange(len(image), device=reference.device) % len(reference)]
    inside_s, inside_t = inside(image, masked_s), inside(reference, masked_t)
    if style == "histogram":
        changed = match_histograms(image, reference, inside_s, inside_t)
    else:
        changed = torch.where(inside_s, mix_amplitudes(image, reference, band), image)
    chosen = torch.rand(len(image), device=image.device) < probability
    return torch.where(chosen.view(-1, *[1] * (image.ndim - 1)), changed, image)


def inside(image: Tensor, masked: Sequence[bool]) -> Tensor:
    """(B, C, *S) bool: all voxels of a channel, or those that are not 0 where it is normalised inside a mask."""
    unmasked = ~torch.tensor([*masked] or [False] * image.shape[1], device=image.device)
    return (image != 0) | unmasked.view(-1, *[1] * (image.ndim - 2))


def match_histograms(image: Tensor, reference: Tensor, inside_s: Tensor, inside_t: Tensor) -> Tensor:
    """Each channel of each image with the histogram of the reference's. [0]

    Args:
        image: (B, C, *S).
        reference: (B, C, *S').
        inside_s: (B, C, *S) bool, which voxels of the image count and change.
        inside_t: (B, C, *S') bool, which voxels of the reference count; where there are none, nothing changes.

    Returns:
        as the image.
    """
    value, counts_s, counts_t = image.flatten(2), inside_s.flatten(2), inside_t.flatten(2)
    source, target = (
        values.masked_fill(~counts, torch.inf).sort(-1).values  # what does not count comes last
        for values, counts in ((value, counts_s), (reference.flatten(2), counts_t))
    )
    size_s, size_t = (counts.sum(-1, keepdim=True) for counts in (counts_s, counts_t))
    quantile = torch.searchsorted(source, value, right=True) / size_s
    quantiles = torch.searchsorted(target, target, right=True) / size_t
    above = torch.searchsorted(quantiles, quantile).clamp(max=target.shape[-1] - 1)
    below = (above - 1).clamp(min=0)
    low, high = quantiles.gather(-1, below), quantiles.gather(-1, above)
    share = ((quantile - low) / (high - low).clamp(min=1e-12)).clamp(0, 1)
    matched = torch.lerp(target.gather(-1, below), target.gather(-1, above), share)
    return torch.where(counts_s & (size_t > 0), matched, value).view_as(image)


def mix_amplitudes(image: Tensor, reference: Tensor, band: float) -> Tensor:
    """The low frequencies' amplitude of the reference, the rest and the phase of the image. [1]

    Args:
        image: (B, C, *S).
        reference: likewise.
        band: beta, the half width of the band of frequencies as a share of each axis; 0: the mean alone.

    Returns:
        as the image.
    """
    axes = tuple(range(2, image.ndim))
    own, other = fftn(image, dim=axes), fftn(reference, dim=axes)
    low = torch.ones((), dtype=torch.bool, device=image.device)
    for axis in axes:
        size = image.shape[axis]
        frequency = fftfreq(size, 1 / size, device=image.device).round().abs()
        low = low & (frequency <= int(band * size)).view(-1, *[1] * (image.ndim - 1 - axis))
    amplitude = torch.where(low, other.abs(), own.abs())
    return ifftn(torch.polar(amplitude, own.angle()), dim=axes).real
