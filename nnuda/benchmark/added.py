"""The budget's configuration in a plan: one that nnU-Net planned, or one added to those."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from copy import deepcopy
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.benchmark.description import BenchmarkError, check_configuration
from nnuda.datasets import Domain
from nnuda.errors import NnudaError, PlanningError, short
from nnuda.images import digest
from nnuda.plan_key import KEY
from nnuda.planning.choice import (
    DEFAULT_NAMES,
    DEFAULT_PLANNER,
    MADE_WITH,
    STOCK_CONFIGURATIONS,
    PlanChoice,
    load_plan,
    plan_file,
)
from nnuda.trainer_files import BASE_TRAINER

PLANS = DEFAULT_NAMES[DEFAULT_PLANNER]


def with_configuration(budget: Mapping[str, Any], plans: dict, dataset_json: dict) -> dict:
    """A plan with the budget's configuration, whose network is tried out where it is an added one.

    Args:
        budget: of a description.
        plans: the plan, which stays as it is.
        dataset_json: of the labelled dataset.

    Raises:
        BenchmarkError: the plan has no such configuration or none that it inherits from, or it describes no network.
    """
    check_configuration(budget, plans["configurations"])
    if "add" not in budget:
        return plans
    name, added = budget["configuration"], dict(budget["add"])
    architecture = deepcopy(plans["configurations"][added["inherits_from"]]["architecture"])
    architecture["arch_kwargs"] |= added.pop("arch_kwargs", {})
    added |= {"data_identifier": f"{PLANS}_{name}", "architecture": architecture}
    plans = {**plans, "configurations": {**plans["configurations"], name: added}}
    _check_network(plans, name, dataset_json)
    return plans


def _check_network(plans: dict, name: str, dataset_json: dict) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnuda.plan_network import check_network

    configuration = PlansManager(plans).get_configuration(name)
    try:
        check_network(configuration, len(dataset_json.get("channel_names", dataset_json.get("modality"))))
    except PlanningError as error:
        cause = error.__cause__
        raise BenchmarkError(
            f"budget.add: expected arch_kwargs that make a network of {configuration.network_arch_class_name}; they do not "
            f"({type(cause).__name__}: {short(str(cause))}). Correct them."
        ) from error


def check_plan_there(budget: Mapping[str, Any], source: Domain, target: Domain) -> None:
    """What planning would stop with, where the plan that it makes of these images is in nnUNet_preprocessed already.

    Raises:
        BenchmarkError: as `with_configuration`.
    """
    plans = _plan_there(source, target)
    try:
        if plans:
            with_configuration(budget, plans, source.dataset_json)
    except BenchmarkError:
        if _made_of(source, target):
            raise


def _plan_there(source: Domain, target: Domain) -> dict | None:
    """A plan made as a benchmark makes it, with what planning put into it."""
    from nnuda.planning.memory import memory_factor

    if not nnUNet_preprocessed.is_set() or not isfile(plan_file(source.name, PLANS)):
        return None
    with suppress(NnudaError):  # it is not the benchmark's own: what is wrong with it does not matter here
        plans = load_plan(source.name, PLANS)
        key = plans.get(KEY, {})
        if (
            key.get(MADE_WITH) == PlanChoice(PLANS, None, DEFAULT_PLANNER, None).made_with
            and key["target"]["name"] == target.name
            and memory_factor(key["memory"]["step"], key["settings"]) == memory_factor(BASE_TRAINER, {})
        ):
            planned = {name: of for name, of in plans["configurations"].items() if name in STOCK_CONFIGURATIONS}
            return {**plans, "configurations": planned}
    return None


def _made_of(source: Domain, target: Domain) -> bool:
    """Whether the images are, by their contents, those that were looked at for the plan."""
    from nnuda.planning.raw_cases import notes_file, read_notes

    return all(
        cases.get(case, {}).get("images") == digest(files)
        for domain, file in ((source, notes_file(source.name)), (target, notes_file(source.name, target.name)))
        for cases in [read_notes(file)["cases"]]
        for case, files in domain.images.items()
    )
