"""Small figures: each as wide as a phone shows it, so that its letters keep their size there."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

WIDTH_INCHES = 3.8
DOTS_PER_INCH = 150
TILE_DOTS_PER_INCH = 84
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#8c8c8c")
SOURCE, TARGET = COLOURS[:2]


def png(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
    return stream.getvalue()


def jpeg(figure: Figure) -> bytes:
    """The figure as a JPEG file: a third of the size where it shows an image with noise."""
    stream = io.BytesIO()
    figure.savefig(stream, format="jpeg", dpi=DOTS_PER_INCH, pil_kwargs={"quality": 88})
    return stream.getvalue()


def tile(figure: Figure) -> bytes:
    """The figure as a small WebP file, for pictures of which a page holds many."""
    stream = io.BytesIO()
    figure.savefig(stream, format="webp", dpi=TILE_DOTS_PER_INCH, pil_kwargs={"quality": 40})
    return stream.getvalue()


def panel(height: float = 2.4) -> tuple[Figure, Axes]:
    """A figure with one axis, in matplotlib's own letters whatever nnU-Net's plots have set."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(WIDTH_INCHES, height), layout="constrained")
        axes = figure.add_subplot()
    axes.tick_params(labelsize=8)
    axes.spines[["right", "top"]].set_visible(False)
    axes.grid(color="#eeeeee")
    axes.set_axisbelow(True)
    return figure, axes


def curves(
    title: str,
    series: Mapping[str, Sequence[float | None]],
    epochs: Sequence[int] | None = None,
    chosen: int | None = None,
    crossed: Sequence[int] = (),
) -> bytes:
    """Values over epochs.

    Args:
        title: above the axis.
        series: values by name; None and NaN are gaps.
        epochs: of the values. Default: from 0.
        chosen: an epoch to mark with an upright line.
        crossed: epochs to mark as vetoed.
    """
    figure, axes = panel()
    for colour, (name, values) in zip(COLOURS * len(series), series.items()):
        at = list(range(len(values)) if epochs is None else epochs)
        known = np.array([np.nan if value is None else value for value in values], dtype=float)
        axes.plot(at, known, color=colour, linewidth=1.5, marker="." if len(at) <= 60 else None, label=name)
        vetoed = [i for i, epoch in enumerate(at) if epoch in set(crossed)]
        axes.plot([at[i] for i in vetoed], known[vetoed], linestyle="none", marker="x", color="black", markersize=6)
    if chosen is not None:
        axes.axvline(chosen, color="#009E73", linewidth=1.5, linestyle="dashed")
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_xlabel("epoch", fontsize=8)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    if len(series) > 1:
        axes.legend(fontsize=7, framealpha=0.6)
    return png(figure)


def histograms(title: str, values: Mapping[str, np.ndarray], limits: tuple[float, float], logarithmic: bool) -> bytes:
    """Shares of the voxels of each domain.

    Args:
        title: above the axis.
        values: "source" and "target", intensities.
        limits: of the axis.
        logarithmic: the upright axis, where one value is most of the image (air in CT).
    """
    figure, axes = panel()
    edges = np.linspace(*limits, 81)
    for (name, drawn), colour in zip(values.items(), (SOURCE, TARGET)):
        share = np.histogram(drawn, edges)[0] / max(1, drawn.size)
        axes.stairs(share, edges, color=colour, linewidth=1.5, label=name)
        axes.stairs(share, edges, color=colour, alpha=0.15, fill=True)
    if logarithmic:
        axes.set_yscale("log")
    axes.set_title(title, fontsize=9, loc="left")
    axes.set_ylabel("share of voxels", fontsize=8)
    axes.legend(fontsize=8, framealpha=0.6)
    return png(figure)


def cosine_matrix(title: str, rows: Sequence[str], columns: Sequence[str], matrix: np.ndarray) -> bytes:
    """Cosines with their numbers; NaN is left blank."""
    with matplotlib.rc_context(matplotlib.rcParamsDefault):
        figure = Figure(figsize=(WIDTH_INCHES, 1.2 + 0.42 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
    axes.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r", aspect="auto")
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", fontsize=8)
    axes.set_yticks(range(len(rows)), rows, fontsize=8)
    size = 8 if len(columns) <= 6 else 5
    for (row, column), value in np.ndenumerate(matrix):
        if np.isfinite(value):
            axes.text(
                column,
                row,
                f"{value:.2f}",
                ha="center",
                va="center",
                fontsize=size,
                color="white" if abs(value) > 0.6 else "black",
            )
    figure.suptitle(title, fontsize=9)
    return png(figure)
