"""A picture of cases with the outlines of reference and predictions, one column each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeVar

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from nnunetv2.evaluation.evaluate_predictions import region_or_label_to_mask
from nnunetv2.imageio.base_reader_writer import BaseReaderWriter

from nnuda.evaluation.reading import EvaluationError, find_reader, read_files, read_labels
from nnuda.evaluation.scores import class_labels
from nnuda.files import replacing

LARGEST = "largest foreground"
WINDOW_PERCENTILES = (1, 99)
# Okabe and Ito: told apart by colour-blind readers, ordered here by contrast to grey.
COLOURS = ("#E69F00", "#56B4E9", "#F0E442", "#CC79A7", "#009E73", "#D55E00", "#0072B2")
DOTS = (0, (2, 1.5))  # lengths of dot and gap, in widths of the line: seen on noise and beside an edge
PANEL_INCHES = 2.3
LEGEND_INCHES = 1.7


@dataclass(frozen=True)
class Slice:
    """One slice of a case: image (H,W), name of outlines -> labels (H,W), height of a pixel over its width.

    `limits`: the grey values drawn black and white. Default: percentiles of the slice.
    """

    image: np.ndarray
    labels: dict[str, np.ndarray]
    aspect: float
    limits: tuple[float, float] | None = None


@dataclass(frozen=True)
class Stack:
    """All slices of a case, as `Slice` has one: image (N,H,W), labels (N,H,W)."""

    image: np.ndarray
    labels: dict[str, np.ndarray]
    aspect: float

    @cached_property
    def limits(self) -> tuple[float, float]:
        """Percentiles of all slices, so that grey values stay from slice to slice."""
        low, high = np.percentile(self.image, WINDOW_PERCENTILES)
        return float(low), float(high)

    def slice(self, index: int, limits: tuple[float, float] | None = None) -> Slice:
        """One of them."""
        return Slice(self.image[index], {name: of[index] for name, of in self.labels.items()}, self.aspect, limits)


View = TypeVar("View", Slice, Stack)


def choose_slice(labels: np.ndarray, axis: int, choice: str | int) -> int:
    """Index of the slice with the most foreground (the middle one where there is none), or the one asked for."""
    length = labels.shape[axis]
    if choice != LARGEST:
        if not 0 <= int(choice) < length:
            raise EvaluationError(f"Expected a slice between 0 and {length - 1}, or {LARGEST!r}; got {choice!r}.")
        return int(choice)
    areas = np.count_nonzero(labels, axis=tuple(other for other in range(labels.ndim) if other != axis))
    return int(areas.argmax()) if areas.any() else length // 2


def read_slice(
    image_file: str,
    label_files: Mapping[str, str],
    reader: type[BaseReaderWriter],
    allowed: Sequence[int],
    choice: str | int = LARGEST,
) -> Slice:
    """The slice of a case that its first labels decide; `choice`: its index, or "largest foreground"."""
    stack = read_stack(image_file, label_files, reader, allowed)
    return stack.slice(choose_slice(next(iter(stack.labels.values())), 0, choice if len(stack.image) > 1 else 0))


def read_stack(
    image_file: str, label_files: Mapping[str, str], reader: type[BaseReaderWriter], allowed: Sequence[int]
) -> Stack:
    """The slices of a case across its axis of largest spacing, which for 2D images is the first one, of length one.

    Args:
        image_file: image; its first channel is shown.
        label_files: name of outlines -> label file.
        reader: nnU-Net's reader class.
        allowed: the labels of dataset.json.
    """
    image, properties = read_files(lambda: reader().read_images((image_file,)), [image_file], "an image")
    labels = {name: read_labels(file, reader, allowed).labels for name, file in label_files.items()}
    for name, label_map in labels.items():
        if label_map.shape != image.shape[1:]:
            raise EvaluationError(
                f"Expected labels of the image's shape {image.shape[1:]} in {label_files[name]}; got {label_map.shape}."
            )
    spacing = np.asarray(properties["spacing"], dtype=float)
    axis = int(spacing.argmax())
    height, width = np.delete(spacing, axis)
    across = {name: np.moveaxis(label_map, axis, 0) for name, label_map in labels.items()}
    return Stack(np.moveaxis(image[0], axis, 0), across, height / width)


def crop_to_foreground(view: View, margin: float = 0.35) -> View:
    """The square in pixels around all outlines, wider by `margin` of its side each way, as far as the image reaches.

    One square for all slices of a stack.
    """
    foreground = np.any([labels > 0 for labels in view.labels.values()], axis=0)
    foreground = foreground.any(axis=tuple(range(foreground.ndim - 2)))
    if not foreground.any():
        return view
    spans = [np.flatnonzero(foreground.any(axis=1 - axis))[[0, -1]] for axis in (0, 1)]
    half = max(last - first + 1 for first, last in spans) * (0.5 + margin)
    rows, columns = (
        slice(max(0, int((first + last + 1) / 2 - half)), int(np.ceil((first + last + 1) / 2 + half)))
        for first, last in spans
    )
    labels = {name: of[..., rows, columns] for name, of in view.labels.items()}
    return replace(view, image=view.image[..., rows, columns], labels=labels)


def class_colours(names: Sequence[str]) -> dict[str, str | tuple]:
    """One colour a class."""
    if len(names) <= len(COLOURS):
        return dict(zip(names, COLOURS))
    return {name: matplotlib.colormaps["hsv"](i / len(names)) for i, name in enumerate(names)}


def _outline(
    axes: Axes, labels: np.ndarray, regions: Mapping, colours: Mapping, style: str | tuple, thick: float
) -> None:
    for name, region in regions.items():
        mask = region_or_label_to_mask(labels, region if np.isscalar(region) else tuple(region))
        if mask.any():  # an edge of zeros closes the outline of what touches the border
            axis_y, axis_x = (np.arange(-1, length + 1) for length in mask.shape)
            axes.contour(
                axis_x,
                axis_y,
                np.pad(mask, 1).astype(float),
                [0.5],
                colors=[colours[name]],
                linestyles=[style],
                linewidths=thick * (1.65 if style == DOTS else 1.3),
            )


def draw_panel(
    axes: Axes,
    view: Slice,
    regions: Mapping,
    colours: Mapping,
    solid: str | None,
    dotted: str | None,
    thick: float = 1.0,
    smooth: bool = False,
) -> None:
    """A slice with outlines.

    Args:
        axes: to draw on.
        view: the slice.
        regions: name -> label or labels of a region.
        colours: name -> colour.
        solid, dotted: which of the slice's labels to draw with such lines.
        thick: times the width of the lines.
        smooth: interpolate between pixels, which makes files of half the size.
    """
    low, high = view.limits or np.percentile(view.image, WINDOW_PERCENTILES)
    axes.imshow(view.image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6), aspect=view.aspect)
    if smooth:
        axes.images[-1].set_interpolation("bilinear")
    for name, style in ((dotted, DOTS), (solid, "solid")):
        if name is not None:
            _outline(axes, view.labels[name], regions, colours, style, thick)
    axes.set_xlim(-0.5, view.image.shape[1] - 0.5)
    axes.set_ylim(view.image.shape[0] - 0.5, -0.5)
    axes.set_xticks([])
    axes.set_yticks([])


def _legend(figure: Figure, colours: Mapping, reference: str) -> None:
    handles = [Line2D([], [], color=colour, linewidth=2.5, label=name) for name, colour in colours.items()]
    handles.append(Line2D([], [], color="0.4", linewidth=1.2, linestyle="dotted", label=f"dotted: {reference}"))
    columns = max(1, int(figure.get_figwidth() // LEGEND_INCHES))
    figure.legend(handles=handles, loc="outside lower center", ncols=columns, frameon=False, fontsize=9)


def _save(figure: Figure, output_png: str) -> None:
    with replacing(output_png) as aside:
        figure.savefig(aside, format="png", dpi=150)


def draw_overlays(
    images: Mapping[str, str],
    contours: Mapping[str, Mapping[str, str]],
    output_png: str,
    dataset_json: dict,
    slices: str | int = LARGEST,
    max_cases: int = 4,
    plans: dict | None = None,
    captions: Mapping[str, Mapping[str, str]] | None = None,
) -> list[str]:
    """Draws one row per case and one column per set of outlines; the first set is dotted in the columns of the others.

    Args:
        images: case -> image file (the first channel's).
        contours: title of a column -> case -> label file; the first one (the reference) decides slice and order.
        output_png: the picture.
        dataset_json: content of the dataset.json: labels or regions, file ending.
        slices: index of the slice of 3D images, or "largest foreground".
        max_cases: draws the first so many cases that have an image and all label files.
        plans: content of a plans.json, where it should decide the reader.
        captions: title of a column -> case -> text below its panel.

    Returns:
        The cases drawn.

    Raises:
        EvaluationError: no case has an image and all label files.
    """
    cases = [case for case in images if all(case in files for files in contours.values())][:max_cases]
    if not cases:
        raise EvaluationError(
            f"Expected at least one case with an image and a file for each of {list(contours)}; found none."
        )
    regions, allowed, _ = class_labels(dataset_json)
    reader = find_reader(dataset_json, plans, images[cases[0]])
    colours, reference = class_colours(list(regions)), next(iter(contours))
    figure = Figure(figsize=(PANEL_INCHES * len(contours) + 0.3, PANEL_INCHES * len(cases) + 0.8), layout="constrained")
    grid = figure.subplots(len(cases), len(contours), squeeze=False)
    for row, case in zip(grid, cases):
        files = {name: of_case[case] for name, of_case in contours.items()}
        view = crop_to_foreground(read_slice(images[case], files, reader, allowed, slices))
        for axes, name in zip(row, contours):
            draw_panel(axes, view, regions, colours, name, None if name == reference else reference)
            axes.set_xlabel((captions or {}).get(name, {}).get(case, ""), fontsize=9)
        row[0].set_ylabel(case, fontsize=9)
    for axes, name in zip(grid[0], contours):
        axes.set_title(name, fontsize=11)
    _legend(figure, colours, reference)
    _save(figure, output_png)
    return cases
