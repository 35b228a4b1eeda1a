"""What differs between ways of scoring: tolerances, empty masks, slices; and the ways of two challenges as presets."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from nnuda.evaluation.reading import EvaluationError

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
