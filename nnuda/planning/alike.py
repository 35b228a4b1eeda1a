"""Whether two domains look alike, as far as names, intensities, geometry and a classifier tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain
from nnuda.histograms import common_area, shown_limits
from nnuda.planning.measure import Side, measure_pair
from nnuda.planning.told_apart import CASES, told_apart

ALIKE = 0.8  # common area of the normalised histograms from which on intensities speak for no adaptation
RATIO = 1.5  # of median spacings or fields of view, from which on geometry speaks for one
TOLD_APART = 0.7  # share of images that a classifier assigns to their domain, from which on they look different


@dataclass(frozen=True)
class Likeness:
    """How alike the images of two domains are.

    Attributes:
        areas: common area of the normalised histograms, a channel.
        told_apart: share of images that a classifier assigns to their domain; None: too few images to say.
    """

    areas: list[float]
    told_apart: float | None


def look_alike(source: Domain, target: Domain, reader: type[BaseReaderWriter]) -> Likeness | None:
    """As `alike`; images are read where the channels have the same names."""
    if list(source.channel_names.values()) != list(target.channel_names.values()):
        return None
    sides = measure_pair(source, target, reader, CASES)
    return alike(*sides, likeness(*sides))


def likeness(source: Side, target: Side) -> Likeness:
    """Compare intensities and looks of two domains with as many channels."""
    pairs = ({"source": a, "target": b} for a, b in zip(source.normalised, target.normalised))
    areas = [common_area(values, shown_limits(values)) for values in pairs]
    return Likeness(areas, told_apart(source.described, target.described))


def alike(source: Side, target: Side, found: Likeness) -> Likeness | None:
    """What was found, where nothing speaks of another kind of image; else None, also where there are too few images."""
    turned = set(source.orientations) != set(target.orientations)
    unknown = found.told_apart is None
    return None if unknown or turned or differences(source, target, found) else found


def differences(source: Side, target: Side, found: Likeness) -> list[str]:
    """What speaks of another kind of image, a sentence each; nothing where the domains look alike.

    Args:
        source, target: measured.
        found: from `likeness`.
    """
    said = []
    for name, other, area in zip(source.channels, target.channels, found.areas):
        if name != other:
            said.append(f"the channels are called differently, {name} and {other}: another kind of image")
        if area < ALIKE:
            said.append(f"intensities of {name} and {other} share {area:.0%} of their area after normalisation")
    if found.told_apart is not None and found.told_apart >= TOLD_APART:
        said.append(f"a classifier names the domain of {found.told_apart:.0%} of the images right (chance level: 50%)")
    axes = slice(1, 3) if source.flat and target.flat else slice(0, 3)
    for text, a, b in (
        ("median spacing", source.median_spacing, target.median_spacing),
        ("median field of view", np.median(source.fields, 0), np.median(target.fields, 0)),
    ):
        ratio = np.maximum(a / b, b / a)[axes].max()
        if ratio > RATIO:
            said.append(f"{text} differs by a factor of {ratio:.2g}")
    return said
