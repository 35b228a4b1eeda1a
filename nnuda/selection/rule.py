"""The rule that chooses an epoch by its scores: vetoes first, then how many epochs it beats.

It works on the content of selection.json: an epoch's record has the keys that `History.add` writes, `rule` is what
stands under "rule".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from nnuda.losses.entropy import largest_entropy

Record = dict[str, Any]
SIGN = {"entropy": -1, "class_prior": -1, "agreement": 1, "density": 1, "source_dice": 1}
"""1 where a larger score is better."""
CERTAIN = 0.01  # of the largest entropy
FOUND = 0.5  # of its share of the source: a class that has come and gone below this was never there


def vetoes(record: Record, known: Sequence[Record], rule: dict[str, Any]) -> list[str]:
    """Why an epoch is not to be chosen whatever its scores; empty if nothing speaks against it.

    Vetoed are a source Dice below x of the best one known, a class whose share of the target is below y of its share
    of the source, and a score that is NaN or infinite.

    Args:
        record: the epoch's.
        known: all epochs so far.
        rule: has x as `source_dice` and y as `class_share`, and the source's shares.
    """
    reasons = [f"{name} has no value" for name in rule["scores"] if record[name] is None]
    dice, part = record["source_dice"], rule["source_dice"]
    best = max((epoch["source_dice"] for epoch in known if epoch["source_dice"] is not None), default=0)
    if dice is not None and dice < part * best:
        reasons.append(f"source Dice {dice:.3f} is below {part:g} of its best, {best:.3f}")
    return reasons + [
        f"{name} has {_ratio(record, c, rule):.3f} of its share of the source"
        for c, name in enumerate(rule["classes"])
        if _missing(record, c, rule)
    ]


def _ratio(record: Record, c: int, rule: dict[str, Any]) -> float:
    return record["class_shares"][c] / rule["source_shares"][c]


def _missing(record: Record, c: int, rule: dict[str, Any]) -> bool:
    return rule["watched"][c] and _ratio(record, c, rule) < rule["class_share"]


def standing(record: Record, known: Sequence[Record], scores: Sequence[str]) -> float:
    """Mean over the scores of the share of known epochs that an epoch beats; one as good counts half.

    Returns:
        From 0 to 1.
    """
    return sum(_beaten(record[name], [epoch[name] for epoch in known], SIGN[name]) for name in scores) / len(scores)


def _beaten(value: float, others: Sequence[float | None], sign: int) -> float:
    others = [other for other in others if other is not None]
    return sum((sign * value > sign * other) + 0.5 * (value == other) for other in others) / len(others)


def replaces(record: Record, selected: Record | None, known: Sequence[Record], rule: dict[str, Any]) -> bool:
    """Whether this epoch's weights replace those in checkpoint_selected.pth; by what is known now, of equals the later.

    Args:
        record: this epoch's.
        selected: of the epoch in the file; None if there is none.
        known: all epochs so far, this one too.
        rule: see `vetoes`.
    """
    if vetoes(record, known, rule):
        return False
    if selected is None or vetoes(selected, known, rule):
        return True
    return standing(record, known, rule["scores"]) >= standing(selected, known, rule["scores"])


def alarms(record: Record, before: Sequence[Record], rule: dict[str, Any]) -> list[str]:
    """Signs of a collapse.

    A class that an earlier epoch found is gone, one class is everywhere with certainty, or the output is NaN or infinite.

    Args:
        record: this epoch's.
        before: the earlier epochs.
        rule: see `vetoes`.
    """
    reasons = [
        f"{name} has vanished"
        for c, name in enumerate(rule["classes"])
        if _missing(record, c, rule) and any(_ratio(epoch, c, rule) >= FOUND for epoch in before)
    ]
    if record["entropy"] is None:
        return [*reasons, "the network's output is NaN or infinite"]
    largest = largest_entropy(len(rule["classes"]) + 1, rule["regions"])
    if all(share in (0, 1) for share in record["class_shares"]) and record["entropy"] < CERTAIN * largest:
        reasons.append("one class everywhere, with certainty")
    return reasons


def hindsight(selection: dict[str, Any]) -> int | None:
    """The epoch that the rule takes with the whole training known: of those without a veto, the best standing.

    Args:
        selection: content of selection.json.

    Returns:
        The epoch; None where all are vetoed.
    """
    epochs, rule = selection["epochs"], selection["rule"]
    passed = [epoch for epoch in epochs if not vetoes(epoch, epochs, rule)]
    return _best({epoch["epoch"]: standing(epoch, epochs, rule["scores"]) for epoch in passed})


def _best(values: dict[int, float]) -> int | None:
    return max(values, key=lambda epoch: (values[epoch], epoch), default=None)


def regret(selection: dict[str, Any], dice: Sequence[float]) -> dict[str, float]:
    """How much true target Dice each way of choosing an epoch loses against the best epoch.

    For evaluation: it needs target labels.

    Args:
        selection: content of selection.json.
        dice: true target Dice after each epoch; NaN where it was not measured, and the epoch is left out.

    Returns:
        Loss in Dice, from 0, of: each score's best epoch, without vetoes; "rule", the selected epoch, or the last
        where none was selected; "hindsight"; "last", checkpoint_final. NaN where the epoch's Dice was not measured,
        or a score has no value.

    Raises:
        ValueError: not one Dice an epoch, or none measured.
    """
    epochs = selection["epochs"]
    if len(dice) != len(epochs) or all(map(math.isnan, dice)):
        raise ValueError(
            f"Expected the target Dice of {len(epochs)} epochs, NaN where it was not measured; got "
            f"{len(dice)} values, {sum(not math.isnan(value) for value in dice)} of them measured."
        )
    measured = {epoch["epoch"]: value for epoch, value in zip(epochs, dice) if not math.isnan(value)}
    some = [epoch for epoch in epochs if epoch["epoch"] in measured]
    chosen = {
        name: _best({epoch["epoch"]: sign * epoch[name] for epoch in some if epoch[name] is not None})
        for name, sign in SIGN.items()
    }
    last, selected = epochs[-1]["epoch"], selection["selected_epoch"]
    chosen |= {
        "rule": last if selected is None else selected,
        "hindsight": hindsight({**selection, "epochs": some}),
        "last": last,
    }
    best = max(measured.values())
    return {name: best - measured.get(epoch, math.nan) for name, epoch in chosen.items()}
