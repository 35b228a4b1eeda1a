"""Pictures of a target case: one of a 2D image, the slices of a volume."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from nnuda.evaluation.overlay import LARGEST, Slice, Stack, choose_slice, draw_panel
from nnuda.report.figures import WIDTH_INCHES, jpeg, tile
from nnuda.report.page import Picture, Slices

MOST = 24  # slices of a case on the page
MARGIN = 2  # slices beyond the last outline at each end


def case_pictures(
    stack: Stack,
    regions: Mapping,
    colours: Mapping,
    outlines: tuple[str | None, str | None],
    case: str,
    shows: str,
    caption: str,
) -> Picture | Slices:
    """What the page shows of a case.

    Args:
        stack: its slices, cropped. The first labels decide which one is shown first.
        regions: name -> label or labels of a region.
        colours: name -> colour.
        outlines: which labels are drawn solid, and which dotted.
        case: its name.
        shows: what of it, in words.
        caption: what stands below it.
    """
    if len(stack.image) == 1:
        drawn = jpeg(_panel(stack.slice(0), regions, colours, *outlines))
        return Picture(drawn, f"{case}, {shows}", caption, scan=True)
    start = choose_slice(next(iter(stack.labels.values())), 0, LARGEST)
    shown, pictures = shown_slices(stack, start), []
    for index in shown:
        drawn = tile(_panel(stack.slice(index, stack.limits), regions, colours, *outlines, small=True))
        label = f"slice {index + 1} of {len(stack.image)}"
        pictures.append(Picture(drawn, f"{case}, {shows}, {label}", label, scan=True))
    return Slices(pictures, shown.index(start), case, caption)


def shown_slices(stack: Stack, start: int) -> list[int]:
    """Indices of at most MOST slices, `start` among them, evenly through those with an outline and a margin."""
    filled = np.flatnonzero(np.any([labels > 0 for labels in stack.labels.values()], axis=(0, 2, 3)))
    first, last = 0, len(stack.image) - 1
    if filled.size:
        first, last = max(first, filled[0] - MARGIN), min(last, filled[-1] + MARGIN)
    even = np.linspace(first, last, min(MOST, last - first + 1)).round().astype(int)
    even[np.abs(even - start).argmin()] = start
    return even.tolist()


def _panel(
    view: Slice, regions: Mapping, colours: Mapping, solid: str | None, dotted: str | None, small: bool = False
) -> Figure:
    height, width = view.image.shape
    tall = min(1.4, max(0.5, height * view.aspect / width))
    figure = Figure(figsize=(WIDTH_INCHES, WIDTH_INCHES * tall))
    axes = figure.add_axes((0, 0, 1, 1))
    draw_panel(axes, view, regions, colours, solid, dotted, thick=1.5 if small else 1.0, smooth=small)
    axes.set_axis_off()
    figure.set_facecolor("black")
    return figure
