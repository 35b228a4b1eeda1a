"""A plan copied under another name with other settings."""

from __future__ import annotations

import json
from copy import deepcopy

from batchgenerators.utilities.file_and_folder_operations import isfile

from nnuda.datasets import check_plans_name
from nnuda.errors import PlanningError
from nnuda.files import locked, write_json
from nnuda.plan_key import KEY, read_key, read_plans
from nnuda.planning.choice import existing_plans, plan_file
from nnuda.planning.make_key import pretrained_weights
from nnuda.planning.plan_embeddings import with_class_embeddings
from nnuda.planning.setting_checks import tried_settings
from nnuda.text.class_embeddings import ClassEmbeddings


def write_variant(
    plans: dict, name: str, overrides: dict, embeddings: ClassEmbeddings | None = None
) -> tuple[dict, bool]:
    """Write a copy of a plan called `name`; its data identifiers stay, so nothing has to be preprocessed again.

    Args:
        plans: a plan with the key `domain_adaptation`.
        name: of the copy.
        overrides: settings on top of the plan's.
        embeddings: of the classes; None keeps the plan's.

    Returns:
        all settings of the copy; whether it was there already, just so, and nothing was written.

    Raises:
        PlanningError: the name is taken by another plan.
        DatasetError: it is no file name.
        SettingsError and what else `tried_settings` raises: settings, old ones among them, that cannot work.
    """
    check_plan_name(plans, name)
    settings = tried_settings({**read_key(plans)["settings"], **overrides})
    key = {**deepcopy(plans[KEY]), "settings": settings, "weights": pretrained_weights(settings)}
    key = with_class_embeddings(key, embeddings, read_key(plans))
    variant = {**deepcopy(plans), "plans_name": name, KEY: key}
    file = plan_file(plans["dataset_name"], name)
    with locked(f"{file}.lock", f"the plan {file}"):
        if isfile(file):
            if read_plans(file) != json.loads(json.dumps(variant)):
                raise PlanningError(_taken("Another", name, file))
            return settings, True
        write_json(variant, file)
    return settings, False


def check_plan_name(plans: dict, name: str) -> None:
    """Stop before any long work where a variant cannot have a name.

    Args:
        plans: that the variant is made of.
        name: of the variant.

    Raises:
        PlanningError: it is the plan's own, or that of a JSON file that is no plan.
        DatasetError: it is no file name.
    """
    check_plans_name(name, "--as")
    file = plan_file(plans["dataset_name"], name)
    if name == plans["plans_name"]:
        raise PlanningError(_taken("A", name, file))
    if isfile(file) and name not in existing_plans(plans["dataset_name"]):
        raise PlanningError(f"{file} is there already, and is no plan: give another name with --as.")


def _taken(which: str, name: str, file: str) -> str:
    return f"{which} plan {name} is there already ({file}). Its runs belong to it: give another name with --as."
