"""The plan's extra key `domain_adaptation`: what was adapted to what. nnU-Net ignores it."""

from __future__ import annotations

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.errors import NnudaError
from nnuda.files import inside, read_json, schema_complaint

KEY = "domain_adaptation"
SCHEMA_VERSION = 1

_NAME = {"type": "string", "pattern": r"^(?!\.+\Z)[^/\\\n]+\Z"}  # of a file or folder, which does not lead elsewhere
_SIZES = {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 2**16}, "minItems": 2, "maxItems": 3}
_MM = {"type": "number", "minimum": 1e-6, "maximum": 1e6}
_AXIS = {"type": "integer", "minimum": 0, "maximum": 2}
_AXES = {"type": "array", "items": _AXIS, "minItems": 3, "maxItems": 3, "uniqueItems": True}
_TEXTS = {"type": "array", "items": {"type": "string"}, "minItems": 1}
_FLAGS = {"type": "array", "items": {"type": "boolean"}, "minItems": 1}
_STATISTICS = {  # by channel; of a channel without foreground nnU-Net writes NaN
    "type": "object",
    "additionalProperties": {"type": "object", "additionalProperties": {"type": ["number", "nan"]}},
}
_RESAMPLING = ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities")
_OLD_NUMBERS = ("UNet_base_num_features", "unet_max_num_features")
_OLD_LISTS = ("n_conv_per_stage_encoder", "n_conv_per_stage_decoder", "conv_kernel_sizes", "pool_op_kernel_sizes")
# what nnU-Net and nnuda read of a configuration; one that inherits has only what is its own
CONFIGURATION = {
    "type": "object",
    "properties": {
        "inherits_from": {"type": "string"},
        "data_identifier": _NAME,  # becomes the name of a folder
        "preprocessor_name": {"type": "string"},
        "batch_size": {"type": "integer", "minimum": 1},
        "patch_size": _SIZES,
        "spacing": {"type": "array", "items": _MM, "minItems": 2, "maxItems": 3},
        "normalization_schemes": _TEXTS,
        "use_mask_for_norm": _FLAGS,
        "batch_dice": {"type": "boolean"},
        **dict.fromkeys(_RESAMPLING, {"type": "string"}),
        **dict.fromkeys((f"{name}_kwargs" for name in _RESAMPLING), {"type": "object"}),
        "architecture": {
            "type": "object",
            "required": ["network_class_name", "arch_kwargs", "_kw_requires_import"],
            "properties": {
                "network_class_name": {"type": "string"},
                "arch_kwargs": {"type": "object"},
                "_kw_requires_import": {"type": "array", "items": {"type": "string"}},
            },
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
        "dataset_name": {"type": "string"},
        "plans_name": {"type": "string"},
        "image_reader_writer": {"type": "string"},
        "experiment_planner_used": {"type": "string"},
        "transpose_forward": _AXES,
        "transpose_backward": _AXES,
        "configurations": {"type": "object", "minProperties": 1, "additionalProperties": CONFIGURATION},
        "label_manager": {"type": "string"},
        "foreground_intensity_properties_per_channel": _STATISTICS,
        KEY: _TAKEN_OVER,
    },
}
PLANS = "a plan of nnU-Net's"
USED_PLANS_SCHEMA = {  # to preprocess, train or predict by, where one that is looked at may lack something
    **PLANS_SCHEMA,
    "required": [*PLANS_SCHEMA["required"], "transpose_forward", "transpose_backward"],
    "properties": {**PLANS_SCHEMA["properties"], "dataset_name": _NAME, "plans_name": _NAME},
}
OLD_ARCHITECTURE = {  # what nnU-Net makes one of in a configuration that has none, as its first versions wrote them
    "type": "object",
    "required": ["UNet_class_name", *_OLD_NUMBERS, *_OLD_LISTS, "num_pool_per_axis"],
    "properties": {
        "UNet_class_name": {"enum": ["PlainConvUNet", "ResidualEncoderUNet"]},
        **dict.fromkeys(_OLD_NUMBERS, {"type": "integer", "minimum": 1}),
        **dict.fromkeys(_OLD_LISTS, {"type": "array"}),
    },
}
SHOWN_OF_CONFIGURATIONS = {  # on a page of a training
    "data_identifier",
    "batch_size",
    "patch_size",
    "spacing",
    "normalization_schemes",
    "use_mask_for_norm",
}
USED_OF_CONFIGURATIONS = {  # to preprocess, train or predict by
    *SHOWN_OF_CONFIGURATIONS,
    "preprocessor_name",
    "batch_dice",
    *_RESAMPLING,
    *(f"{name}_kwargs" for name in _RESAMPLING),
}
_HU = {  # what CTNormalization reckons with
    "type": "object",
    "required": ["mean", "std", "percentile_00_5", "percentile_99_5"],
    "properties": {
        **dict.fromkeys(("mean", "percentile_00_5", "percentile_99_5"), {"type": "number"}),
        "std": {"type": "number", "exclusiveMinimum": 0},
    },
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
        "use_mask_for_norm": _FLAGS,
        "foreground_intensity_properties_per_channel": _STATISTICS,
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
                "name": {"type": "string"},
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


def read_plans(path: str, remedy: str = "") -> dict[str, Any]:
    """A plans.json with what nnU-Net and nnuda read of it in place; whether it has nnuda's key, and whether nnU-Net
    can work by it (`plan_check`), is not asked.

    Args:
        path: the file.
        remedy: what to do where it is damaged.

    Raises:
        FileError: not there, damaged, or no plan.
    """
    return read_json(path, PLANS, PLANS_SCHEMA, remedy)


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
    if not complaint and (wrong := normalization_complaint(key["target"]["normalization"])):
        complaint = f"{KEY}.target.normalization: {wrong}"
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


def normalization_complaint(normalization: dict) -> str:
    """What of the normalisation of the channels is missing, or cannot be reckoned with; empty where nothing is.

    Args:
        normalization: with normalization_schemes, use_mask_for_norm (a list of the channels each) and
            foreground_intensity_properties_per_channel.
    """
    schemes, masks = normalization["normalization_schemes"], normalization["use_mask_for_norm"]
    if len(masks) != len(schemes):
        return f"{len(schemes)} normalization_schemes, and use_mask_for_norm of {len(masks)} channels"
    statistics = normalization["foreground_intensity_properties_per_channel"]
    for channel, scheme in enumerate(schemes):
        where = f"foreground_intensity_properties_per_channel.{channel}"
        if str(channel) not in statistics:
            return f"no {where}, and {len(schemes)} normalization_schemes"
        if scheme == "CTNormalization" and (wrong := _hu_complaint(statistics[str(channel)])):
            return f"{where}: {wrong}"
    return ""


def _hu_complaint(statistics: dict) -> str:
    wrong = schema_complaint(statistics, _HU)
    if wrong or statistics["percentile_00_5"] < statistics["percentile_99_5"]:
        return wrong
    return f"percentile_00_5 {statistics['percentile_00_5']} and percentile_99_5 {statistics['percentile_99_5']}"


def configuration_of(plans: dict, name: str, needed: Collection[str] = ()) -> dict[str, Any]:
    """A configuration of a plan, with what it inherits.

    Args:
        plans: a plans.json as a dictionary.
        name: of the configuration.
        needed: entries that it must have.

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
    missing = sorted(set(needed) - merged.keys())
    if missing:
        raise PlanKeyError(
            f"Plan {plans['plans_name']}, configuration {name}: expected all that nnU-Net reads of one; it has no "
            f"{', '.join(missing)}. Take a plan that nnU-Net or nnuda has written."
        )
    return merged


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
