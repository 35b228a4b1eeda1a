"""Slices of a synthetic abdomen, as two scanners would show it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

SIZE = 64  # pixels
AIR, BODY, VESSEL, LIVER, KIDNEY = range(5)
LABELS = {"background": 0, "liver": 1, "kidney": 2}
LABEL_OF_TISSUE = np.array([0, 0, 0, 1, 2], dtype=np.uint8)


@dataclass(frozen=True)
class Contrast:
    """How a scanner shows tissues, on a scale of intensity from 0 to 1.

    Attributes:
        tissues: mean intensity of air, body, vessel, liver, kidney.
        texture: standard deviation of the smooth variation inside the body.
        noise: standard deviation of the noise of each pixel.
        bias: largest relative change of intensity by the bias field.
        grain: standard deviation of the Gaussian that smooths the texture, in pixels.
        blur: standard deviation of the scanner's resolution, in pixels.
    """

    tissues: tuple[float, float, float, float, float]
    texture: float
    noise: float
    bias: float
    grain: float = 1.5
    blur: float = 0.5


SOURCE = Contrast(tissues=(0.05, 0.35, 0.15, 0.55, 0.80), texture=0.04, noise=0.03, bias=0.05)
# Vessels as bright as the kidney, less contrast between liver and body, a bias field, finer texture, more noise, blur.
TARGET = Contrast(tissues=(0.06, 0.42, 0.66, 0.60, 0.74), texture=0.05, noise=0.06, bias=0.25, grain=0.8, blur=0.9)


def _blob(rng: np.random.Generator, centre: Sequence[float], radii: Sequence[float], wobble: float) -> np.ndarray:
    """bool (SIZE, SIZE): an ellipse whose radius swings in three waves of up to `wobble` of itself."""
    y, x = np.mgrid[:SIZE, :SIZE]
    dy, dx = (y - centre[0]) / radii[0], (x - centre[1]) / radii[1]
    angle = np.arctan2(dy, dx)
    waves = (rng.uniform(-wobble, wobble) * np.sin(order * angle + rng.uniform(0, 2 * np.pi)) for order in (2, 3, 4))
    return np.hypot(dy, dx) < 1 + sum(waves)


def draw_tissues(rng: np.random.Generator) -> np.ndarray:
    """One anatomy.

    Returns:
        (SIZE, SIZE) of tissue numbers: a body with two vessels, a liver on the left, a kidney on the right.
    """
    tissues = np.full((SIZE, SIZE), AIR)
    move = rng.uniform(-3, 3, size=2)
    body = _blob(rng, (32 + move[0], 32 + move[1]), (rng.uniform(24, 28), rng.uniform(26, 30)), 0.02)
    tissues[body] = BODY
    for centre in ((20, 40), (44, 34)):
        position = np.add(centre, move) + rng.uniform(-4, 4, size=2)
        tissues[body & _blob(rng, position, (rng.uniform(2.5, 5), rng.uniform(2.5, 5)), 0.1)] = VESSEL
    liver = np.add((27, 21), move) + rng.uniform(-3, 3, size=2)
    tissues[body & _blob(rng, liver, (rng.uniform(9, 13), rng.uniform(8, 11)), 0.1)] = LIVER
    kidney = np.add((38, 46), move) + rng.uniform(-4, 4, size=2)
    tissues[body & _blob(rng, kidney, (rng.uniform(6, 9), rng.uniform(4, 6)), 0.08)] = KIDNEY
    return tissues


def _smooth_field(rng: np.random.Generator, grid: int) -> np.ndarray:
    """(SIZE, SIZE) of values in [-1, 1] that change slowly."""
    field = zoom(rng.standard_normal((grid, grid)), SIZE / grid, order=3)
    return field / np.abs(field).max()


def show(tissues: np.ndarray, contrast: Contrast, rng: np.random.Generator) -> np.ndarray:
    """What a scanner makes of an anatomy.

    Args:
        tissues: (SIZE, SIZE) of tissue numbers.
        contrast: the scanner.
        rng: draws texture, bias field and noise.

    Returns:
        uint8 (SIZE, SIZE).
    """
    image = np.array(contrast.tissues)[tissues]
    texture = gaussian_filter(rng.standard_normal(tissues.shape), contrast.grain)
    image = gaussian_filter(image + contrast.texture * texture / texture.std() * (tissues != AIR), contrast.blur)
    image = image * (1 + contrast.bias * _smooth_field(rng, 4)) + contrast.noise * rng.standard_normal(tissues.shape)
    return (255 * np.clip(image, 0, 1)).round().astype(np.uint8)


def draw_case(contrast: Contrast, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Image and labels, both uint8 (SIZE, SIZE), of a new anatomy."""
    tissues = draw_tissues(rng)
    return show(tissues, contrast, rng), LABEL_OF_TISSUE[tissues]
