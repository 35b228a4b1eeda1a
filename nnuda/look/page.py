"""What was seen, as one page and one JSON file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnuda.histograms import common_area, shown_limits
from nnuda.look.judge import ADAPT, MEND, REORIENT, WORKS, Verdict
from nnuda.planning.geometry import low_resolution_axis
from nnuda.planning.measure import Side
from nnuda.planning.normalization import CT
from nnuda.report.figures import SOURCE as SOURCE_COLOUR
from nnuda.report.figures import TARGET as TARGET_COLOUR
from nnuda.report.figures import histograms, panel, png
from nnuda.report.page import Fact, Facts, Notes, Picture, Pictures, Section, Table, Text, page_html
from nnuda.report.run import number

LEVELS = {ADAPT: "bad", MEND: "bad", REORIENT: "bad", WORKS: "good"}


def look_html(
    source: Side,
    target: Side,
    verdict: Verdict,
    warnings: Sequence[str],
    rules: Sequence[str],
    estimate: dict[str, Any] | None,
) -> str:
    """The page: the answer, then what it rests on; `warnings` and `rules` are planning's."""
    facts = [
        Fact("What to do", verdict.answer, verdict.reasons, LEVELS.get(verdict.answer, "")),
        Fact("How sure is this?", "Not certain", verdict.doubts),
    ]
    sections = [
        Section("Intensities", [Pictures(_histograms(source, target)), Text(_read(source, target))]),
        Section("Geometry", [_geometry(source, target), Pictures(_extents(source, target))]),
        Section(
            "What planning says",
            [*(Notes(said) for said in (warnings, rules) if said), Notes(planning_notes(source, target))],
        ),
    ]
    if estimate is not None:
        sections.insert(0, _model_section(estimate))
    return page_html(f"{source.name} → {target.name}: a look before", [Facts(facts)], sections, contents=True)


def planning_notes(source: Side, target: Side) -> list[str]:
    """Normalisation, slices and spacing of a plan."""
    notes = []
    for name, other, scheme_s, scheme_t in zip(source.channels, target.channels, source.schemes, target.schemes):
        origin = (
            "the source's statistics, as both are in Hounsfield units"
            if scheme_s == scheme_t == CT
            else "its own statistics"
        )
        notes.append(
            f"Target channel {other}: {scheme_t} by its name, with {origin}. Source channel {name}: {scheme_s}."
        )
    axes = [low_resolution_axis(side.median_spacing) for side in (source, target)]
    said = ["none" if axis is None else str(axis) for axis in axes]
    notes.append(
        f"Axis of thick slices: source {said[0]}, target {said[1]}. A fresh plan cuts 2D slices across the source's, or the "
        "target's where the source has none."
    )
    notes.append(
        "Both domains are resampled to one spacing: in a fresh plan nnU-Net's rule over both, each of half the weight; an "
        "existing plan keeps its own."
    )
    return notes


def _read(source: Side, target: Side) -> str:
    return (
        f"{source.read} of {source.cases} source cases and {target.read} of {target.cases} target cases were read; voxels "
        "within nnU-Net's non-zero mask, from the 0.5th to the 99.5th percentile of both. Normalised as training would, "
        "with statistics of the cases read. The common area is 1 where both are alike."
    )


def _histograms(source: Side, target: Side) -> list[Picture]:
    ct = CT in (*source.schemes, *target.schemes)
    pictures = []
    for title in ("raw", "normalised"):
        for channel, (a, b) in enumerate(zip(getattr(source, title), getattr(target, title))):
            values = {"source": a, "target": b}
            limits = shown_limits(values)
            name = f"{'before' if title == 'raw' else 'after'} normalisation"
            name += f", channel {channel}" if len(source.channels) > 1 else ""
            caption = f"common area {common_area(values, limits):.2f}"
            pictures.append(Picture(histograms(name, values, limits, ct), f"histogram of intensities {name}", caption))
    return pictures


