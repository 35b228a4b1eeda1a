"""nnU-Net's own plan of a round: by the planner, and for the GPU memory, that the adaptation's plan was made with."""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field

import nnunetv2
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

from nnuda.plan_key import KEY
from nnuda.planning.choice import DEFAULT_PLANNER, MADE_WITH, default_name, load_plan, plan_file
from nnuda.planning.planner import PLANNERS, stock_planner
from nnuda.stages.road import Road

STOCK = ExperimentPlanner.__name__
GPU_MEMORY = "-gpu_memory_target"


@dataclass(frozen=True)
class RoundPlan:
    """
    Attributes:
        name: of the plan.
        options: of nnUNetv2_plan_and_preprocess that make it.
        remark: in what it may differ from the adaptation's.
    """

    name: str
    options: list[str] = field(default_factory=list)
    remark: str = ""


def plan_like(road: Road) -> RoundPlan:
    """What a round's plan is made with, as far as the plan of the adaptation tells, or its options where none is there.

    Raises:
        PlanningError, FileError: a damaged plan.
    """
    asked = dict(zip(road.planning[::2], road.planning[1::2]))
    afresh = asked.keys() & {"-pl", GPU_MEMORY}
    names = [road.plans, *([] if afresh else [road.base or default_name(None)])]
    there = next((name for name in names if isfile(plan_file(road.source.name, name))), None)
    if there is None:
        planner = stock_planner(PLANNERS[asked.get("-pl", DEFAULT_PLANNER)]).__name__
        return _plan(planner, asked.get(GPU_MEMORY))
    plans = load_plan(road.source.name, there)
    planner, made_with = plans.get("experiment_planner_used", STOCK), plans.get(KEY, {}).get(MADE_WITH)
    if made_with:
        return _plan(planner, made_with.get("gpu_memory_target"))
    return _plan(planner, None, f"for the planner's own GPU memory: {there} does not say for how much it was made")


def _plan(planner: str, gpu_memory: float | str | None, remark: str = "") -> RoundPlan:
    name = _name_by(planner)
    if name is None:
        remark = f"nnU-Net's default plan: it has no planner {planner}, which made the adaptation's"
        return RoundPlan(default_name(None), remark=remark)
    options = [] if planner == STOCK else ["-pl", planner]
    if gpu_memory is None:
        return RoundPlan(name, options, remark)
    name = f"{name}_{float(gpu_memory):g}G"
    return RoundPlan(name, [*options, GPU_MEMORY, f"{float(gpu_memory):g}", "-overwrite_plans_name", name])


def _name_by(planner: str) -> str | None:
    """What one of nnU-Net's planners calls its plan; None where nnU-Net has none of this name."""
    folder = join(nnunetv2.__path__[0], "experiment_planning")
    found = recursive_find_python_class(folder, planner, "nnunetv2.experiment_planning")
    if not (isinstance(found, type) and issubclass(found, ExperimentPlanner)):
        return None
    return inspect.signature(found).parameters["plans_name"].default
