"""What to do with a pair of domains: a sentence, by rules that documentation/how-to/look-before.md lists."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from nnuda.evaluation.estimate import PLAUSIBLE
from nnuda.planning.alike import Likeness, differences
from nnuda.planning.measure import Side
from nnuda.planning.told_apart import FEW

MEND, REORIENT, ADAPT, WORKS, PERHAPS = (
    "mend the data first",
    "reorient first",
    "you need adaptation",
    "it works as it is",
    "it may work as it is",
)


@dataclass(frozen=True)
class Verdict:
    """A sentence, what it rests on, and what it cannot know."""

    answer: str
    reasons: list[str]
    doubts: list[str]


def judge(
    source: Side,
    target: Side,
    found: Likeness,
    error: str | None,
    estimate: dict[str, Any] | None,
) -> Verdict:
    """Decide, by the first rule that applies.

    1. Planning would stop: mend the data first.
    2. Orientation codes differ: reorient first. A network sees another patient, and an estimate says nothing.
    3. A trained model was tried: it works as it is where its estimate is "plausible", else you need adaptation.
    4. Without one: you need adaptation where channels are called differently, normalised intensities share less than
       ALIKE of their area, a classifier assigns TOLD_APART of the images to their domain, or spacing or field of view
       differ by more than RATIO; else it may work as it is.

    Args:
        source, target: measured.
        found: how alike their images are.
        error: what planning would stop with, or None.
        estimate: content of nnuda_estimate.json of a trained model on the target, or None.
    """
    if error is not None:
        return Verdict(MEND, [error], [])
    if set(source.orientations) != set(target.orientations):
        codes = " and ".join("/".join(sorted(side.orientations)) or "none" for side in (source, target))
        return Verdict(
            REORIENT,
            [f"orientation codes of source and target: {codes}; nnU-Net ignores direction cosines"],
            ["Where the difference is meant (a header that lies), the arrays are what counts: look at them."],
        )
    if estimate is not None:
        return _by_model(estimate)
    reasons = differences(source, target, found)
    doubts = [
        "No model was tried: --model FOLDER of a trained nnU-Net tells more than histograms.",
        "Images that look alike to histograms and a small classifier may still look otherwise to a network."
        if found.told_apart is not None
        else f"Fewer than {FEW} images of a domain: whether their images can be told apart is not known, and planning goes by a shift.",
    ]
    if reasons:
        return Verdict(
            ADAPT, reasons, [*doubts[:1], "Strong augmentation alone may bridge it: train the baseline too."]
        )
    return Verdict(PERHAPS, ["names, intensities, looks, spacing and field of view are alike"], doubts)


def _by_model(estimate: dict[str, Any]) -> Verdict:
    mean = estimate["mean"]
    expected = "expected Dice "
    expected += "unknown" if mean["value"] is None else f"{mean['value']:.2f} ({mean['low']:.2f} to {mean['high']:.2f})"
    reasons = [f"the model on {len(estimate['per_case'])} target cases: {expected}, {estimate['verdict']}"]
    doubts = [estimate["caution"], "A few cases were looked at, not all."]
    return Verdict(WORKS if estimate["verdict"] == PLAUSIBLE else ADAPT, [*reasons, *estimate["reasons"]], doubts)
