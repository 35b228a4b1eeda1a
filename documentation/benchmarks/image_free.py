"""The image-free floor: one map of labels, where the source's labels lie around the centre of its images.

A method that does not beat it has learnt nothing that the crop of the images did not say.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import SimpleITK as sitk

Size = tuple[float, ...]


def at_offsets(label: np.ndarray, spacing: Size, shape: tuple[int, ...], new_spacing: Size) -> np.ndarray:
    """A label map on another grid with the same centre: nearest voxels, 0 outside.

    Args:
        label: (Z, Y, X).
        spacing: its own, in mm.
        shape: of the grid.
        new_spacing: the grid's spacing, in mm.
    """
    found, known = [], []
    for size, step, n, new in zip(label.shape, spacing, shape, new_spacing):
        index = np.floor((np.arange(n) - (n - 1) / 2) * new / step + (size - 1) / 2 + 0.5).astype(int)
        found.append(index.clip(0, size - 1))
        known.append((index >= 0) & (index < size))
    return np.where(np.logical_and.outer(np.logical_and.outer(known[0], known[1]), known[2]), label[np.ix_(*found)], 0)


def mean_map(labels: list[np.ndarray], spacings: list[Size], classes: list[int]) -> tuple[np.ndarray, Size]:
    """The most frequent class of each place, on the places that are most often foreground: as many as a source case
    has on average.

    Args:
        labels: (Z, Y, X) of each source case.
        spacings: of each, in mm.
        classes: values of the foreground's labels.

    Returns:
        The map and its spacing, the source's median extent and median spacing.
    """
    spacing = tuple(np.median(spacings, 0))
    extent = np.median([np.multiply(label.shape, step) for label, step in zip(labels, spacings)], 0)
    shape = tuple(int(n) for n in np.maximum(1, np.rint(extent / spacing)))
    frequency = np.zeros((len(classes), *shape))
    for label, own in zip(labels, spacings):
        moved = at_offsets(label, own, shape, spacing)
        frequency += np.stack([moved == value for value in classes])
    foreground = frequency.sum(0)
    kept = int(round(foreground.sum() / len(labels)))
    least = np.sort(foreground, None)[-kept] if kept else np.inf
    best = np.array(classes)[frequency.argmax(0)]
    return np.where((foreground >= least) & (foreground > 0), best, 0).astype(np.uint8), spacing


def read(path: Path) -> tuple[np.ndarray, Size, sitk.Image]:
    """Array (Z, Y, X), spacing in its order, and the image."""
    image = sitk.ReadImage(str(path))
    return sitk.GetArrayFromImage(image), image.GetSpacing()[::-1], image


def predict(source_labels: list[Path], classes: list[int], images: dict[str, Path], folder: Path) -> None:
    """Write the map for each image, centred on it.

    Args:
        source_labels: the source's label files.
        classes: values of the foreground's labels.
        images: an image file, of which the grid alone is read, by the name of its prediction.
        folder: for the predictions.
    """
    cases = [read(path)[:2] for path in source_labels]
    label, spacing = mean_map([case[0] for case in cases], [case[1] for case in cases], classes)
    folder.mkdir(parents=True, exist_ok=True)
    for name, path in images.items():
        array, own, image = read(path)
        made = sitk.GetImageFromArray(at_offsets(label, spacing, array.shape, own).astype(np.uint8))
        made.CopyInformation(image)
        sitk.WriteImage(made, str(folder / name))
