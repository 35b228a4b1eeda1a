"""Whether nnU-Net can work by a plan: what it looks up, calls or reckons with only when it comes to it is looked at before.
The network is tried out in `plan_network`."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from typing import Any

from nnunetv2.paths import nnUNet_preprocessed

from nnuda.dataset_json import check_to_learn_from
from nnuda.files import schema_complaint
from nnuda.plan_key import (
    KEY,
    OLD_ARCHITECTURE,
    PLANS,
    USED_OF_CONFIGURATIONS,
    USED_PLANS_SCHEMA,
    PlanKeyError,
    configuration_of,
    normalization_complaint,
    read_plans,
)

STATISTICS = "foreground_intensity_properties_per_channel"


def read_plans_to_use(path: str, remedy: str) -> dict[str, Any]:
    """A plans.json to preprocess or predict by.

    Args:
        path: the file.
        remedy: what to do where it is not as it should be.

    Raises:
        FileError, PlanKeyError: as `read_plans` and, for all its configurations, `check_plan`.
    """
    plans = read_plans(path, remedy)
    check_plan(plans, plans["configurations"], path, remedy)
    return plans


def check_plan(plans: dict, names: Iterable[str], where: str, remedy: str) -> None:
    """Stop before long work by a plan that nnU-Net cannot read, look up or reckon with.

    Args:
        plans: a plans.json as a dictionary.
        names: of the configurations that are to be used.
        where: the plan is from, for the message.
        remedy: what to do.

    Raises:
        PlanKeyError: names the entry, and what stands there.
    """
    try:
        complaint = schema_complaint(plans, USED_PLANS_SCHEMA) or _plan_complaint(plans, names)
    except PlanKeyError as error:  # of `configuration_of`
        raise PlanKeyError(f"{where}: {error}") from error
    if complaint:
        raise PlanKeyError(f"{where}: expected {PLANS}; got {complaint}. {remedy}")


def check_to_train(plans: dict, name: str, dataset_json: dict) -> None:
    """What nnU-Net has read before it trains: one configuration of a plan, and the dataset.json beside it.

    Args:
        plans: a plans.json as a dictionary.
        name: of the configuration.
        dataset_json: the source's, as a dictionary.

    Raises:
        PlanKeyError: as `check_plan`; also where the plan has no such configuration, or is for images of other channels.
        FileError, DatasetError: as `check_to_learn_from`.
    """
    folder = os.path.join(str(nnUNet_preprocessed.get() or ""), str(plans.get("dataset_name", "DATASET")))
    file, beside = (os.path.join(folder, f"{json}.json") for json in (plans.get("plans_name", "PLANS"), "dataset"))
    check_plan(plans, [name], file, "Take a plan that nnU-Net or nnuda has written.")
    check_to_learn_from(dataset_json, beside)
    channels = dataset_json.get("channel_names", dataset_json.get("modality"))
    planned = len(configuration_of(plans, name)["normalization_schemes"])
    if planned != len(channels):
        raise PlanKeyError(
            f"{file}, configuration {name}: expected as many channels as {beside} names, {len(channels)}; got "
            f"normalization_schemes of {planned}. Put back what was changed."
        )


def _plan_complaint(plans: dict, names: Iterable[str]) -> str:
    forward, backward = plans["transpose_forward"], plans["transpose_backward"]
    if [forward[axis] for axis in backward] != [0, 1, 2]:
        return f"transpose_backward {backward}, which does not undo transpose_forward {forward}"
    return _names_complaint(plans) or next(filter(None, (_configuration_complaint(plans, name) for name in names)), "")


def _names_complaint(plans: dict) -> str:
    reader, labels = plans["image_reader_writer"], plans.get("label_manager", "LabelManager")
    if _find("imageio", reader) is None:
        return f"image_reader_writer: nnU-Net has no reader {reader}"
    if _find(os.path.join("utilities", "label_handling"), labels) is None:
        return f"label_manager: nnU-Net has no {labels}"
    target = plans.get(KEY, {}).get("target", {}).get("normalization", {}).get("normalization_schemes", [])
    return _schemes_complaint(f"{KEY}.target", target)


def _configuration_complaint(plans: dict, name: str) -> str:
    where = f"configurations.{name}"
    configuration = configuration_of(plans, name, USED_OF_CONFIGURATIONS)
    if "architecture" not in configuration and (wrong := schema_complaint(configuration, OLD_ARCHITECTURE)):
        return f"{where}: no architecture, nor what the first versions of nnU-Net had in its place ({wrong})"
    if _find("preprocessing", configuration["preprocessor_name"]) is None:
        return f"{where}: nnU-Net has no preprocessor {configuration['preprocessor_name']}"
    of_channels = {**configuration, STATISTICS: _statistics(plans)}
    wrong = normalization_complaint(of_channels) or _resampling_complaint(configuration) or _axes(configuration)
    return f"{where}: {wrong}" if wrong else _schemes_complaint(where, configuration["normalization_schemes"])


def _statistics(plans: dict) -> dict:
    """Where today's nnU-Net, and that of the first plans, look for them."""
    return plans.get(STATISTICS, plans.get("foreground_intensity_properties_by_modality", {}))


def _schemes_complaint(where: str, schemes: list[str]) -> str:
    unknown = [scheme for scheme in schemes if _find(os.path.join("preprocessing", "normalization"), scheme) is None]
    return f"{where}: nnU-Net has no normalisation {unknown[0]}" if unknown else ""


def _find(room: str, name: str) -> Any:
    """What nnU-Net finds under a name below one of its folders; None where that is nothing it could call."""
    import nnunetv2
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class

    module = f"nnunetv2.{room.replace(os.sep, '.')}"
    found = recursive_find_python_class(os.path.join(nnunetv2.__path__[0], room), name, module)
    return found if callable(found) else None


def _resampling_complaint(configuration: dict) -> str:
    """Each function is called with tiny images as nnU-Net calls it: what it does not take shows at once."""
    import numpy as np
    from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager

    manager = ConfigurationManager(configuration)
    labels = np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3) % 3  # of one value, some make no use of their options
    for name in ("resampling_fn_data", "resampling_fn_seg", "resampling_fn_probabilities"):
        try:
            for old, new in (
                ((1.0, 1.0, 1.0), (0.8, 0.8, 0.8)),
                ((9.0, 1.0, 1.0), (7.0, 0.8, 0.8)),
            ):  # thick slices, too
                getattr(manager, name)(labels.copy(), (4, 4, 4), old, new)
        except Exception as error:  # any function, with what stands in the plan
            return f"{name}, which fails on an image ({type(error).__name__}: {error})"
    return ""


def _axes(configuration: dict) -> str:
    """A U-Net halves the patch and joins the halves again; other networks name no strides."""
    patch, spacing = configuration["patch_size"], configuration["spacing"]
    if len(patch) != len(spacing):
        return f"spacing {spacing} and patch_size {patch} differ in their axes"
    strides = configuration.get("architecture", {}).get("arch_kwargs", {}).get("strides")
    try:
        steps = [math.prod(axis) for axis in zip(*strides, strict=True)]
        undivided = any(size % step for size, step in zip(patch, steps))
    except (TypeError, ValueError, ZeroDivisionError):  # what is said when the network is built
        return ""
    if len(steps) != len(patch):
        return f"patch_size {patch} and strides of {len(steps)} axes"
    if not undivided:
        return ""
    return f"patch_size {patch}, which the network's strides ({' x '.join(map(str, steps))} in all) do not divide"
