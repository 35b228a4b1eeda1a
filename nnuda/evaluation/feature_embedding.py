"""Class features of both domains in the plane (t-SNE), before and after an adaptation, and two numbers beside it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors

from nnuda.evaluation.class_features import ClassFeatures
from nnuda.evaluation.overlay import class_colours
from nnuda.evaluation.reading import EvaluationError
from nnuda.files import PICTURE_METADATA, replacing

NEIGHBOURS = 15
PERPLEXITY = 30
MARKERS = ("o", "^")  # source, target
BACKGROUND = "0.75"
PANEL_INCHES = 4.2


def embed(collected: ClassFeatures, seed: int = 0) -> np.ndarray:
    """t-SNE (van der Maaten and Hinton, 2008) of all voxels of one network, started from their first components.

    Distances between clusters mean nothing in it, and embeddings of two networks cannot be compared point by point.

    Args:
        collected: at least four voxels.
        seed: of what is left to chance.

    Returns:
        (N, 2).

    Raises:
        EvaluationError: fewer voxels.
    """
    number = len(collected.values)
    if number < 4:
        raise EvaluationError(f"Expected at least four voxels to embed, got {number}.")
    perplexity = min(PERPLEXITY, (number - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(collected.values)


def neighbours(collected: ClassFeatures) -> tuple[float, float]:
    """What the 15 nearest neighbours of a voxel are, in the space of the features, not in the picture.

    Args:
        collected: at least two voxels.

    Returns:
        Share of neighbours from the other domain, over classes with voxels in both: 0.5 where domains are mixed and
        have equally many voxels, 0 where they lie apart; NaN where there is no such class. Share of neighbours of the
        same class, of either domain.
    """
    number = min(NEIGHBOURS, len(collected.values) - 1)
    index = NearestNeighbors(n_neighbors=number).fit(collected.values).kneighbors(return_distance=False)
    other = (collected.domains[index] != collected.domains[:, None]).mean(1)
    same = (collected.classes[index] == collected.classes[:, None]).mean()
    both = ~np.isin(collected.classes, [collected.names.index(name) for d in (0, 1) for name in collected.missing(d)])
    return float(other[both].mean()) if both.any() else float("nan"), float(same)


def draw(panels: Mapping[str, tuple[ClassFeatures, np.ndarray]], output_png: str) -> None:
    """One panel per network: the domain by marker, the class by colour.

    Args:
        panels: title, such as "before", -> what was collected and where `embed` put it. All of the same classes.
        output_png: the picture.

    Raises:
        EvaluationError: no panel, or other classes.
    """
    names = {collected.names for collected, _ in panels.values()}
    if len(names) != 1:
        raise EvaluationError(f"Expected panels of the same classes; got {sorted(names)}.")
    background, *foreground = names.pop()
    colours = {background: BACKGROUND, **class_colours(foreground)}
    figure = Figure(figsize=(PANEL_INCHES * len(panels), PANEL_INCHES + 1.1), layout="constrained")
    for axes, (title, (collected, places)) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels.items()):
        _draw_panel(axes, title, collected, places, colours)
    pseudo = {collected.pseudo_labels for collected, _ in panels.values()}
    handles = [Line2D([], [], color=colour, marker="s", linestyle="", label=name) for name, colour in colours.items()]
    kinds = {(True,): "pseudo-labels", (False,): "labels"}.get(tuple(pseudo), "labels or pseudo-labels")
    handles += [
        Line2D([], [], color="0.3", marker=marker, markerfacecolor="none", linestyle="", label=label)
        for marker, label in zip(MARKERS, ("source (labels)", f"target ({kinds})"))
    ]
    columns = max(2, int(figure.get_figwidth() // 1.8))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)
    with replacing(output_png) as aside:
        figure.savefig(aside, format="png", dpi=120, metadata=PICTURE_METADATA)


def _draw_panel(
    axes: Axes, title: str, collected: ClassFeatures, places: np.ndarray, colours: Mapping[str, str | tuple]
) -> None:
    for domain, marker in enumerate(MARKERS):
        for k, name in enumerate(collected.names):
            x, y = places[(collected.domains == domain) & (collected.classes == k)].T
            face = {"facecolors": "none", "linewidths": 0.8} if domain == 0 else {"linewidths": 0}
            axes.scatter(
                x,
                y,
                s=14,
                marker=marker,
                edgecolors=colours[name],
                alpha=0.8,
                **{"facecolors": [colours[name]], **face},
            )
    other, same = neighbours(collected)
    lines = [title, f"neighbours: {_percent(other)} of the other domain, {_percent(same)} of the same class"]
    if collected.missing(1):
        found = "predicted" if collected.pseudo_labels else "found"
        lines.append(f"not {found} on the target: {', '.join(collected.missing(1))}")
    axes.set_title(lines[0], fontsize=11)
    axes.set_xlabel("\n".join(lines[1:]), fontsize=8, wrap=True)
    axes.set(xticks=[], yticks=[], aspect="equal", adjustable="datalim")


def _percent(share: float) -> str:
    return "-" if np.isnan(share) else f"{100 * share:.0f} %"
