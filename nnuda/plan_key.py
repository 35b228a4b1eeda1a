"""The plan's extra key `domain_adaptation`: what was adapted to what. nnU-Net ignores it."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.errors import NnudaError
from nnuda.files import inside, read_json, schema_complaint

KEY = "domain_adaptation"
SCHEMA_VERSION = 1

NAME = r"^(?!\.+\Z)[^/\\\n]+\Z"  # of a file or folder, which does not lead elsewhere
_SIZES = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 2**16}, "minItems": 2, "maxItems": 3}
_MM = {"type": "number", "minimum": 1e-6, "maximum": 1e6}
_AXES = {"type": "array", "items": {"enum": [0, 1, 2]}, "minItems": 3, "maxItems": 3}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
# what nnU-Net and nnuda read of a configuration; one that inherits has only what is its own
CONFIGURATION = {
    "type": "object",
    "properties": {
        "inherits_from": {"type": "string"},
        "data_identifier": {"type": "string", "pattern": NAME},  # becomes the name of a folder
        "preprocessor_name": {"type": "string"},
        "batch_size": {"type": "integer", "minimum": 1},
        "patch_size": _SIZES,
        "spacing": {"type": "array", "items": _MM, "minItems": 2, "maxItems": 3},
        "normalization_schemes": _TEXTS,
        "use_mask_for_norm": {"type": "array", "items": {"type": "boolean"}, "minItems": 1},
        **dict.fromkeys((f"resampling_fn_{name}" for name in ("data", "seg", "probabilities")), {"type": "string"}),
        "architecture": {
            "type": "object",
            "required": ["network_class_name", "arch_kwargs"],
            "properties": {"network_class_name": {"type": "string"}, "arch_kwargs": {"type": "object"}},
        },
    },
}
_EMBEDDINGS = {
    "type": "object",
    "required": ["file", "sha256", "classes"],
    "properties": {
        "file": {"type": "string"},
        "sha256": {"type": "string"},
        "classes": {"type": "array", "items": {"type": "string"}},
    },
}
# what planning takes over from the key of a plan that it writes again, also from one of another version
_TAKEN_OVER = {
    "type": "object",
    "properties": {
        "plan": {"type": "string"},
        "target": {
            "type": "object",
            "properties": {
                "name": {"type": "string"},
                "normalization": {"type": "object", "properties": {"normalization_schemes": _TEXTS}},
            },
        },
        "settings": {"type": "object"},
        "made_with": {"type": "object", "properties": {"gpu_memory_target": {"type": ["number", "null"]}}},
        "memory": {
            "type": "object",
            "required": ["target_gb"],
            "properties": {"target_gb": {"type": ["number", "null"]}},
        },
        "class_embeddings": _EMBEDDINGS,
    },
}
PLANS_SCHEMA = {
    "type": "object",
    "required": ["dataset_name", "plans_name", "image_reader_writer", "configurations"],
    "properties": {
        "dataset_name": {"type": "string", "pattern": NAME},
        "plans_name": {"type": "string", "pattern": NAME},
        "image_reader_writer": {"type": "string"},
        "experiment_planner_used": {"type": "string"},
        "transpose_forward": _AXES,
        "transpose_backward": _AXES,
        "configurations": {"type": "object", "minProperties": 1, "additionalProperties": CONFIGURATION},
        "foreground_intensity_properties_per_channel": {"type": "object"},
        KEY: _TAKEN_OVER,
    },
}
PLANS = "a plan of nnU-Net's"
USED_PLANS_SCHEMA = {  # to preprocess or predict by, where one that is looked at may lack something
    **PLANS_SCHEMA,
    "required": [*PLANS_SCHEMA["required"], "transpose_forward", "transpose_backward"],
}
_READ_OF_CONFIGURATIONS = {
    "data_identifier",
    "batch_size",
    "patch_size",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
}
_NORMALIZATION = {
    "type": "object",
    "required": [
        "normalization_schemes",
        "use_mask_for_norm",
        "foreground_intensity_properties_per_channel",
        "statistics_from",
    ],
    "properties": {
        "normalization_schemes": _TEXTS,
        "use_mask_for_norm": {"type": "array", "items": {"type": "boolean"}, "minItems": 1},
        "foreground_intensity_properties_per_channel": {"type": "object"},
        "statistics_from": {"type": "string"},
    },
}
_THREE = {"type": "array", "items": {"type": "number", "exclusiveMinimum": 0}, "minItems": 3, "maxItems": 3}
_GEOMETRY = {
    "type": "object",
    "required": ["median_spacing", "median_shape"],
    "properties": {"median_spacing": _THREE, "median_shape": _THREE, "orientation": {"type": ["string", "null"]}},
}
SCHEMA = {
    "type": "object",
    "required": ["schema_version", "planned_by", "plan", "source", "target", "geometry", "settings"],
    "properties": {
        "schema_version": {"const": SCHEMA_VERSION},
        "planned_by": {"type": "string"},
        "plan": {"enum": ["extended", "fresh"]},
        "source": {"type": "string"},
        "target": {
            "type": "object",
            "required": ["name", "folder", "channel_names", "file_ending", "num_cases", "normalization"],
            "properties": {
                "name": {"type": "string", "pattern": NAME},
                "folder": {"type": "string", "pattern": r"^[^/\\\n]+/nnUDA_target_[^/\\\n]+\Z"},
                "channel_names": {"type": "object", "minProperties": 1, "additionalProperties": {"type": "string"}},
                "file_ending": {"type": "string"},
                "num_cases": {"type": "integer", "minimum": 1},
                "normalization": _NORMALIZATION,
            },
        },
        "geometry": {
            "type": "object",
            "required": ["source", "target"],
            "properties": dict.fromkeys(("source", "target"), _GEOMETRY),
        },
        "memory": {"type": "object", "properties": {"step": {"type": "string"}}},
        "rules": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["rule", "measured", "reason", "settings"],
                "properties": {
                    "rule": {"type": "string"},
                    "reason": {"type": "string"},
                    "settings": {"type": "object"},
                },
            },
        },
        "settings": {"type": "object"},
        "effective_settings": {"type": "object"},
        "foreground_classes": _TEXTS,
        "class_embeddings": _EMBEDDINGS,
    },
}


class PlanKeyError(NnudaError, ValueError):
    """A plan that says nothing, or something else, about its target domain."""


def read_plans(path: str, remedy: str = "", used: bool = False) -> dict[str, Any]:
    """A plans.json with what nnU-Net and nnuda read of it in place; whether it has nnuda's key is not asked.

    Args:
        path: the file.
        remedy: what to do where it is damaged.
        used: to preprocess or predict by, so that nothing may be missing that nnU-Net needs for that.

    Raises:
        FileError: not there, damaged, or no plan.
    """
    return read_json(path, PLANS, USED_PLANS_SCHEMA if used else PLANS_SCHEMA, remedy)


def read_key(plans: dict) -> dict:
    """The plan's `domain_adaptation` key, checked.

    Args:
        plans: a plans.json as a dictionary.

    Raises:
        PlanKeyError: the key is missing, malformed, or speaks of another source; the message has the command to run.
    """
    source = plans["dataset_name"]
    command = f"nnUDA_plan_and_preprocess -d {source} -t TARGET -p {plans['plans_name']}"
    if KEY not in plans:
        raise PlanKeyError(
            f"Plan {plans['plans_name']} of the labelled source {source} names no unlabelled target. Run: {command}"
        )
    key = plans[KEY]
    complaint = schema_complaint({KEY: key}, {"properties": {KEY: SCHEMA}})
    if complaint:
        raise PlanKeyError(
            f"Plan {plans['plans_name']}: what it says is not what this version of nnuda reads ({complaint}). "
            f"Run: {command}"
        )
    if key["source"] != source:
        raise PlanKeyError(
            f"Plan {plans['plans_name']} belongs to the source {source}, but its key {KEY} was made "
            f"for {key['source']}. Run: {command}"
        )
    return key


def configuration_of(plans: dict, name: str, whole: bool = False) -> dict[str, Any]:
    """A configuration of a plan, with what it inherits.

    Args:
        plans: a plans.json as a dictionary.
        name: of the configuration.
        whole: whether it must have all that nnU-Net reads.

    Raises:
        PlanKeyError: it is not there, inherits from one that is not there or from itself, or lacks something.
    """
    parts, wanted, configurations = [], name, plans["configurations"]
    while wanted is not None:
        if wanted not in configurations or configurations[wanted] in parts:
            raise PlanKeyError(
                f"Plan {plans['plans_name']}, configuration {name}: expected one that "
                f"{'ends what it inherits' if wanted in configurations else 'is there'}; got {wanted}, and the plan has "
                f"{', '.join(configurations)}."
            )
        parts.insert(0, configurations[wanted])
        wanted = configurations[wanted].get("inherits_from")
    merged = {key: value for part in parts for key, value in part.items()}
    missing = sorted(_READ_OF_CONFIGURATIONS - merged.keys())
    if whole and missing:
        raise PlanKeyError(
            f"Plan {plans['plans_name']}, configuration {name}: expected all that nnU-Net reads of one; it has no "
            f"{', '.join(missing)}. Take a plan that nnU-Net or nnuda has written."
        )
    return merged


def check_to_train(plans: dict, name: str) -> None:
    """What nnU-Net has read of a plan before it trains by one of its configurations.

    Raises:
        PlanKeyError: an entry is missing or cannot be.
    """
    configuration = configuration_of(plans, name, whole=True)
    complaint = schema_complaint(plans, USED_PLANS_SCHEMA) or _patch_complaint(configuration)
    if complaint:
        raise PlanKeyError(
            f"Plan {plans['plans_name']}, configuration {name}: expected {PLANS}; got {complaint}. "
            "Take a plan that nnU-Net or nnuda has written."
        )


def _patch_complaint(configuration: dict) -> str:
    """A U-Net halves the patch and joins the halves again; other networks name no strides."""
    strides = configuration.get("architecture", {}).get("arch_kwargs", {}).get("strides")
    patch = configuration["patch_size"]
    try:
        steps = [math.prod(axis) for axis in zip(*strides, strict=True)]
    except (TypeError, ValueError):
        return ""
    if len({len(steps), len(patch), len(configuration["spacing"])}) > 1:
        return f"patch_size {patch}, spacing {configuration['spacing']} and strides of {len(steps)} axes"
    if not any(size % step for size, step in zip(patch, steps)):
        return ""
    return f"patch_size {patch}, which the network's strides ({' x '.join(map(str, steps))} in all) do not divide"


def chosen_settings(key: dict) -> dict:
    """What a plan gives other values than the presets: by its rules, and, counting more, with `--set`.

    Args:
        key: from `read_key`.
    """
    by_rule = {name: value for rule in key.get("rules", []) for name, value in rule["settings"].items()}
    return {**by_rule, **key["settings"]}


def relative_target_folder(source_name: str, target_name: str) -> str:
    """Where everything derived from a target lies, relative to nnUNet_preprocessed, with "/" as separator."""
    return f"{source_name}/nnUDA_target_{target_name}"


def target_folder(key: dict) -> str:
    """Absolute folder of the target's fingerprint and preprocessed cases.

    Raises:
        FileError: what the plan names leads out of nnUNet_preprocessed.
    """
    return inside(str(nnUNet_preprocessed), join(*key["target"]["folder"].split("/")), f"{KEY}.target.folder")


def plans_with_target_normalization(plans: dict) -> dict:
    """A copy of the plan that preprocesses target images: normalisation of the target, everything else of the source.

    Args:
        plans: a plan with the key `domain_adaptation`.

    Returns:
        the copy; stock nnU-Net preprocesses and predicts target images with it.
    """
    normalization = plans[KEY]["target"]["normalization"]
    plans = deepcopy(plans)
    for configuration in plans["configurations"].values():
        if "inherits_from" not in configuration or {"normalization_schemes", "use_mask_for_norm"} & set(configuration):
            configuration["normalization_schemes"] = list(normalization["normalization_schemes"])
            configuration["use_mask_for_norm"] = list(normalization["use_mask_for_norm"])
    plans["foreground_intensity_properties_per_channel"] = deepcopy(
        normalization["foreground_intensity_properties_per_channel"]
    )
    return plans
