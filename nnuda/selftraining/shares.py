"""What a round kept, per class and case, and what to warn of."""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from nnuda.selftraining.keeping import ClassPrior, Kept

STEPS = ("predicted", "voxel", "component", "kept")


def summary(results: Mapping[str, Kept], names: Mapping[int, str], priors: Mapping[int, ClassPrior]) -> dict:
    """Shares kept, per class over all cases and per case, and what to warn of.

    Args:
        results: of each case.
        names: label value -> name, background included.
        priors: of the foreground classes.

    Returns:
        "per_class": name -> voxels after each rule and the share kept (in the cases that are not left out for the last
        step; None where nothing was predicted); "per_case"; "left_out"; "warnings".
    """
    per_case = {
        case: {
            "share_kept": {name: _share(_steps(kept, value)) for value, name in names.items()},
            "outside": {names[value]: reason for value, reason in kept.outside.items()},
            "left_out": kept.left_out,
        }
        for case, kept in results.items()
    }
    per_class = {}
    for value, name in names.items():
        steps = [_steps(kept, value) for kept in results.values()]
        total = {step: sum(one[step] for one in steps) for step in STEPS}
        per_class[name] = {**total, "share_kept": _share(total)}
    return {
        "per_class": per_class,
        "per_case": per_case,
        "left_out": {case: kept.left_out for case, kept in results.items() if kept.left_out},
        "warnings": _warnings(per_class, [prior.name for prior in priors.values()], results),
    }


def _steps(kept: Kept, value: int) -> dict[str, int]:
    counts = {step: kept.voxels[step].get(value, 0) for step in STEPS}
    return {**counts, "kept": 0} if kept.left_out else counts


def _share(counts: Mapping[str, int]) -> float | None:
    return counts["kept"] / counts["predicted"] if counts["predicted"] else None


def _warnings(per_class: Mapping[str, dict], foreground: list[str], results: Mapping[str, Kept]) -> list[str]:
    warnings = []
    for name in foreground:
        share = per_class[name]["share_kept"]
        if share is None:
            warnings.append(f"{name} is predicted in no case: the next model will not learn it from the target.")
        elif share < 0.5:
            counts = per_class[name]
            lost = {
                "confidence or agreement": counts["predicted"] - counts["voxel"],
                "components": counts["voxel"] - counts["component"],
                "size and cases left out": counts["component"] - counts["kept"],
            }
            warnings.append(
                f"{name} loses most of its voxels: {share:.0%} are kept, most are lost to {max(lost, key=lost.get)}. "
                f"See --confidence {shlex.quote(name + '=0.7')}, --keep-share and --size-spread."
            )
    left_out = sum(bool(kept.left_out) for kept in results.values())
    if 2 * left_out > len(results):
        warnings.append(f"{left_out} of {len(results)} target cases are left out.")
    return warnings
