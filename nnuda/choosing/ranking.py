"""The order of the candidates by expected Dice, how sure it is, and with labels what the choice lost."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from scipy.stats import spearmanr

from nnuda.choosing.candidates import Candidate
from nnuda.errors import harmless

WIDTH = 80
NAME, CLASS = 11, 18  # characters of a candidate's letters and of a class's name


@dataclass(frozen=True)
class Ranked:
    """A candidate in its place.

    Attributes:
        candidate: it.
        letters: what it is called in the table.
        estimate: of `estimate_candidate`.
    """

    candidate: Candidate
    letters: str
    estimate: dict[str, Any]

    @property
    def value(self) -> float:
        """Expected mean Dice; NaN where there is nothing to estimate from."""
        return _number(self.estimate["mean"]["value"])

    @property
    def interval(self) -> tuple[float, float]:
        return _number(self.estimate["mean"]["low"]), _number(self.estimate["mean"]["high"])

    @property
    def worst(self) -> tuple[str, float]:
        """The class with the lowest expected Dice."""
        classes = {name: _number(row["value"]) for name, row in self.estimate["per_class"].items()}
        name = min(classes, key=lambda one: -1.0 if math.isnan(classes[one]) else classes[one])
        return name, classes[name]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def rank(candidates: Sequence[Candidate], estimates: Sequence[dict[str, Any]]) -> list[Ranked]:
    """Best first, by the expected mean Dice; of two with the same the one that was named first, which is the simpler
    one. Single groups have a letter, pairs both of theirs."""
    letters: dict[str, str] = {}
    for candidate in candidates:
        if len(candidate.groups) == 1:
            letters[candidate.name] = _letter(len(letters))
    found = []
    for candidate, estimate in zip(candidates, estimates):
        names = (letters[Candidate((group,)).name] for group in candidate.groups)
        found.append(Ranked(candidate, " + ".join(names), estimate))
    return sorted(found, key=lambda one: -math.inf if math.isnan(one.value) else one.value, reverse=True)


def _letter(place: int) -> str:
    """A to Z, AA, AB, ..."""
    return (_letter(place // 26 - 1) if place >= 26 else "") + chr(ord("A") + place % 26)


def ties(ranked: Sequence[Ranked]) -> list[Ranked]:
    """Those that cannot be told from the first: their expected Dice lies within its interval."""
    low = ranked[0].interval[0]
    return [one for one in ranked[1:] if one.value >= low]


# ---- with labels ----------------------------------------------------------------------------------------------------


def judge(ranked: Sequence[Ranked], truth: Sequence[float]) -> dict[str, Any]:
    """What the choice was worth.

    Args:
        ranked: best first.
        truth: true mean Dice of each.

    Returns:
        regret: true Dice of the best minus that of the chosen; rank_correlation (Spearman), None below three candidates
        or where all are equal; mean_absolute_error and bias of the estimates; within_interval, share.
    """
    known = [(one, true) for one, true in zip(ranked, truth) if math.isfinite(one.value + true)]
    errors = [one.value - true for one, true in known]
    correlated = len(known) > 2 and all(len(set(column)) > 1 for column in zip(*((o.value, t) for o, t in known)))
    within = [one.interval[0] <= true <= one.interval[1] for one, true in known]
    best = max(range(len(truth)), key=lambda i: -math.inf if math.isnan(truth[i]) else truth[i])
    return {
        "regret": truth[best] - truth[0],
        "best": ranked[best].candidate.name,
        "rank_correlation": float(spearmanr([o.value for o, _ in known], [t for _, t in known]).statistic)
        if correlated
        else None,
        "mean_absolute_error": sum(map(abs, errors)) / len(errors) if errors else None,
        "bias": sum(errors) / len(errors) if errors else None,
        "within_interval": sum(within) / len(within) if within else None,
    }


# ---- printed --------------------------------------------------------------------------------------------------------


def legend(ranked: Sequence[Ranked]) -> list[str]:
    """What the letters stand for: lines of at most 80 characters where names allow."""
    lines = []
    for one in sorted(
        (one for one in ranked if len(one.candidate.groups) == 1), key=lambda o: (len(o.letters), o.letters)
    ):
        group = one.candidate.groups[0]
        trainer, plans, configuration = group.parts
        folds = "fold " if len(group.folds) == 1 else "folds "
        words = [trainer, plans, configuration, folds + " ".join(group.folds), group.checkpoint]
        line = f"{one.letters:<2}"
        for word in words:
            comma = "" if word is words[-1] else ","
            if len(line) + len(word) + len(comma) + 1 > WIDTH:
                lines.append(line)
                line = "  "
            line += f" {word}{comma}"
        lines.append(line)
    return lines


def table(ranked: Sequence[Ranked], truth: Mapping[str, float] | None = None) -> list[str]:
    """A line a candidate, best first; "=" before those that cannot be told from the first.

    Args:
        ranked: best first.
        truth: name -> true mean Dice.
    """
    same = ties(ranked)
    head = f"{'':4} {'candidate':<{NAME}} {'expected':>8} {'from':>5} {'to':>5}  {'weakest class':<{CLASS + 5}}"
    lines = [f"{head}{'' if truth is None else '   true'}".rstrip()]
    for place, one in enumerate(ranked, 1):
        name, value = one.worst
        mark = "=" if one in same else " "
        line = f"{place:>3}{mark} {one.letters:<{NAME}} {_two(one.value):>8} {_two(one.interval[0]):>5} "
        line += f"{_two(one.interval[1]):>5}  {_cut(harmless(name)):<{CLASS}} {_two(value):>4}"
        lines.append(line + ("" if truth is None else f"   {_two(truth[one.candidate.name]):>4}"))
    return lines


def _cut(name: str) -> str:
    return name if len(name) <= CLASS else f"{name[: CLASS - 1]}…"


def _two(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.2f}"
