"""Settings: flat dotted keys, their presets in plans/*.json, and their checks.

A preset entry is `{"value": ..., "schema": JSON schema, "source": where the value comes from, "help": one line}`.
`base.json` holds what every trainer has; a method's preset adds its own keys and may give a base key another value.
`"paper"` beside `"value"` is what a setting has under `training.recipe=paper`; where it is missing, both are the same.
"""
from __future__ import annotations

import difflib
import json
import math
from functools import lru_cache
from importlib import resources
from typing import Any, Iterable

from jsonschema import Draft202012Validator
from jsonschema.validators import extend

from nnuda.errors import NnudaError

BASE = "base"
RECIPE = "training.recipe"

# JSON Schema takes 1e3 for an integer and Python's json reads NaN: range(1e3) fails only at training, a NaN weight
# silently turns its term off.
_Validator = extend(Draft202012Validator, type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({
    "integer": lambda _, value: isinstance(value, int) and not isinstance(value, bool),
    "number": lambda _, value: isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value),
}))


class SettingsError(NnudaError, ValueError):
    """A setting that does not exist or a value that it cannot take."""


@lru_cache
def preset_names() -> tuple[str, ...]:
    """Names of the method presets, that is, of the files in plans/ besides base.json."""
    files = (entry.name for entry in resources.files("nnuda.plans").iterdir())
    return tuple(sorted(name[:-5] for name in files if name.endswith(".json") and name != f"{BASE}.json"))


@lru_cache
def _read_preset(name: str) -> dict[str, dict]:
    return json.loads(resources.files("nnuda.plans").joinpath(f"{name}.json").read_text(encoding="utf-8"))


def load_preset(name: str) -> dict[str, dict]:
    """Every setting of a method: the base's entries, overlaid by the method's own.

    Args:
        name: a method's preset, for example "uuds".

    Raises:
        SettingsError: no such preset.
    """
    if name != BASE and name not in preset_names():
        raise SettingsError(f"Expected one of the presets {', '.join(preset_names())}; got {name!r}.")
    merged = {key: dict(entry) for key, entry in _read_preset(BASE).items()}
    for key, entry in ({} if name == BASE else _read_preset(name)).items():
        merged[key] = {**merged.get(key, {}), **entry}
        if "value" in entry and "paper" not in entry:  # the method's own value, whatever the recipe
            merged[key].pop("paper", None)
    return merged


def defaults(entries: dict[str, dict], recipe: str) -> dict[str, Any]:
    """Values that a preset gives under a recipe, "recommended" or "paper"."""
    field = "paper" if recipe == "paper" else "value"
    return {key: entry.get(field, entry["value"]) for key, entry in entries.items()}


def _schemas() -> dict[str, dict]:
    """What each known key may be in at least one preset: a method may narrow a base key, another one not."""
    schemas: dict[str, list[dict]] = {}
    for name in preset_names():
        for key, entry in load_preset(name).items():
            known = schemas.setdefault(key, [])
            if entry["schema"] not in known:
                known.append(entry["schema"])
    return {key: known[0] if len(known) == 1 else {"anyOf": known} for key, known in schemas.items()}


def _check_value(key: str, value: Any, schema: dict) -> None:
    error = next(_Validator(schema).iter_errors(value), None)
    if error is not None:
        raise SettingsError(f"Setting {key}: expected a value that meets {json.dumps(schema)}; got "
                            f"{json.dumps(value)} ({error.message}).")


def validate_overrides(overrides: dict[str, Any]) -> None:
    """Check keys and values against all presets: one plan may serve several trainers.

    Raises:
        SettingsError: an unknown key (names the nearest known one), or a value that every preset refuses.
    """
    schemas = _schemas()
    for key, value in overrides.items():
        if key not in schemas:
            nearest = difflib.get_close_matches(key, schemas, n=1, cutoff=0.4)
            hint = f" Did you mean {nearest[0]}?" if nearest else ""
            raise SettingsError(f"Unknown setting {key!r}.{hint} "
                                "documentation/reference/settings.md lists all of them.")
        _check_value(key, value, schemas[key])


def parse_set_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """`--set key=value` arguments as a dictionary; values are JSON, anything that is not JSON is taken as a string.

    Raises:
        SettingsError: no "=", an unknown key, a refused value.
    """
    overrides = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise SettingsError(f"Expected --set key=value; got {argument!r}.")
        try:
            overrides[key.strip()] = json.loads(text)
        except json.JSONDecodeError:
            overrides[key.strip()] = text
    validate_overrides(overrides)
    return overrides


def effective_settings(preset: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The values a trainer runs with: its preset under the recipe, changed by the overrides that concern it.

    Args:
        preset: the trainer's preset.
        overrides: the plan's settings; keys of other methods are left out.

    Raises:
        SettingsError: an unknown key, or a value that this method refuses.
    """
    validate_overrides(overrides)
    entries = load_preset(preset)
    values = defaults(entries, overrides.get(RECIPE, entries[RECIPE]["value"]))
    settings = {key: overrides.get(key, value) for key, value in values.items()}
    for key, value in settings.items():
        _check_value(key, value, entries[key]["schema"])
    return settings


def settings_of_all_presets(overrides: dict[str, Any]) -> dict[str, Any]:
    """Every method's own keys with the values that the overrides leave them, for planning,
    which may not know the trainer yet."""
    recipe = overrides.get(RECIPE, load_preset(BASE)[RECIPE]["value"])
    values = {key: value for name in preset_names() for key, value in defaults(load_preset(name), recipe).items()}
    return {**values, **overrides}
