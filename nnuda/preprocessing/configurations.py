"""Which configurations to preprocess."""

from __future__ import annotations

import os

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.errors import PlanningError
from nnuda.files import check_output_folder
from nnuda.plan_key import target_folder
from nnuda.planning.choice import STOCK_CONFIGURATIONS
from nnuda.planning.plan import trainable_configurations
from nnuda.preprocessing.up_to_date import data_folder, preprocessed_cases


def check_configurations(plans: dict | None, asked: list[str] | None) -> None:
    """Check -c before any long work.

    Args:
        plans: the existing plan; None where a fresh one is to be made.
        asked: -c, or None.

    Raises:
        PlanningError: the plan has, or will have, no such configuration, or it is the cascade's second stage.
    """
    trainable = trainable_configurations(plans) if plans else list(STOCK_CONFIGURATIONS)
    which = f"plan {plans['plans_name']}" if plans else "a fresh plan"
    for name in asked or []:
        if name == "3d_cascade_fullres" or (plans and name in plans["configurations"] and name not in trainable):
            raise PlanningError(
                f"-c {name}: the second stage of a cascade, which nnuda does not train. Take one of: "
                f"{', '.join(trainable)}."
            )
        if name not in trainable:
            raise PlanningError(f"-c {name}: {which} has no such configuration. It has: {', '.join(trainable)}.")


def check_places(source_name: str, key: dict, plans: dict) -> None:
    """Stop before anything is read where preprocessed cases could not be written.

    Args:
        source_name: the source's dataset name.
        key: the plan's, from `read_key`.
        plans: the plan.

    Raises:
        FileError: a place is a file, cannot be written to, or is full.
    """
    manager = PlansManager(plans)
    identifiers = {manager.get_configuration(name).data_identifier for name in trainable_configurations(plans)}
    for base in (join(nnUNet_preprocessed, source_name), target_folder(key)):
        for folder in (base, *(data_folder(base, identifier) for identifier in sorted(identifiers))):
            check_output_folder(os.path.realpath(folder), "nnUNet_preprocessed")  # may be a link to another disk


def choose_configurations(source_name: str, plans: dict, asked: list[str] | None) -> list[str]:
    """The configurations asked for; else those that the source is preprocessed for; else nnU-Net's own three.

    Args:
        source_name: the source's dataset name.
        plans: the plan.
        asked: -c, or None.

    Raises:
        PlanningError: the plan has no such configuration.
    """
    check_configurations(plans, asked)
    if asked:
        return asked
    trainable, manager = trainable_configurations(plans), PlansManager(plans)
    base = join(nnUNet_preprocessed, source_name)
    used = [
        name
        for name in trainable
        if preprocessed_cases(data_folder(base, manager.get_configuration(name).data_identifier))
    ]
    return used or [name for name in STOCK_CONFIGURATIONS if name in trainable]
