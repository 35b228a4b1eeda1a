"""How classes lie to each other in what a method keeps (prototypes, means, texts), and what pictures training left."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from batchgenerators.utilities.file_and_folder_operations import join
from torch import Tensor

from nnuda.labels import class_names
from nnuda.report.figures import cosine_matrix
from nnuda.report.page import Picture, Pictures, Section, Text
from nnuda.report.run import Run, number
from nnuda.training.pictures import FOLDER as PICTURES

MEANING = (
    "Cosines between vectors of classes that the method keeps in its checkpoint. Different classes apart and "
    "the same class together across domains is what alignment aims at."
)
# what trainings drew before a checkpoint named its pictures, in folders of the fold's folder
OLD_PICTURES = {
    "class_cosines": "Cosines between classes of texts and images, as the text loss compares them",
    "translations": "Translations: images of each domain through the cycle of generators",
}


def class_vectors(state: dict[str, Any]) -> dict[str, Tensor]:
    """Vectors (K, A) by title, NaN for a class without one, that the checkpoint offers.

    Args:
        state: nnuda's part of the checkpoint.
    """
    if "class_vectors" not in state:
        return _from_statistics(state.get("statistics", {}))
    return {
        title: entry["values"].float().masked_fill(~entry["there"][:, None], torch.nan)
        for title, entry in state["class_vectors"].items()
    }


def _from_statistics(statistics: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a checkpoint from before they were named: dictionaries of prototypes (`.entries`, `.pushed`), class means
    (`.mean` with `.seen` or `.count`), texts (`text.weight`)."""
    found = {}
    for key, value in statistics.items():
        name, _, kind = key.rpartition(".")
        if kind == "entries":
            filled = torch.arange(value.shape[1]) < statistics[f"{name}.pushed"][:, None]
            found[name] = (value * filled[..., None]).sum(1) / filled.sum(1)[:, None]
        elif kind == "mean" and value.ndim == 2:
            seen = statistics.get(f"{name}.seen", statistics.get(f"{name}.count"))
            found[name] = value.masked_fill(seen[:, None] == 0, torch.nan)
        elif kind == "weight" and name == "text":
            found[name] = value
    return {name.replace("_", " "): value for name, value in found.items()}


def picture_folders(run: Run) -> dict[str, str]:
    """Folder below the fold's -> caption, of the pictures that training drew."""
    if "pictures" not in run.state:
        return OLD_PICTURES
    return {join(PICTURES, os.path.basename(name)): caption for name, caption in run.state["pictures"].items()}


def cosines(a: Tensor, b: Tensor) -> np.ndarray:
    """Between the rows, (K, K); NaN stays."""
    return (F.normalize(a.double(), dim=1) @ F.normalize(b.double(), dim=1).T).numpy()


def _pairs(names: list[str]) -> list[tuple[str, str]]:
    pairs = [(name, name.removesuffix("source") + "target") for name in names if name.endswith("source")]
    return [(source, target) for source, target in pairs if target in names]


def _mean(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else np.nan


def relation_pictures(run: Run) -> list[Picture]:
    """A matrix of cosines a set of vectors, and one between the domains."""
    vectors = class_vectors(run.state)
    classes = class_names(run.dataset_json)

    def names(rows: Tensor) -> list[str]:
        return classes if len(classes) == len(rows) else [str(index) for index in range(len(rows))]

    pictures = [
        Picture(
            cosine_matrix(name, names(rows), names(rows), cosines(rows, rows)), f"cosines between the classes, {name}"
        )
        for name, rows in vectors.items()
    ]
    for source, target in _pairs(list(vectors)):
        matrix = cosines(vectors[source], vectors[target])
        same, other = _mean(np.diag(matrix)), _mean(matrix[~np.eye(len(matrix), dtype=bool)])
        rows, columns = names(vectors[source]), names(vectors[target])
        title = f"{source} (rows), {target} (columns)"
        pictures.append(
            Picture(
                cosine_matrix(title, rows, columns, matrix),
                f"cosines between the classes of both domains, {source} and {target}",
                f"across domains, on average: the same class {number(same)}, different classes {number(other)}",
            )
        )
    return pictures


def last_picture(folder: str) -> tuple[str, bytes] | None:
    """Name and content of the last PNG of a folder, by name."""
    names = sorted(name for name in os.listdir(folder) if name.endswith(".png")) if os.path.isdir(folder) else []
    if not names:
        return None
    with open(join(folder, names[-1]), "rb") as file:
        return names[-1], file.read()


def relations_section(run: Run) -> Section | None:
    """None where the method keeps and draws nothing of the kind."""
    blocks: list = []
    pictures = relation_pictures(run)
    if pictures:
        blocks += [Pictures(pictures), Text(MEANING)]
    for folder, text in picture_folders(run).items():
        found = last_picture(join(run.folder, folder))
        if found:
            blocks.append(Pictures([Picture(found[1], text, f"{text}. {folder}/{found[0]}", scan=True)], wide=True))
    return Section("Classes and pictures", blocks) if blocks else None
