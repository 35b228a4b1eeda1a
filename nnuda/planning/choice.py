"""Which plan a command works on: an existing one extended, a copy of it under a new name, or a fresh one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, load_json, subdirs
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.datasets import check_name
from nnuda.errors import PlanningError
from nnuda.plan_key import KEY

DEFAULT_PLANNER = "nnUDAPlanner"
# nnU-Net's own default plan names, so that -p is not needed later where nnU-Net needs none
DEFAULT_NAMES = {
    "nnUDAPlanner": "nnUNetPlans",
    "nnUDAPlannerResEncM": "nnUNetResEncUNetMPlans",
    "nnUDAPlannerResEncL": "nnUNetResEncUNetLPlans",
    "nnUDAPlannerResEncXL": "nnUNetResEncUNetXLPlans",
}


@dataclass(frozen=True)
class PlanChoice:
    """
    Attributes:
        name: of the plan that the command writes.
        base: name of the existing plan that it takes over; None for a fresh one.
        planner: for a fresh plan.
        gpu_memory_target: GB, for a fresh plan; None: the planner's own.
    """

    name: str
    base: str | None
    planner: str
    gpu_memory_target: float | None


def plan_file(source_name: str, plans_name: str) -> str:
    return join(nnUNet_preprocessed, source_name, f"{plans_name}.json")


def load_plan(source_name: str, plans_name: str) -> dict:
    """Read an existing plan.

    Raises:
        PlanningError: there is none of that name; lists those there are.
    """
    file = plan_file(source_name, plans_name)
    if not isfile(file):
        raise PlanningError(
            f"No plan {plans_name} of {source_name} ({file}). There are: "
            f"{', '.join(existing_plans(source_name)) or 'none'}. Leave -p out for a fresh one, and "
            "name that with -overwrite_plans_name."
        )
    return load_json(file)


def existing_plans(source_name: str) -> list[str]:
    """Names of the source's plans: its JSON files with configurations in them."""
    folder = join(nnUNet_preprocessed, source_name)
    names = [name for name in sorted(os.listdir(folder)) if name.endswith(".json")] if isdir(folder) else []
    return [name[:-5] for name in names if "configurations" in load_json(join(folder, name))]


def choose_plan(
    source_name: str,
    target_name: str,
    plans_name: str | None,
    planner: str | None,
    gpu_memory_target: float | None,
    new_name: str | None,
) -> PlanChoice:
    """Decide from the command's options and the plans that exist.

    Args:
        source_name: the source's dataset name.
        target_name: the target's name.
        plans_name: -p.
        planner: -pl.
        gpu_memory_target: -gpu_memory_target, GB.
        new_name: -overwrite_plans_name.

    Raises:
        PlanningError: the options would remake, overwrite or redirect an existing plan.
        DatasetError: a new name that is no file name.
    """
    if planner is not None and planner not in DEFAULT_NAMES:
        raise PlanningError(f"-pl: expected one of {', '.join(DEFAULT_NAMES)}; got {planner}.")
    if new_name is not None:
        check_name(new_name, "-overwrite_plans_name")
    name = plans_name or DEFAULT_NAMES[planner or DEFAULT_PLANNER]
    choice = PlanChoice(new_name or name, None, planner or DEFAULT_PLANNER, gpu_memory_target)
    if planner is not None or gpu_memory_target is not None:
        _check_free(source_name, choice.name)
        return choice
    if isfile(plan_file(source_name, name)):
        return _take_over(source_name, target_name, name, choice)
    if plans_name not in (None, *DEFAULT_NAMES.values()):
        load_plan(source_name, plans_name)
    if choice.name != name and isfile(plan_file(source_name, choice.name)):
        return _take_over(source_name, target_name, choice.name, choice)
    _check_free(source_name, choice.name)
    return choice


def _take_over(source_name: str, target_name: str, base: str, choice: PlanChoice) -> PlanChoice:
    """Extend `base`, or copy it where the choice has another name; a plan that names another target is left alone."""
    if isfile(plan_file(source_name, choice.name)):
        base = choice.name
        named = load_plan(source_name, base).get(KEY, {}).get("target", {}).get("name", target_name)
        if named != target_name:
            raise PlanningError(
                f"Plan {base} of {source_name} already names the target {named}. A second target needs "
                f"a plan of its own: add -overwrite_plans_name {base}_{target_name} (the source's "
                "preprocessed data is used as it is)."
            )
    return PlanChoice(choice.name, base, choice.planner, None)


def _check_free(source_name: str, name: str) -> None:
    if isfile(plan_file(source_name, name)):
        raise PlanningError(
            f"Plan {name} of {source_name} exists and is never re-planned, so -pl and "
            "-gpu_memory_target cannot apply to it. Leave them out to use it as it is, or add "
            "-overwrite_plans_name NAME for a fresh plan beside it."
        )
    folder = join(nnUNet_preprocessed, source_name)
    taken = [f for f in (subdirs(folder, join=False) if isdir(folder) else []) if f.startswith(f"{name}_")]
    if taken:
        raise PlanningError(
            f"There is no plan {name} of {source_name}, but preprocessed data of that name "
            f"({', '.join(taken)}), which another plan may use (there are: "
            f"{', '.join(existing_plans(source_name)) or 'none'}). Take one of those with -p, add "
            "-overwrite_plans_name NAME for a fresh plan beside it, or remove that data if nothing "
            "uses it."
        )
