"""The frozen configuration: what a results folder was trained with, written into its plans.json at the start
and never changed after."""

from __future__ import annotations

import json
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isfile, join

from nnuda.errors import NnudaError, one_message_in_nnunet
from nnuda.files import read_json
from nnuda.labels import foreground_names
from nnuda.plan_key import KEY, chosen_settings, configuration_of, read_key
from nnuda.results import PLANS_SOURCE
from nnuda.settings import RECIPE, defaults, effective_settings, load_preset
from nnuda.text.class_embeddings import ENTRY

_FROZEN = {
    "type": "object",
    "required": ["configurations", KEY],
    "properties": {
        "configurations": {"type": "object"},
        KEY: {
            "type": "object",
            "required": ["settings", "effective_settings", "foreground_classes", "target"],
            "properties": {
                "settings": {"type": "object"},
                "effective_settings": {"type": "object"},
                "foreground_classes": {"type": "array"},
                "target": {"type": "object", "required": ["name", "normalization"]},
            },
        },
    },
}


class FrozenConfigurationError(NnudaError, RuntimeError):
    """A start in a results folder that was made with another configuration."""


def freeze(plans: dict, preset: str, dataset_json: dict, output_folder_base: str | None = None) -> dict[str, Any]:
    """Write what the network depends on into the plan that this training uses:
    effective settings and the names of the classes.

    Args:
        plans: the training's own copy of the plan; changed in place.
        preset: the trainer's preset.
        dataset_json: the source's.
        output_folder_base: the results folder; where an earlier version of nnuda began it with the same `--set`, it
            keeps the values that it began with.

    Returns:
        The effective settings.
    """
    key = read_key(plans)
    key["effective_settings"] = effective_settings(preset, chosen_settings(key))
    key["effective_settings"] |= _of_an_earlier_version(key, preset, output_folder_base)
    key["foreground_classes"] = foreground_names(dataset_json)
    return key["effective_settings"]


def _of_an_earlier_version(key: dict, preset: str, output_folder_base: str | None) -> dict[str, Any]:
    """The settings of a results folder that was begun by an earlier version, or went on from there, with the same
    `--set`: defaults that have changed since are as they were; what it lacks was not there, and is off."""
    path = None if output_folder_base is None else join(output_folder_base, PLANS_SOURCE)
    if path is None or not isfile(path):
        return {}
    begun = _read_frozen(path)[KEY]
    settings, today = begun["effective_settings"], key["effective_settings"]
    if begun["settings"] != key["settings"]:
        return {}
    before = {**defaults(load_preset(preset), "paper"), RECIPE: "paper"}
    return {name: settings.get(name, before[name]) for name in today}


def _read_frozen(path: str) -> dict:
    return read_json(
        path,
        "the plan that a training of nnuda left there",
        _FROZEN,
        "Put it back, or move its folder away to train anew.",
    )


@one_message_in_nnunet()  # all that nnUNetv2_predict asks of nnuda comes by here
def frozen_settings(plans: dict) -> dict[str, Any]:
    """Effective settings of a plan that `freeze` has seen, for example a results folder's plans.json.

    Raises:
        FrozenConfigurationError: `freeze` has not seen it.
    """
    key = plans.get(KEY)
    if not isinstance(key, dict) or "effective_settings" not in key:
        raise FrozenConfigurationError(
            f"Plan {plans.get('plans_name')}: expected the plans.json that a training of nnuda left in its results "
            "folder; it has no effective settings. Put it back; plans_source.json beside it has the same settings."
        )
    return _Frozen(key["effective_settings"])


class _Frozen(dict):
    """Settings of a plan; one that it lacks is asked for by its name."""

    def __missing__(self, name: str) -> Any:
        raise FrozenConfigurationError(
            f"Expected the plans.json that a training of nnuda left in its results folder; it has no {name}. Put "
            "it back; plans_source.json beside it has the same settings."
        )


@one_message_in_nnunet()
def frozen_classes(plans: dict) -> list[str]:
    """Names of the foreground classes (regions), in the order of the network's channels,
    of a plan that `freeze` has seen.

    Raises:
        FrozenConfigurationError: `freeze` has not seen it.
    """
    return _Frozen(plans[KEY])["foreground_classes"]


def refuse_other_configuration(
    plans: dict, configuration: str, output_folder_base: str, reads_embeddings: bool = False
) -> None:
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
    before, now = (
        _facts(p, configuration, reads_embeddings) for p in (_read_frozen(path), json.loads(json.dumps(plans)))
    )
    changed = [f"  {key}: was {before[key]!r}, now {now.get(key)!r}" for key in before if before[key] != now.get(key)]
    if changed:
        raise FrozenConfigurationError(
            f"{output_folder_base} was made with another configuration:\n"
            + "\n".join(changed)
            + "\nNothing was changed. Give the variant a plan of its own name (nnUDA_configure -d ... -p ... --as NAME "
            "--set ...) and train with -p NAME, or move that folder away."
        )


def _facts(plans: dict, configuration: str, reads_embeddings: bool) -> dict[str, Any]:
    key = plans[KEY]
    plan = {f"{configuration}.{name}": value for name, value in configuration_of(plans, configuration).items()}
    facts = {
        "target": key["target"]["name"],
        "target normalization": key["target"]["normalization"],
        "foreground classes": key["foreground_classes"],
        **key["effective_settings"],
        **plan,
    }
    if reads_embeddings:
        facts["class embeddings (sha256)"] = key.get(ENTRY, {}).get("sha256")
    return facts
