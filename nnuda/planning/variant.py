"""A plan copied under another name with other settings."""

from __future__ import annotations

from copy import deepcopy

from batchgenerators.utilities.file_and_folder_operations import isfile

from nnuda.datasets import check_name
from nnuda.errors import PlanningError
from nnuda.files import locked, write_json
from nnuda.plan_key import KEY, read_key
from nnuda.planning.choice import plan_file
from nnuda.planning.make_key import pretrained_weights
from nnuda.planning.plan_embeddings import with_class_embeddings
from nnuda.text.class_embeddings import ClassEmbeddings


def write_variant(plans: dict, name: str, overrides: dict, embeddings: ClassEmbeddings | None = None) -> dict:
    """Write a copy of a plan called `name`; its data identifiers stay, so nothing has to be preprocessed again.

    Args:
        plans: a plan with the key `domain_adaptation`.
        name: of the copy.
        overrides: settings on top of the plan's.
        embeddings: of the classes; None keeps the plan's.

    Returns:
        all settings of the copy.

    Raises:
        PlanningError: the name is taken.
        DatasetError: it is no file name.
    """
    file = free_plan_file(plans["dataset_name"], name)
    with locked(f"{file}.lock", f"the plan {file}"):
        free_plan_file(plans["dataset_name"], name)  # nobody wrote it meanwhile
        variant = deepcopy(plans)
        variant["plans_name"] = name
        variant[KEY]["settings"] = {**read_key(plans)["settings"], **overrides}
        variant[KEY]["weights"] = pretrained_weights(variant[KEY]["settings"])
        variant[KEY] = with_class_embeddings(variant[KEY], embeddings, read_key(plans))
        write_json(variant, file)
    return variant[KEY]["settings"]


def free_plan_file(source_name: str, name: str) -> str:
    """Where a new plan of this name goes.

    Raises:
        PlanningError: the name is taken.
        DatasetError: it is no file name.
    """
    check_name(name, "--as")
    file = plan_file(source_name, name)
    if isfile(file):
        raise PlanningError(
            f"A plan {name} is there already ({file}). Its runs belong to it: give another name with --as."
        )
    return file
