"""No source data: a trained model stands in for the source, with what its folder says of classes, channels and plan."""

from __future__ import annotations

import os
from copy import deepcopy

from nnunetv2.imageio.base_reader_writer import BaseReaderWriter
from nnunetv2.imageio.reader_writer_registry import recursive_find_reader_writer_by_name
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.datasets import Domain
from nnuda.files import read_json, write_json
from nnuda.plan_check import read_plans_to_use
from nnuda.plan_key import KEY, read_plans
from nnuda.planning.choice import plan_file
from nnuda.planning.normalization import normalization_schemes, plan_schemes
from nnuda.results import AS_LEFT, PLANS, read_dataset_json
from nnuda.selftraining.members import MemberError

MADE_FROM = "nnuda_model"  # in the plan that is moved: of which dataset's model


def source_of_model(folder: str) -> Domain:
    """The source of a trained model, without its images.

    Args:
        folder: results folder <trainer>__<plans>__<configuration>.

    Raises:
        FileError: no such folder, or one without dataset.json and plans.json.
    """
    folder = os.path.abspath(folder)
    dataset_json = read_dataset_json(os.path.join(folder, "dataset.json"), "-m names a results folder.", channels=True)
    dataset_json.pop("dataset", None)  # lists cases of the source, which are not here
    return Domain(read_plans(os.path.join(folder, PLANS))["dataset_name"], folder, dataset_json, {})


def reader_of_model(folder: str) -> type[BaseReaderWriter]:
    """The reader that a model's plan names."""
    return recursive_find_reader_writer_by_name(read_plans(os.path.join(folder, PLANS))["image_reader_writer"])


def moved_plan(plans: dict, name: str, channels: dict[str, str]) -> dict:
    """A model's plan for a dataset of the target's images, so that its weights fit.

    Resolutions, patches and architectures stay, and intensities where a channel is normalised as the model's was; a
    channel that is normalised in another way (a z-score in place of CT) needs none.

    Args:
        plans: of the model.
        name: of the dataset.
        channels: its channel names.
    """
    schemes, changed = normalization_schemes(channels), deepcopy(plans)
    changed.pop(KEY, None)
    changed["dataset_name"], changed[MADE_FROM] = name, plans["dataset_name"]
    if schemes != plan_schemes(plans):
        for configuration in changed["configurations"].values():
            if "normalization_schemes" in configuration:
                configuration["normalization_schemes"] = list(schemes)
    return changed


def write_moved_plan(folder: str, name: str, channels: dict[str, str]) -> str:
    """Put a model's plan beside a dataset, for `nnUDA_adapt -p` or `nnUNetv2_preprocess`; one that is there stays.

    Args:
        folder: the model's.
        name: of the dataset.
        channels: its channel names.

    Returns:
        The plan's name.

    Raises:
        MemberError: a plan of that name is there that was not moved from this model's dataset.
    """
    plans = read_plans_to_use(os.path.join(folder, PLANS), AS_LEFT)
    file = plan_file(name, plans["plans_name"])
    if os.path.isfile(file):
        there = read_json(file, "a plan of nnU-Net's").get(MADE_FROM)
        if there != plans["dataset_name"]:
            raise MemberError(
                f"{file} is there and does not come from a model of {plans['dataset_name']}. Name a free number with -o."
            )
        return plans["plans_name"]
    os.makedirs(os.path.join(str(nnUNet_preprocessed), name), exist_ok=True)
    write_json(moved_plan(plans, name, channels), file)
    return plans["plans_name"]
