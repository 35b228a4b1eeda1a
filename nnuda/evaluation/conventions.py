"""What the scores are, and what differs between ways of scoring: tolerances, empty masks, slices; and the ways of two
challenges as presets."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nnuda.errors import EvaluationError

SCORES_NAME = "nnuda_scores.json"  # in a folder of predictions


def scores_file(path: str) -> str:
    """Of a folder of predictions that nnUDA_evaluate has scored; a file is itself."""
    return os.path.join(path, SCORES_NAME) if os.path.isdir(path) else path


DEFINITIONS = {
    "Dice": "2 |A and B| / (|A| + |B|)",
    "ASSD": "mean of the distances of both surfaces, pooled: from each voxel of one to the nearest voxel of the other",
    "HD95": "larger of the two directed 95th percentiles (linear interpolation) of the surface distances",
    "NSD": "share of both surfaces, by area (length in 2D), that lies within the tolerance of the other (Nikolov et "
    "al. 2018, arXiv:1809.04430): elements of marching cubes at the corners of voxels",
    "VD": "volume of the prediction minus that of the reference, in ml; areas in cm^2 where there is one slice",
    "RVD": "the same over the volume of the reference",
    "surface": "of ASSD and HD95: voxels of the mask with a face neighbour outside it; beyond the image border counts "
    "as outside, for NSD too",
    "one slice": "an axis of length one is dropped: such a volume is scored in its plane",
    "empty masks": "both empty: all NaN; one empty: Dice and NSD 0, ASSD and HD95 NaN, RVD NaN without a reference; "
    "each counted per class; presets may differ, see rules",
    "ignore label": "voxels that the reference marks as ignore are background in reference and prediction",
}
ENTROPY_DEFINITIONS = {
    False: "entropy over the classes, -sum p ln p, in nats: 0 to ln(number of classes, background included)",
    True: "regions have independent probabilities: mean over the regions of their binary entropies, "
    "-p ln p - (1 - p) ln(1 - p), in nats: 0 to ln 2",
}

DEFAULT_SHOWN = ("Dice", "ASSD", "HD95", "NSD")


@dataclass(frozen=True)
class Rule:
    """How one class is scored.

    Attributes:
        tolerance: of NSD, in the unit of the spacing.
        both_empty: Dice and NSD where reference and prediction are empty.
        empty_prediction_assd: ASSD where the prediction alone is empty.
        labelled_slices: score from the reference's first slice to the one before its last, along the first axis.
    """

    tolerance: float = 1.0
    both_empty: float = math.nan
    empty_prediction_assd: float = math.nan
    labelled_slices: bool = False


# CrossMoDA 2022's scoring script: Dice, ASSD, MAX_VALUE_ASSD = 350 mm.
CROSSMODA = Rule(empty_prediction_assd=350.0)
# FLARE22's and later scoring scripts: DSC and NSD, 1 where both masks are empty; tolerances in mm; aorta, postcava and
# oesophagus between the reference's first and last slice, the last left out as the scripts' range does.
FLARE = Rule(both_empty=1.0)
FLARE_TOLERANCES = {
    "liver": 5,
    "right kidney": 3,
    "spleen": 3,
    "pancreas": 5,
    "aorta": 2,
    "inferior vena cava": 2,
    "right adrenal gland": 2,
    "left adrenal gland": 2,
    "gallbladder": 2,
    "esophagus": 3,
    "stomach": 5,
    "duodenum": 7,
    "left kidney": 3,
    "tumor": 2,
}
FLARE_LABELLED_SLICES = {"aorta", "inferior vena cava", "esophagus"}
FLARE_ALIASES = {
    "rk": "right kidney",
    "lk": "left kidney",
    "ivc": "inferior vena cava",
    "postcava": "inferior vena cava",
    "rag": "right adrenal gland",
    "lag": "left adrenal gland",
    "gall bladder": "gallbladder",
    "oesophagus": "esophagus",
    "tumour": "tumor",
}
SHOWN = {None: DEFAULT_SHOWN, "crossmoda": ("Dice", "ASSD"), "flare": ("Dice", "NSD")}
PRESETS = tuple(filter(None, SHOWN))


def _flare_rule(name: str, tolerance: float | None) -> Rule:
    organ = name.lower().replace("_", " ").replace("-", " ")
    organ = FLARE_ALIASES.get(organ, organ)
    if organ not in FLARE_TOLERANCES and tolerance is None:
        raise EvaluationError(
            f"Expected classes that FLARE has a tolerance for ({', '.join(FLARE_TOLERANCES)}); got "
            f"{name}. Give its tolerance with --nsd-tolerance '{name}=MM'."
        )
    return replace(
        FLARE, tolerance=float(FLARE_TOLERANCES.get(organ, 0)), labelled_slices=organ in FLARE_LABELLED_SLICES
    )


def class_rules(
    names: Iterable[str], preset: str | None = None, tolerances: Mapping[str | None, float] | None = None
) -> dict[str, Rule]:
    """The rule of each class.

    Args:
        names: of the classes and regions.
        preset: None, or one of PRESETS.
        tolerances: of NSD for classes by name, and under None for all others; instead of the preset's.

    Raises:
        EvaluationError: a tolerance for a class that is not there, or a class that the preset does not know.
    """
    names, tolerances = list(names), dict(tolerances or {})
    unknown = [name for name in tolerances if name is not None and name not in names]
    if unknown:
        raise EvaluationError(
            f"Expected NSD tolerances for classes of dataset.json ({', '.join(names)}); got one for "
            f"{', '.join(unknown)}."
        )
    rules = {}
    for name in names:
        tolerance = tolerances.get(name, tolerances.get(None))
        rule = _flare_rule(name, tolerance) if preset == "flare" else CROSSMODA if preset == "crossmoda" else Rule()
        rules[name] = rule if tolerance is None else replace(rule, tolerance=tolerance)
    return rules
