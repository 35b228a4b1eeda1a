"""Whether two domains look alike, as far as names, intensities and geometry tell."""

from __future__ import annotations

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain
from nnuda.histograms import common_area, shown_limits
from nnuda.planning.measure import Side, measure_pair

ALIKE = 0.8  # common area of the normalised histograms from which on intensities speak for no adaptation
RATIO = 1.5  # of median spacings or fields of view, from which on geometry speaks for one
CASES = 8  # of each domain, read for their intensities


def look_alike(source: Domain, target: Domain, reader: type[BaseReaderWriter]) -> list[float] | None:
    """As `alike`; images are read where the channels have the same names."""
    if list(source.channel_names.values()) != list(target.channel_names.values()):
        return None
    return alike(*measure_pair(source, target, reader, CASES))


def alike(source: Side, target: Side) -> list[float] | None:
    """Common area of each channel where nothing speaks of another kind of image; else None."""
    areas = common_areas(source, target)
    turned = set(source.orientations) != set(target.orientations)
    return None if turned or differences(source, target, areas) else areas


def common_areas(source: Side, target: Side) -> list[float]:
    """Common area of the normalised histograms, a channel."""
    pairs = ({"source": a, "target": b} for a, b in zip(source.normalised, target.normalised))
    return [common_area(values, shown_limits(values)) for values in pairs]


def differences(source: Side, target: Side, areas: list[float]) -> list[str]:
    """What speaks of another kind of image, a sentence each; nothing where the domains look alike.

    Args:
        source, target: measured.
        areas: from `common_areas`.
    """
    found = []
    for name, other, area in zip(source.channels, target.channels, areas):
        if name != other:
            found.append(f"the channels are called differently, {name} and {other}: another kind of image")
        if area < ALIKE:
            found.append(f"intensities of {name} and {other} share {area:.0%} of their area after normalisation")
    axes = slice(1, 3) if source.flat and target.flat else slice(0, 3)
    for text, a, b in (
        ("median spacing", source.median_spacing, target.median_spacing),
        ("median field of view", np.median(source.fields, 0), np.median(target.fields, 0)),
    ):
        ratio = np.maximum(a / b, b / a)[axes].max()
        if ratio > RATIO:
            found.append(f"{text} differs by a factor of {ratio:.2g}")
    return found
