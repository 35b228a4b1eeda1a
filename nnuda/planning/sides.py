"""Classes that lie on the same sides of each other in every case: no image shows what a mirrored one does."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain, label_files, spread
from nnuda.images import read_label

CASES, LEAST = 24, 5  # whose labels are read at most; that have to show two classes
PLACES = 64  # along an axis, of larger label maps every n-th voxel
APART = 1.5  # distance of the centres in standard deviations of both; two slabs that touch have the square root of 3
EXCEPTIONS = 0.05  # share of the cases that may be the other way round


@dataclass(frozen=True)
class Sides:
    """Two classes on two sides of an array axis.

    Attributes:
        names: of the classes, that of the lower index first; of labels without a name, their values.
        axis: the array axis.
        apart: distance of their centres along it against the sum of their standard deviations, median over the cases.
    """

    names: tuple[str, str]
    axis: int
    apart: float


def find_sides(source: Domain, reader: type[BaseReaderWriter]) -> list[Sides]:
    """Of the labels of up to 24 cases of the source."""
    files = label_files(source)
    labels = (read_label(reader, files[case])[0][0] for case in spread(list(files), CASES))
    return sides_in(labels, source.dataset_json["labels"])


def sides_in(labels: Iterable[np.ndarray], names: dict[str, Any]) -> list[Sides]:
    """Of each axis the two classes that lie furthest apart on the same sides in every case.

    Args:
        labels: a label map (Z, Y, X) a case; 0 is background.
        names: dataset.json's `labels`.
    """
    named = {value: name for name, value in names.items() if isinstance(value, int)}
    seen: dict[tuple[int, int], list[np.ndarray]] = {}
    for label in labels:
        small = label[tuple(slice(None, None, -(-n // PLACES)) for n in label.shape)]
        classes = [int(value) for value in np.unique(small) if value not in (0, names.get("ignore"))]
        voxels = {value: np.argwhere(small == value) for value in classes}
        for a, b in combinations(classes, 2):
            seen.setdefault((a, b), []).append(_apart(voxels[a], voxels[b]))
    found = []
    for (a, b), distances in seen.items():
        apart = np.median(distances, axis=0)
        same = np.mean(np.sign(distances) == np.sign(apart), axis=0) >= 1 - EXCEPTIONS
        for axis in np.flatnonzero(same & (np.abs(apart) >= APART) & (len(distances) >= LEAST)):
            first, second = (a, b) if apart[axis] > 0 else (b, a)
            pair = named.get(first, str(first)), named.get(second, str(second))
            found.append(Sides(pair, int(axis), abs(float(apart[axis]))))
    furthest = {sides.axis: sides for sides in sorted(found, key=lambda sides: sides.apart)}
    return [furthest[axis] for axis in sorted(furthest)]


def _apart(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Along each axis, of two classes' voxels, (n, 3) indices each; positive where b's are higher."""
    return (b.mean(0) - a.mean(0)) / np.maximum(a.std(0) + b.std(0), 1e-6)
