"""Rules: what a pair's fingerprints say about settings.

A rule measures something of both domains, and from that gives settings other values, or a warning; both with the
reason. What they find stands in the plan under `rules`; `--set` counts more. There is no table of datasets.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from nnuda.planning.alike import Likeness
from nnuda.planning.sides import Sides
from nnuda.settings import load_preset
from nnuda.trainer_files import BASE

COMPARABLE = 2.0  # fields of view, or image sizes, that differ by no more than this factor
COARSER = 2.0  # spacing of one domain against the other's from which on detail is missing
NO_SPACING = [999.0, 1.0, 1.0]  # nnU-Net's for 2D formats that have none, such as PNG


@dataclass(frozen=True)
class Finding:
    """What a rule found.

    Attributes:
        rule: its name.
        measured: the numbers that it went by.
        settings: values that it gives to settings; empty for a warning.
        reason: what was measured, and why that follows, in a sentence or two.
    """

    rule: str
    measured: dict[str, Any]
    reason: str
    settings: dict[str, Any] = field(default_factory=dict)


def find(geometry: dict[str, dict], alike: Likeness | None = None, sides: Sequence[Sides] = ()) -> list[dict[str, Any]]:
    """What all rules say of a pair, for the plan.

    Args:
        geometry: the plan key's: median spacing and shape of "source" and "target".
        alike: from `look_alike`.
        sides: from `find_sides`.
    """
    findings = [rule(geometry["source"], geometry["target"]) for rule in RULES]
    findings.append(left_and_right(sides) if alike is None else no_shift(alike))
    return [asdict(finding) for finding in findings if finding is not None]


def in_words(finding: dict[str, Any], given: Collection[str] = ()) -> str:
    """A finding in a line.

    Args:
        finding: as in the plan.
        given: settings that the user has given other values.
    """
    values = ", ".join(f"{name}={value}" for name, value in finding["settings"].items() if name not in given)
    return f"{finding['rule']}: {finding['reason']}{f' Sets {values}; --set changes it.' if values else ''}"


def no_shift(alike: Likeness) -> Finding:
    """Strong augmentation prepares for images that look otherwise; where none do, it only makes the source harder, and
    a teacher's errors are most of what its labels add.

    Wrong, it would cost far more than the augmentation does: from bSSFP to LGE of MS-CMRSeg 88 % of the histograms
    are common, and a classifier of images is needed to see the shift.
    """
    shown = ", ".join(f"{area:.0%}" for area in alike.areas)
    return Finding(
        "no shift to be seen",
        {"common_area": [float(f"{area:.3g}") for area in alike.areas], "told_apart": float(f"{alike.told_apart:.3g}")},
        f"Channel names, orientation, spacing, field of view and normalised intensities ({shown} of their histograms' area in common) "
        f"are alike in both domains, and a classifier names the domain of {alike.told_apart:.0%} of the images right (chance level: "
        "50%). Strong augmentation, and a teacher at full weight, cost accuracy where there is no shift, so that the first is left "
        "away and the second counts less (teacher.without_shift).",
        {"training.augmentation": "nnunet", "planning.alike": True},
    )


def left_and_right(sides: Sequence[Sides]) -> Finding | None:
    """A mirrored image shows a body as no image does; in the plane, where nnU-Net turns freely, along either axis."""
    if not sides:
        return None
    shown = ", ".join(f"{' before '.join(pair.names)} along array axis {pair.axis}" for pair in sides)
    return Finding(
        "left and right",
        {"apart": [[*pair.names, pair.axis, float(f"{pair.apart:.2g}")] for pair in sides]},
        f"The source's classes lie on the same sides of each other in 95 % or more of the labels read: {shown}. A mirrored "
        "image shows what hardly any does, so that patches and predictions are not mirrored where a patch has such an axis "
        "(augmentation.mirroring=nnunet mirrors them).",
        {"planning.sided_axes": [pair.axis for pair in sides]},
    )


def field_of_view(source: dict, target: dict) -> Finding | None:
    """Class shares compare only where images show about as much of the body.

    A class that fills the share s of a source image fills s / R of a target image that shows R times the volume.
    """
    if _without_spacing(source) or _without_spacing(target):
        return None
    volumes = [float(np.prod(_extent(domain))) for domain in (source, target)]
    ratio = volumes[1] / volumes[0]
    if 1 / COMPARABLE <= ratio <= COMPARABLE:
        return None
    base = load_preset(BASE)
    scores = [name for name in base["selection.scores"]["value"] if name != "class_prior"]
    settings: dict[str, Any] = {"selection.scores": scores}
    if ratio > 1:
        settings["selection.class_share"] = float(f"{base['selection.class_share']['value'] / ratio:.2g}")
    return Finding(
        "field of view",
        {"source_mm": _extent(source), "target_mm": _extent(target), "volume_ratio": float(f"{ratio:.3g}")},
        f"The target's images show {ratio:.3g} times the volume of the source's ({_mm(target)} against {_mm(source)}), so "
        "that shares of classes differ for that alone: epochs are not scored by class_prior"
        + (", and a class is missed only below a share that is smaller by as much." if ratio > 1 else "."),
        settings,
    )


def resolution(source: dict, target: dict) -> Finding | None:
    """Both domains are resampled to one spacing; detail that one of them lacks does not come back."""
    if _without_spacing(source) or _without_spacing(target):
        return None
    ratios = np.divide(target["median_spacing"], source["median_spacing"])
    axis = int(np.argmax(np.abs(np.log(ratios))))
    if 1 / COARSER <= ratios[axis] <= COARSER:
        return None
    coarse, fine = ("target", "source") if ratios[axis] > 1 else ("source", "target")
    factor = max(ratios[axis], 1 / ratios[axis])
    return Finding(
        "resolution",
        {"spacing_ratio": [float(f"{ratio:.3g}") for ratio in ratios]},
        f"Along array axis {axis} the {coarse}'s voxels are {factor:.3g} times as long as the {fine}'s. Both are "
        f"resampled to the plan's spacing, and the {coarse}'s images stay smoother there. If details matter that only "
        f"the {fine} shows, expect less, or plan afresh at the coarser spacing.",
    )


def magnification(source: dict, target: dict) -> Finding | None:
    """Formats without a spacing say nothing of the magnification: sizes of images are the only hint."""
    if not (_without_spacing(source) and _without_spacing(target)):
        return None
    sizes = [float(np.sqrt(np.prod(domain["median_shape"][-2:]))) for domain in (source, target)]
    ratio = sizes[1] / sizes[0]
    if 1 / COMPARABLE <= ratio <= COMPARABLE:
        return None
    return Finding(
        "magnification",
        {"size_ratio": float(f"{ratio:.3g}")},
        f"The target's images are {ratio:.3g} times as wide as the source's ({_voxels(target)} against "
        f"{_voxels(source)} pixels), and their format has no spacing. If both show the same scene, objects differ in size "
        "by as much: resize one domain's images before planning. If they show more of it at the same scale, all is well.",
    )


RULES: tuple[Callable[[dict, dict], Finding | None], ...] = (field_of_view, resolution, magnification)


def _without_spacing(domain: dict) -> bool:
    return domain["median_spacing"] == NO_SPACING


def _extent(domain: dict) -> list[float]:
    """mm along each axis that is there."""
    axes = slice(1 if domain["median_shape"][0] == 1 else 0, None)
    extent = np.multiply(domain["median_shape"], domain["median_spacing"])[axes]
    return [float(f"{mm:.4g}") for mm in extent]


def _mm(domain: dict) -> str:
    return " x ".join(f"{mm:.3g}" for mm in _extent(domain)) + " mm"


def _voxels(domain: dict) -> str:
    return " x ".join(f"{n:.4g}" for n in domain["median_shape"][-2:])
