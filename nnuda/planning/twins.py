"""Classes that are each other's mirror image, such as two kidneys: a network that is trained on mirrored images cannot
tell them apart."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.datasets import Domain, label_files, spread
from nnuda.images import read_label

CASES = 24  # whose labels are read
PLACES = 64  # along an axis, of larger label maps every n-th voxel
APART = 2.0  # distance of the centres in standard deviations of both; two slabs that touch have the square root of 3
COVERED = 0.3  # Dice of one with the other's mirror image, in the plane between them
SIZE = 1.5  # of one against the other


@dataclass(frozen=True)
class Twins:
    """Two classes that change places in the mirror.

    Attributes:
        names: of the classes; of labels that have none, their values.
        axis: the array axis on whose two sides they lie.
        dice: of one with the other's mirror image, median over the cases.
    """

    names: tuple[str, str]
    axis: int
    dice: float


@dataclass(frozen=True)
class _Sight:
    """Two classes in one case: distance of their centres along an axis, in standard deviations of both, with its sign;
    Dice in the mirror; how many times one is as large as the other."""

    apart: float
    dice: float
    size: float


def find_twins(source: Domain, reader: type[BaseReaderWriter]) -> list[Twins]:
    """Of the labels of up to 24 cases of the source."""
    files = label_files(source)
    labels = (read_label(reader, files[case])[0][0] for case in spread(list(files), CASES))
    return twins_among(labels, source.dataset_json["labels"])


def twins_among(labels: Iterable[np.ndarray], names: dict[str, Any]) -> list[Twins]:
    """Classes of about one size that lie apart, on the same side of each other in every case, and cover each other when
    they are mirrored.

    Args:
        labels: a label map (Z, Y, X) a case; 0 is background.
        names: dataset.json's `labels`.
    """
    named = {value: name for name, value in names.items() if isinstance(value, int) and name != "ignore"}
    seen: dict[tuple[int, int, int], list[_Sight]] = {}
    for label in labels:
        small = label[tuple(slice(None, None, -(-n // PLACES)) for n in label.shape)]
        voxels = {
            int(value): np.argwhere(small == value)
            for value in np.unique(small)
            if value not in (0, names.get("ignore"))
        }
        for a, b in combinations(sorted(voxels), 2):
            for axis in range(3):
                seen.setdefault((a, b, axis), []).append(_look(voxels[a], voxels[b], axis))
    return [
        Twins((named.get(a, str(a)), named.get(b, str(b))), axis, float(np.median([sight.dice for sight in sights])))
        for (a, b, axis), sights in seen.items()
        if _are_twins(sights)
    ]


def _are_twins(sights: list[_Sight]) -> bool:
    apart, dice, size = (np.array([getattr(sight, name) for sight in sights]) for name in ("apart", "dice", "size"))
    same_side = (apart > 0).all() or (apart < 0).all()
    typical = np.median(np.abs(apart)) >= APART and np.median(dice) >= COVERED
    return bool(same_side and typical and 1 / SIZE <= np.median(size) <= SIZE)


def _look(a: np.ndarray, b: np.ndarray, axis: int) -> _Sight:
    """Of two classes' voxels, (n, 3) indices each."""
    sides = a[:, axis].mean(), b[:, axis].mean()
    apart = (sides[1] - sides[0]) / max(a[:, axis].std() + b[:, axis].std(), 1e-6)
    mirrored = a.copy()
    mirrored[:, axis] = np.rint(sum(sides) - a[:, axis])
    common = np.intersect1d(_flat(mirrored), _flat(b), assume_unique=True).size
    return _Sight(apart, 2 * common / (len(a) + len(b)), len(a) / len(b))


def _flat(voxels: np.ndarray) -> np.ndarray:
    """One number a voxel; the mirror image may lie beside the grid."""
    return ((voxels + PLACES) @ (1, 4 * PLACES, 16 * PLACES**2)).astype(np.int64)
