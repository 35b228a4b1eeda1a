"""Which plan a command works on: an existing one extended, a copy of it under a new name, or a fresh one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join, subdirs
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.datasets import check_plans_name
from nnuda.errors import PlanningError
from nnuda.files import FileError, read_json
from nnuda.plan_check import read_plans_to_use
from nnuda.plan_key import KEY

DEFAULT_PLANNER = "nnUDAPlanner"
# of a fresh plan that are trained from images alone; the cascade's second stage is not
STOCK_CONFIGURATIONS = ("2d", "3d_fullres", "3d_lowres")
MADE_WITH = "made_with"  # in a fresh plan's key
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

    @property
    def made_with(self) -> dict:
        """What tells a fresh plan from others: stored in its key, so that the same command can be repeated."""
        return {"planner": self.planner, "gpu_memory_target": self.gpu_memory_target}


def default_name(planner: str | None) -> str:
    """Name of the plan of a planner (-pl).

    Raises:
        PlanningError: nnuda has no such planner.
    """
    if planner is not None and planner not in DEFAULT_NAMES:
        raise PlanningError(f"-pl: expected one of {', '.join(DEFAULT_NAMES)}; got {planner}.")
    return DEFAULT_NAMES[planner or DEFAULT_PLANNER]


def plan_file(source_name: str, plans_name: str) -> str:
    return join(nnUNet_preprocessed, source_name, f"{plans_name}.json")


def load_plan(source_name: str, plans_name: str) -> dict:
    """Read an existing plan.

    Raises:
        PlanningError: there is none of that name (lists those there are), or it says another name.
        FileError, PlanKeyError: it is damaged, or no plan that nnU-Net can work by.
    """
    file = plan_file(source_name, plans_name)
    if not isfile(file):
        there = existing_plans(source_name)
        raise PlanningError(
            f"No plan {plans_name} of {source_name} ({file}). There are: {', '.join(there) or 'none'}. "
            f"{'Name one of them with -p, or make one' if there else 'Make one'}: nnUDA_plan_and_preprocess -d "
            f"{source_name} -t TARGET, without -p; -overwrite_plans_name names it."
        )
    remedy = "Put the plan back as it was, or plan under another name with -overwrite_plans_name."
    plans = read_plans_to_use(file, remedy)
    if plans["plans_name"] != plans_name:  # nnU-Net names data and trainings by what stands in the file
        raise PlanningError(
            f"{file}: expected plans_name {plans_name}, as the file is called; got {plans['plans_name']}. Give it "
            f"that name, or copy a plan with nnUDA_configure -d {source_name} --as NAME."
        )
    return plans


def existing_plans(source_name: str) -> list[str]:
    """Names of the source's plans: its JSON files with configurations in them. What is no JSON object is none, and is
    said."""
    folder = join(nnUNet_preprocessed, source_name)
    found = []
    for name in sorted(os.listdir(folder)) if isdir(folder) else []:
        if name.endswith(".json"):
            try:
                content = read_json(join(folder, name), "a JSON object")
            except FileError as error:
                print(f"NOTE: left out among the plans: {error}", flush=True)
                continue
            found += [name[:-5]] if "configurations" in content else []
    return found


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
    of_planner = default_name(planner)
    if new_name is not None:
        check_plans_name(new_name, "-overwrite_plans_name")
    name = plans_name or of_planner
    choice = PlanChoice(new_name or name, None, planner or DEFAULT_PLANNER, gpu_memory_target)
    if planner is not None or gpu_memory_target is not None:
        if isfile(plan_file(source_name, choice.name)) and _was_made_with(source_name, choice):
            return _take_over(source_name, target_name, choice.name, choice)
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


def _was_made_with(source_name: str, choice: PlanChoice) -> bool:
    """Whether a plan is what the same options made before."""
    return load_plan(source_name, choice.name).get(KEY, {}).get(MADE_WITH) == choice.made_with


def _check_free(source_name: str, name: str) -> None:
    if isfile(plan_file(source_name, name)):
        raise PlanningError(
            f"Plan {name} of {source_name} exists, was not made with these -pl and -gpu_memory_target, and is never "
            "re-planned, so they cannot apply to it. Leave them out to use it as it is, or add "
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
