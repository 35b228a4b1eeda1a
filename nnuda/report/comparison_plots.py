"""The score of every case, result below result."""

from __future__ import annotations

import io

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from nnuda.evaluation.comparison import Comparison, case_values
from nnuda.evaluation.table import metric_title

# As wide as a phone shows it, so that its letters keep their size there.
WIDTH_INCHES = 3.8
ROW_INCHES = 0.5
DOTS_PER_INCH = 200
LETTERS = 60  # of a row's name that fit; longer names are smaller
POINT, LINE, MEAN = "#0072B2", "#bbbbbb", "#D55E00"


def _draw_row(axes: Axes, row: int, name: str, values: np.ndarray) -> None:
    known = values[~np.isnan(values)]
    missing = len(values) - len(known)
    axes.scatter(known, np.full(known.shape, row), s=22, color=POINT, alpha=0.75, linewidths=0, zorder=2)
    if known.size:
        axes.plot([known.mean()] * 2, [row - 0.22, row + 0.22], color=MEAN, linewidth=2, zorder=3)
    label = f"{name} ({missing} without a value)" if missing else name
    text = axes.text(
        0,
        row - 0.28,
        label,
        transform=axes.get_yaxis_transform(),
        fontsize=8 * min(1, LETTERS / len(label)),
        parse_math=False,
        bbox={"facecolor": "white", "alpha": 0.8, "linewidth": 0, "pad": 0.5},
    )
    text.set_in_layout(False)  # a long name must not squeeze the axes


def case_plot(comparison: Comparison, metric: str, name: str) -> bytes:
    """A dot a case, a grey line between the dots of one case, an upright stroke for the mean.

    Args:
        comparison: results on the same cases.
        metric: one of its metrics.
        name: a class, or compare.ALL_CLASSES.

    Returns:
        A PNG file.
    """
    values = {result: case_values(scores, metric, name) for result, scores in comparison.scores.items()}
    figure = Figure(figsize=(WIDTH_INCHES, ROW_INCHES * len(values) + 0.8), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(np.stack(list(values.values())), np.arange(len(values)), color=LINE, linewidth=0.8, zorder=1)
    for row, (result, known) in enumerate(values.items()):
        _draw_row(axes, row, result, known)
    axes.set(ylim=(len(values) - 0.5, -0.8), yticks=[], xlabel=metric_title(metric, comparison.scores[result]["unit"]))
    if metric in ("Dice", "NSD"):
        axes.set_xlim(-0.02, 1.02)
    else:
        axes.set_xlim(left=0)
    axes.spines[["left", "right", "top"]].set_visible(False)
    axes.grid(axis="x", color="#eeeeee")
    axes.set_axisbelow(True)
    stream = io.BytesIO()
    figure.savefig(stream, format="png", dpi=DOTS_PER_INCH)
    return stream.getvalue()
