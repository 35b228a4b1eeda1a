"""From two fingerprints to a plan with the key `domain_adaptation`."""

from __future__ import annotations

import warnings
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO

from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.datasets import Domain
from nnuda.files import write_json
from nnuda.plan_key import KEY
from nnuda.planning.alike import look_alike
from nnuda.planning.choice import MADE_WITH, PlanChoice, load_plan, plan_file
from nnuda.planning.geometry import geometry_facts, orientations
from nnuda.planning.make_key import make_key
from nnuda.planning.memory import expected_memory, memory_factor
from nnuda.planning.plan_embeddings import with_class_embeddings
from nnuda.planning.planner import PLANNERS
from nnuda.planning.sides import find_sides
from nnuda.text.class_embeddings import ClassEmbeddings
from nnuda.trainer_files import BASE_TRAINER


@dataclass(frozen=True)
class PlanRequest:
    """What a user asks for.

    Attributes:
        source: the labelled dataset.
        target: the unlabelled images.
        choice: which plan.
        trainer: whose step has to fit in memory.
        settings: overrides of presets; None keeps those of an existing plan.
        embeddings: of the classes; None keeps those of an existing plan.
    """

    source: Domain
    target: Domain
    choice: PlanChoice
    trainer: str = BASE_TRAINER
    settings: dict | None = None
    embeddings: ClassEmbeddings | None = None


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
    plans, target_gb = (base, None) if base else _plan_afresh(source, target_fingerprint, choice, factor)
    if base and "memory" in old_key:
        target_gb = old_key["memory"]["target_gb"]
    reader_class = PlansManager(plans).image_reader_writer_class
    geometry = {
        "source": geometry_facts(source_fingerprint, orientations(source, reader_class)),
        "target": geometry_facts(target_fingerprint, orientations(target, reader_class)),
    }
    memory = {
        "target_gb": target_gb,
        "step": request.trainer,
        "expected_gb_per_configuration": _expected(plans, source.dataset_json, factor),
    }
    origin = old_key.get("plan", "extended") if base else "fresh"
    made_with = old_key.get(MADE_WITH) if base else choice.made_with
    measured = look_alike(source, target, reader_class), find_sides(source, reader_class)
    key = make_key(plans, source, target, target_fingerprint, geometry, memory, settings, origin, made_with, *measured)
    key = with_class_embeddings(key, request.embeddings, old_key)
    plans = {**plans, "plans_name": choice.name, KEY: key}
    write_json(plans, plan_file(source.name, choice.name))
    return plans


def _plan_afresh(source: Domain, target_fingerprint: dict, choice: PlanChoice, factor: float) -> tuple[dict, float]:
    """Run nnUDAPlanner or a variant; its plan, and the GPU memory in GB that the whole step was planned for."""
    with warnings.catch_warnings():
        # the ResEnc planners warn when their GPU memory target is not the default one: here the user asked for it
        warnings.filterwarnings("ignore", message="WARNING: You are running nnUNetPlanner")
        planner = PLANNERS[choice.planner](
            source.name, target_fingerprint, factor, choice.gpu_memory_target, choice.name
        )
    # nnU-Net prints each configuration as a dictionary of a screen's length
    with redirect_stdout(StringIO()):
        planner.plan_experiment()
    return planner.plans, planner.gpu_memory_target_in_gb


def trainable_configurations(plans: dict) -> list[str]:
    """The plan's configurations without the cascade's second stage, which nnuda does not train."""
    manager = PlansManager(plans)
    return [
        name for name in manager.available_configurations if manager.get_configuration(name).previous_stage_name is None
    ]


def _expected(plans: dict, dataset_json: dict, factor: float) -> dict[str, float]:
    expected = {name: expected_memory(plans, dataset_json, name, factor) for name in trainable_configurations(plans)}
    return {name: gb for name, gb in expected.items() if gb is not None}
