"""The picture of the scores over the epochs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import matplotlib

from nnuda.selection.rule import Record

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

FILE = "nnuda_selection.png"
TITLES = {
    "entropy": "entropy [nats], low is good",
    "class_prior": "class prior distance [nats], low is good",
    "agreement": "agreement, high is good",
    "density": "neighbourhood density",
    "source_dice": "source pseudo Dice (a veto)",
}


def plot_scores(epochs: Sequence[Record], selected: Record | None, rule: dict[str, Any], folder: str) -> None:
    """Draw one panel per score, and one of the classes' sizes, into nnuda_selection.png.

    Vetoed epochs are grey, alarms red, the selected epoch is a line.

    Args:
        epochs: records, one per epoch.
        selected: the record of the epoch in checkpoint_selected.pth.
        rule: names and source's shares of the classes.
        folder: results folder.
    """
    with plt.style.context("default"):
        figure, axes = plt.subplots(2, 3, figsize=(15, 6.4))
        for axis, (name, title) in zip(axes.flat, TITLES.items()):
            _points(axis, epochs, [epoch[name] for epoch in epochs])
            axis.set_title(title)
        for c, (name, share) in enumerate(zip(rule["classes"], rule["source_shares"])):
            if share > 0:
                ratios = [max(1e-3, epoch["class_shares"][c] / share) for epoch in epochs]
                axes[1, 2].plot([epoch["epoch"] for epoch in epochs], ratios, linewidth=1.5, label=name)
        axes[1, 2].axhline(1, color="0.6", linewidth=0.8)
        axes[1, 2].set(title="predicted size / size in the source", yscale="log")
        if any(rule["source_shares"]):
            axes[1, 2].legend(fontsize=7)
        for axis in axes.flat:
            axis.set_xlabel("epoch")
            axis.grid(alpha=0.3)
            if selected is not None:
                axis.axvline(selected["epoch"], color="tab:green", linewidth=1.2)
        # tight_layout would draw everything once more
        figure.subplots_adjust(left=0.04, right=0.99, bottom=0.08, top=0.95, hspace=0.3, wspace=0.15)
        figure.savefig(os.path.join(folder, FILE), dpi=80)
        plt.close(figure)


def _points(axis: Any, epochs: Sequence[Record], values: Sequence[float | None]) -> None:
    known = [
        (epoch["epoch"], value, "tab:red" if epoch["alarm"] else "0.6" if epoch["vetoed"] else "tab:blue")
        for epoch, value in zip(epochs, values)
        if value is not None
    ]
    if known:
        x, y, colours = zip(*known)
        axis.plot(x, y, color="0.8", linewidth=1)
        axis.scatter(x, y, c=colours, s=14, zorder=3)