def _geometry(source: Side, target: Side) -> Table:
    rows = [["", "source (labelled)", "target (unlabelled)"]]
    columns = [_facts(side) for side in (source, target)]
    rows += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return Table(rows, words=frozenset({1, 2}))


def _facts(side: Side) -> dict[str, str]:
    axes = slice(1, 3) if side.flat else slice(0, 3)
    return {
        "dataset": side.name,
        "cases": str(side.cases),
        "channels": ", ".join(side.channels),
        "normalisation": ", ".join(side.schemes),
        "voxel spacing, mm": _range(side.spacings[:, axes]),
        "shape after crop, voxels": _range(side.shapes[:, axes]),
        "field of view, mm": _range(side.fields[:, axes]),
        "orientation of the arrays": ", ".join(f"{code} ({n})" for code, n in side.orientations.items()) or "-",
    }


def _range(values: np.ndarray) -> str:
    """Median, then smallest to largest, a value an axis."""
    median, low, high = (" × ".join(map(number, f(values, axis=0))) for f in (np.median, np.min, np.max))
    return median if low == high else f"{median}; from {low} to {high}"


def _extents(source: Side, target: Side) -> list[Picture]:
    """Spacing and field of view of the cases, an axis each beside the other."""
    pictures = []
    for title, unit, name in (
        ("spacing", "mm", "spacings"),
        ("field of view", "mm", "fields"),
        ("shape", "voxels", "shapes"),
    ):
        figure, axes = panel()
        first = 1 if source.flat and target.flat else 0
        for offset, (side, colour, label) in enumerate(
            ((source, SOURCE_COLOUR, "source"), (target, TARGET_COLOUR, "target"))
        ):
            values = np.asarray(getattr(side, name))[:, first:]
            for axis in range(values.shape[1]):
                at = axis + (offset - 0.5) * 0.3 + np.linspace(-0.08, 0.08, len(values))
                axes.plot(at, values[:, axis], ".", color=colour, markersize=5, label=label if axis == 0 else None)
        axes.set_xticks(range(3 - first), [f"axis {axis}" for axis in range(first, 3)], fontsize=8)
        axes.set_ylim(bottom=0)
        axes.set_title(f"{title} of the cases, {unit}", fontsize=9, loc="left")
        axes.legend(fontsize=8, framealpha=0.6)
        pictures.append(Picture(png(figure), f"{title} of the cases of both domains"))
    return pictures


def _model_section(estimate: dict[str, Any]) -> Section:
    rows = [["class", "expected Dice", "from", "to", "true Dice, source", "size on the target / source"]]
    sizes = estimate["sizes"]
    for name, values in estimate["per_class"].items():
        numbers = (values[key] for key in ("value", "low", "high", "dice_on_source"))
        rows.append([name, *(number(value, 2) for value in numbers), number(sizes[name], 2)])
    entropies = [case["entropy"] for case in estimate["per_case"].values() if case["entropy"] is not None]
    mean = f"{np.mean(entropies):.3f}" if entropies else "none: nothing was found"
    notes = [
        f"Mean entropy of the voxels that are predicted as a class: {mean} (nats).",
        "Sizes: median volume of the class on the target, over the middle of its smallest and largest on the source.",
        *estimate["notes"],
        estimate["caution"],
    ]
    return Section("The model on the target", [Table(rows), Notes(notes)])


def class_sizes(estimate: dict[str, Any]) -> dict[str, float | None]:
    """Median size of each class on the target over that of the source (the middle of its smallest and largest)."""
    found = {}
    for name, source in zip(estimate["per_class"], estimate["calibration"]["sizes"]):
        sizes = [case["classes"][name]["size"] for case in estimate["per_case"].values()]
        middle = (source["smallest"] + source["largest"]) / 2
        found[name] = float(np.median(sizes)) / middle if middle else None
    return found
