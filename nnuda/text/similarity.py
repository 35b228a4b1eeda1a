"""How alike the texts of the classes are: their Gram matrix, in numbers and as a picture."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np

from nnuda.files import PICTURE_METADATA, replacing
from nnuda.text.class_embeddings import unit


def gram(vectors: np.ndarray, centered: bool = False) -> np.ndarray:
    """Cosines between the rows, (K, K).

    Args:
        vectors: (K, D).
        centered: subtract the mean over the rows first, as TCSA-UDA's loss does here by default.
    """
    rows = vectors.astype(np.float64)
    rows = unit(rows - rows.mean(0)) if centered else unit(rows)
    return rows @ rows.T


def off_diagonal(matrix: np.ndarray) -> np.ndarray:
    """The entries between different classes."""
    return matrix[~np.eye(len(matrix), dtype=bool)]


def loss_of_equal_classes(matrix: np.ndarray) -> tuple[float, float]:
    """What the uncentred covariance cosine loss gives image classes that are all the same, and orthogonal ones."""
    length, k = np.linalg.norm(matrix), len(matrix)
    return 1 - matrix.sum() / (k * length), 1 - np.trace(matrix) / (np.sqrt(k) * length)


def draw_gram(names: tuple[str, ...], matrices: dict[str, np.ndarray], title: str, file: str) -> None:
    """One panel a matrix, with its numbers, as PNG; NaN is left blank."""
    size = 1 + 0.55 * len(names)
    figure, axes = plt.subplots(
        1, len(matrices), figsize=(len(matrices) * size + 1, size + 1), squeeze=False, sharey=True, layout="constrained"
    )
    try:
        for axis, (name, matrix) in zip(axes[0], matrices.items()):
            axis.imshow(matrix, vmin=-1, vmax=1, cmap="RdBu_r")
            axis.set_title(name)
            axis.set_xticks(range(len(names)), names, rotation=45, ha="right")
            axis.set_yticks(range(len(names)), names)
            for (row, column), value in np.ndenumerate(matrix):
                color = "white" if abs(value) > 0.6 else "black"
                if value == value:
                    axis.text(column, row, f"{value:.2f}", ha="center", va="center", color=color, fontsize=8)
        figure.suptitle(title)
        with replacing(file) as aside:
            figure.savefig(aside, dpi=100, format="png", bbox_inches="tight", metadata=PICTURE_METADATA)
    finally:
        plt.close(figure)
