"""Pictures that a training leaves besides its curves."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

import matplotlib
from torch import Tensor

from nnuda.losses.covariance_cosine import class_cosines

matplotlib.use("agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

from nnuda.text.similarity import draw_gram  # noqa: E402

FOLDER = "pictures"  # in the fold's folder: pictures/<name>/epoch_XXXX.png


@dataclass(frozen=True)
class Drawing:
    """A picture that a method offers.

    Attributes:
        caption: what it shows, for the report.
        draw: draws it to the path of a PNG file, whose folder is there.
    """

    caption: str
    draw: Callable[[str], None]


def draw_images(columns: dict[str, Tensor], path: str) -> None:
    """One row per image of the batch: first channel, middle slice of 3D patches,
    each grey scale from its 1st to its 99th percentile.

    Args:
        columns: (B, C, *S) by title; the same B.
        path: PNG file; its folder is made.
    """
    os.makedirs(os.path.dirname(path), exist_ok=True)
    rows = min(len(images) for images in columns.values())
    with plt.style.context("default"):
        _draw(columns, rows, path)


def draw_class_cosines(names: list[str], rows: dict[str, tuple[Tensor, Tensor]], centered: bool, path: str) -> None:
    """Cosines between the classes of texts and images, one panel each.

    Args:
        names: K classes.
        rows: (vectors (K, A), which there are, bool (K,)) by title; a class without a vector is left blank.
        centered: subtract the mean over the classes first.
        path: PNG file; its folder is made.
    """
    matrices = {}
    for title, (vectors, valid) in rows.items():
        cosines = class_cosines(vectors, valid, centered)
        matrices[title] = cosines.masked_fill(~(valid[:, None] & valid), float("nan")).cpu().numpy()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with plt.style.context("default"):
        title = "cosines between classes" + (", their mean subtracted" if centered else "")
        draw_gram(tuple(names), matrices, title, path)


def _draw(columns: dict[str, Tensor], rows: int, path: str) -> None:
    figure, axes = plt.subplots(rows, len(columns), figsize=(2 * len(columns), 2.1 * rows), squeeze=False)
    for column, (title, images) in zip(axes.T, columns.items()):
        column[0].set_title(title)
        for axis, image in zip(column, images.float().cpu()):
            plane = image[0] if image.ndim == 3 else image[0, image.shape[1] // 2]
            axis.imshow(plane.numpy(), cmap="gray", vmin=plane.quantile(0.01), vmax=plane.quantile(0.99))
            axis.set_axis_off()
    figure.tight_layout(pad=0.3)
    figure.savefig(path, dpi=70)
    plt.close(figure)
