"""From two fingerprints to a plan with the key `domain_adaptation`."""
from __future__ import annotations

from dataclasses import dataclass, field

from nnunetv2.experiment_planning.experiment_planners.default_experiment_planner import ExperimentPlanner
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.plan_key import KEY
from nnuda.planning.choice import PlanChoice, load_plan, plan_file
from nnuda.planning.domains import Domain
from nnuda.planning.files import write_json
from nnuda.planning.geometry import geometry_facts, orientations
from nnuda.planning.key import make_key, with_key
from nnuda.planning.memory import BASE_TRAINER, expected_memory, memory_factor


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks for.

    Attributes:
        source: the labelled dataset.
        target: the unlabelled images.
        choice: which plan.
        trainer: whose step has to fit in memory.
        settings: overrides of presets; None keeps those of an existing plan.
    """
    source: Domain
    target: Domain
    choice: PlanChoice
    trainer: str = BASE_TRAINER
    settings: dict | None = field(default=None)


def write_plan(request: PlanRequest, source_fingerprint: dict, target_fingerprint: dict) -> dict:
    """Extend, copy or make the plan, and write it in one stroke.

    Args:
        request: what is asked for.
        source_fingerprint: nnU-Net's.
        target_fingerprint: from `extract_target_fingerprint`.

    Returns:
        the plan as written.
    """
    source, target, choice = request.source, request.target, request.choice
    base = load_plan(source.name, choice.base) if choice.base else None
    old_key = (base or {}).get(KEY, {})
    settings = old_key.get("settings", {}) if request.settings is None else request.settings
    factor = memory_factor(request.trainer, settings)
    plans = base or ExperimentPlanner(source.name, plans_name=choice.name).plan_experiment()
    reader_class = PlansManager(plans).image_reader_writer_class
    geometry = {"source": geometry_facts(source_fingerprint, orientations(source, reader_class)),
                "target": geometry_facts(target_fingerprint, orientations(target, reader_class))}
    memory = {"target_gb": choice.gpu_memory_target, "step": request.trainer,
              "expected_gb_per_configuration": _expected(plans, source.dataset_json, factor)}
    origin = "fresh" if base is None else old_key.get("plan", "extended")
    key = make_key(plans, source, target, target_fingerprint, geometry, memory, settings, origin)
    plans = with_key({**plans, "plans_name": choice.name}, key)
    write_json(plans, plan_file(source.name, choice.name))
    return plans


def trainable_configurations(plans: dict) -> list[str]:
    """The plan's configurations without the cascade's second stage, which nnuda does not train."""
    manager = PlansManager(plans)
    return [name for name in manager.available_configurations if manager.get_configuration(name).previous_stage_name is None]


def _expected(plans: dict, dataset_json: dict, factor: float) -> dict[str, float]:
    expected = {name: expected_memory(plans, dataset_json, name, factor) for name in trainable_configurations(plans)}
    return {name: gb for name, gb in expected.items() if gb is not None}
