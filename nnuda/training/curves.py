"""Per-term curves: sums on the device while an epoch runs, one value per term at its end, a picture of all of them."""

from __future__ import annotations

import math
from collections import defaultdict

import matplotlib
import torch
from batchgenerators.utilities.file_and_folder_operations import join
from torch import Tensor

from nnuda.results import LOGGED
from nnuda.training.distributed import mean_over_ranks

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)


class EpochMeans:
    """Means over an epoch of named scalars, without a device synchronisation a step."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.reset()

    def reset(self) -> None:
        """Forget everything."""
        self.sums: dict[str, Tensor] = defaultdict(lambda: torch.zeros((), device=self.device))
        self.counts: dict[str, Tensor | int] = defaultdict(int)

    def update(self, name: str, value: Tensor | float, counted: Tensor | None = None) -> None:
        """Add one value, detached; where `counted` is a bool scalar, only if it is true (the value must be finite)."""
        value = value.detach().float() if isinstance(value, Tensor) else value
        self.sums[name] += value if counted is None else value * counted
        self.counts[name] = self.counts[name] + (1 if counted is None else counted.long())

    def compute(self, names: list[str]) -> dict[str, float]:
        """Mean of each name over this epoch and all ranks; NaN for one that had no value."""
        values = torch.stack([self.sums[name] for name in names])
        counts = torch.tensor([float(self.counts[name]) for name in names], device=self.device)
        return dict(zip(names, mean_over_ranks(values, counts).tolist()))


def plot_curves(logged: dict[str, list[float]], folder: str) -> None:
    """Draw one panel a name into nnuda_progress.png; names "group/line" share the group's panel.

    Args:
        logged: values per epoch by name; NaN where a term was off.
        folder: results folder.
    """
    panels: dict[str, dict[str, list[float]]] = defaultdict(dict)
    for name, values in logged.items():
        title, _, line = name.removeprefix(LOGGED).partition("/")
        panels[title][line] = values
    columns = min(3, len(panels))
    rows = math.ceil(len(panels) / columns)
    with plt.style.context("default"):  # nnU-Net's own plot leaves seaborn's large letters behind
        figure, axes = plt.subplots(rows, columns, figsize=(5 * columns, 3.2 * rows), squeeze=False)
        for axis, (title, lines) in zip(axes.flat, panels.items()):
            for line, values in lines.items():
                axis.plot(range(len(values)), values, marker=".", linewidth=1.5, label=line)
            axis.set_title(title)
            axis.set_xlabel("epoch")
            axis.grid(alpha=0.3)
            if len(lines) > 1:
                axis.legend(fontsize="small", ncols=math.ceil(len(lines) / 8))
        for axis in list(axes.flat)[len(panels) :]:
            axis.set_axis_off()
        figure.tight_layout()
        figure.savefig(join(folder, "nnuda_progress.png"), dpi=80)
        plt.close(figure)
