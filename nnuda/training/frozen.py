"""The frozen configuration: what a results folder was trained with, written into its plans.json at the start
and never changed after."""
from __future__ import annotations

import json
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join, load_json

from nnuda.plan_key import KEY, read_key
from nnuda.settings import effective_settings
from nnuda.text.class_embeddings import ENTRY

PLANS_SOURCE = "plans_source.json"


class FrozenConfigurationError(RuntimeError):
    """A start in a results folder that was made with another configuration."""


def freeze(plans: dict, preset: str, dataset_json: dict) -> dict[str, Any]:
    """Write what the network depends on into the plan that this training uses:
    effective settings and the names of the classes.

    Args:
        plans: the training's own copy of the plan; changed in place.
        preset: the trainer's preset.
        dataset_json: the source's.

    Returns:
        The effective settings.
    """
    key = read_key(plans)
    key["effective_settings"] = effective_settings(preset, key["settings"])
    key["foreground_classes"] = foreground_names(dataset_json)
    return key["effective_settings"]


def frozen_settings(plans: dict) -> dict[str, Any]:
    """Effective settings of a plan that `freeze` has seen, for example a results folder's plans.json."""
    return plans[KEY]["effective_settings"]


def frozen_classes(plans: dict) -> list[str]:
    """Names of the foreground classes (regions), in the order of the network's channels,
    of a plan that `freeze` has seen."""
    return plans[KEY]["foreground_classes"]


def foreground_names(dataset_json: dict) -> list[str]:
    """Names of the foreground classes by rising label, or of the regions as nnU-Net orders them;
    neither background nor ignore."""
    labels = {name: value for name, value in dataset_json["labels"].items()
              if name != "ignore" and value not in (0, [0])}
    values = {name: value if isinstance(value, (list, tuple)) else [value] for name, value in labels.items()}
    if any(len(value) > 1 for value in values.values()):  # when nnU-Net speaks of regions
        return list(labels)
    return sorted(labels, key=lambda name: int(values[name][0]))


def class_names(dataset_json: dict) -> list[str]:
    """The background, then the foreground classes or regions in the order of the network's channels."""
    background = next((name for name, value in dataset_json["labels"].items() if value in (0, [0])), "background")
    return [background, *foreground_names(dataset_json)]


def refuse_other_configuration(plans: dict, configuration: str, output_folder_base: str,
                               reads_embeddings: bool = False) -> None:
    """Stop where the results folder was made with another target, settings or configuration.

    Args:
        plans: the training's own copy of the plan, which `freeze` has seen.
        configuration: its name.
        output_folder_base: the results folder.
        reads_embeddings: whether the training depends on the plan's class embeddings.

    Raises:
        FrozenConfigurationError: lists every key that differs. Nothing was touched.
    """
    path = join(output_folder_base, PLANS_SOURCE)
    if not isfile(path):
        return
    before, now = (_facts(p, configuration, reads_embeddings)
                   for p in (load_json(path), json.loads(json.dumps(plans))))
    changed = [f"  {key}: was {before[key]!r}, now {now.get(key)!r}" for key in before if before[key] != now.get(key)]
    if changed:
        raise FrozenConfigurationError(
            f"{output_folder_base} was made with another configuration:\n" + "\n".join(changed) +
            "\nNothing was changed. Give the variant a plan of its own name (nnUDA_configure -d ... -p ... --as NAME "
            "--set ...) and train with -p NAME, or move that folder away.")


def _facts(plans: dict, configuration: str, reads_embeddings: bool) -> dict[str, Any]:
    key = plans[KEY]
    plan = {f"{configuration}.{name}": value
            for name, value in _inherited(plans["configurations"], configuration).items()}
    facts = {"target": key["target"]["name"], "target normalization": key["target"]["normalization"],
             "foreground classes": key["foreground_classes"], **key["effective_settings"], **plan}
    if reads_embeddings:
        facts["class embeddings (sha256)"] = key.get(ENTRY, {}).get("sha256")
    return facts


def _inherited(configurations: dict, name: str) -> dict[str, Any]:
    own = configurations.get(name, {})
    return {**_inherited(configurations, own["inherits_from"]), **own} if "inherits_from" in own else own
