"""Settings: flat dotted keys, their presets, and their checks.

A preset entry is `{"value": ..., "schema": JSON schema, "source": where the value comes from, "help": one line}`.
`base.json` holds what every trainer has; a method's preset adds its own keys and may give a base key another value.
`"paper"` beside `"value"` is what a setting has under `training.recipe=paper`; where it is missing, both are the same.
Presets lie in nnuda/plans, and as `<preset>.json` beside a trainer in any folder of `nnUNet_extTrainer`.
"""

from __future__ import annotations

import difflib
import json
import math
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from nnuda.errors import NnudaError, short
from nnuda.files import read_json, schema_validator
from nnuda.trainer_files import BASE, package_presets, preset_files

RECIPE = "training.recipe"
FIELDS = ("value", "paper", "schema", "source", "help")
NEEDED = ("value", "schema", "help")  # of a new setting
LENGTH = ("training.num_epochs", "training.num_iterations_per_epoch")
INIT_FROM = "training.init_from"
SEED = "training.seed"
STEPS_BEFORE_ADAPTATION, LATEST_START = 400, 0.6  # the latter as a share of the training
_PRESET = {"type": "object", "additionalProperties": {"type": "object"}}
_EXAMPLE = '{"name.setting": {"value": 1, "schema": {"type": "number"}, "help": "one line"}}'
_KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")


class SettingsError(NnudaError, ValueError):
    """A setting that does not exist or a value that it cannot take."""


def preset_names() -> tuple[str, ...]:
    """Names of the methods' presets, nnuda's own and those outside, without the base's."""
    return tuple(sorted(preset_files().keys() - {BASE}))


def own_preset_names() -> tuple[str, ...]:
    """Names of the methods' presets that nnuda brings."""
    return tuple(sorted(package_presets().keys() - {BASE}))


def load_preset(name: str) -> dict[str, dict]:
    """Every setting of a method: the base's entries, overlaid by the method's own.

    Args:
        name: a method's preset, for example "uuds".

    Raises:
        SettingsError: no such preset, two of that name, or entries outside of nnuda that are none.
        FileError: a file outside of nnuda that is no preset.
    """
    files = preset_files()
    if name not in files:
        raise SettingsError(
            f"Expected one of the presets {', '.join(preset_names())}; got {name!r}. The preset of a "
            f"trainer of your own lies beside it: {name}.json, in a folder of nnUNet_extTrainer."
        )
    if len(files[name]) > 1:
        raise SettingsError(
            f"Expected one preset {name}; there are {' and '.join(files[name])}. Give one of them, and "
            "`preset` of its trainer, another name."
        )
    base = _read_preset(*_version(files[BASE][0]))
    merged = {key: dict(entry) for key, entry in base.items()}
    own = {} if name == BASE else _read_preset(*_version(files[name][0]))
    if name not in package_presets():
        _check_preset(name, files[name][0], own, base)
        own = {key: entry if key in base else {"source": "not given", **entry} for key, entry in own.items()}
    for key, entry in own.items():
        merged[key] = {**merged.get(key, {}), **entry}
        if "value" in entry and "paper" not in entry:  # the method's own value, whatever the recipe
            merged[key].pop("paper", None)
    return merged


def largest_seed() -> int:
    """NumPy's, as base.json has it; the smallest is 0."""
    return load_preset(BASE)[SEED]["schema"]["maximum"]


def defaults(entries: dict[str, dict], recipe: str) -> dict[str, Any]:
    """Values that a preset gives under a recipe, "recommended" or "paper"."""
    field = "paper" if recipe == "paper" else "value"
    return {key: entry.get(field, entry["value"]) for key, entry in entries.items()}


def _version(file: str) -> tuple[str, int]:
    return file, os.stat(file).st_mtime_ns


@lru_cache
def _read_preset(file: str, changed: int) -> dict[str, dict]:
    """A file as it was at a time."""
    return read_json(file, "a preset", _PRESET, f"Each entry has {', '.join(NEEDED)}: {_EXAMPLE}.")


def _check_preset(name: str, file: str, entries: dict[str, dict], base: dict[str, dict]) -> None:
    """What the tests check of nnuda's own presets, of one that lies outside.

    Raises:
        SettingsError: names the file, the key, and what to change.
    """
    taken = {key.partition(".")[0] for key in base}
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in taken:
        raise SettingsError(
            f"Preset {file}: expected a name of small letters, digits and _ that begins with a letter, "
            f"and none of {', '.join(sorted(taken))}; got {name!r}. Rename the file, and `preset` of "
            "its trainer."
        )
    terms: dict[str, str] = {"source": "the source's own loss"}
    for key, entry in {**base, **entries}.items():
        if key in entries:
            _check_entry(name, f"Preset {file}: {key}", key, entry, base.get(key))
        if key.endswith(".weight"):
            value, term = {**base.get(key, {}), **entry}["value"], key.rsplit(".", 2)[-2]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
                raise SettingsError(
                    f"Preset {file}: {key} makes a loss term, so its value must be a number from 0 on; "
                    f"got {json.dumps(value)}. Call a setting that is no weight of a loss otherwise."
                )
            if term in terms:
                raise SettingsError(
                    f"Preset {file}: {key} makes a loss term called {term}, which is the name of "
                    f"{terms[term]} too. Give it another name."
                )
            terms[term] = key


def _check_entry(name: str, where: str, key: str, entry: dict, of_base: dict | None) -> None:
    """One entry: it is complete, under its preset's own name or one of the base's, and its value meets its schema."""
    if of_base is None and (not key.startswith(f"{name}.") or not _KEY.fullmatch(key)):
        raise SettingsError(
            f"{where}: expected a key of base.json or one that begins with {name}. (small letters, "
            "digits, _ and dots): a method's settings stand under its own name."
        )
    foreign, missing = sorted(entry.keys() - set(FIELDS)), [field for field in NEEDED if field not in entry]
    if foreign or (missing and of_base is None):
        raise SettingsError(
            f"{where}: expected {', '.join(NEEDED)} (and source); missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(foreign) or 'none'}."
        )
    whole = {**(of_base or {}), **entry}
    try:
        Draft202012Validator.check_schema(whole["schema"])
    except SchemaError as error:
        raise SettingsError(f"{where}: its schema is no JSON schema ({error.message}).") from error
    for schema in [whole["schema"], *([of_base["schema"]] if of_base else [])]:
        error = next(schema_validator()(schema).iter_errors(whole["value"]), None)
        if error is not None:
            raise SettingsError(
                f"{where}: expected a value that meets {json.dumps(schema)}; got "
                f"{json.dumps(whole['value'])} ({error.message})."
            )


def _schemas() -> dict[str, dict]:
    """What each known key may be in at least one preset: a method may narrow a base key, another one not."""
    schemas: dict[str, list[dict]] = {}
    for name in preset_names():
        for key, entry in load_preset(name).items():
            known = schemas.setdefault(key, [])
            if entry["schema"] not in known:
                known.append(entry["schema"])
    return {key: known[0] if len(known) == 1 else {"anyOf": known} for key, known in schemas.items()}


def number_range(schema: dict[str, Any]) -> str:
    """The bounds of a number, such as ` >= 1`; empty where there are none."""
    bounds = {"minimum": ">=", "exclusiveMinimum": ">", "maximum": "<=", "exclusiveMaximum": "<"}
    parts = [f"{sign} {schema[name]:.10g}" for name, sign in bounds.items() if name in schema]
    return f" {' and '.join(parts)}" if parts else ""


def allowed(schema: dict[str, Any], quote: str = "") -> str:
    """What a schema takes, in words; values stand between quotes."""
    if "anyOf" in schema:
        return " or ".join(allowed(part, quote) for part in schema["anyOf"])
    if "enum" in schema:
        return " or ".join(f"{quote}{value}{quote}" for value in schema["enum"])
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    words = {
        "boolean": f"{quote}true{quote} or {quote}false{quote}",
        "string": "text",
        "null": f"{quote}null{quote}",
        "integer": f"integer{number_range(schema)}",
        "number": f"number{number_range(schema)}",
    }
    if "array" in kinds:
        words["array"] = f"list, each {allowed(schema['items'], quote)}"
    return " or ".join(words[kind] for kind in kinds)


def setting_formats() -> dict[str, str]:
    """Key -> what its schema says that a value names, of the settings of all presets whose schema says so."""
    entries = {key: entry for name in preset_names() for key, entry in load_preset(name).items()}
    return {key: entry["schema"]["format"] for key, entry in entries.items() if "format" in entry["schema"]}


def _check_value(key: str, value: Any, schema: dict) -> None:
    error = next(schema_validator()(schema).iter_errors(value), None)
    if error is not None:
        raise SettingsError(
            f"Setting {key}: expected a value that meets {json.dumps(schema)}; got "
            f"{short(json.dumps(value))} ({short(error.message)})."
        )


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
            raise SettingsError(
                f"Unknown setting {short(key)!r}.{hint} "
                "nnUDA_configure --list lists all of them; the settings of a trainer of "
                "your own are known while its folder is in nnUNet_extTrainer."
            )
        _check_value(key, value, schemas[key])


def check_known(settings: dict[str, Any]) -> None:
    """Check the values of the settings that there are; others may be another version's.

    Raises:
        SettingsError: a value that every preset refuses.
    """
    known = _schemas()
    validate_overrides({key: value for key, value in settings.items() if key in known})


def parse_set_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """`--set key=value` arguments as a dictionary; values are JSON, anything that is not JSON is taken as a string.

    Raises:
        SettingsError: no "=", a key given twice, an unknown key, a refused value.
    """
    overrides: dict[str, Any] = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise SettingsError(f"Expected --set key=value; got {short(argument)!r}.")
        key = key.strip()
        if key in overrides:
            raise SettingsError(f"--set {short(key)} is given twice. Give it once, with the value that is meant.")
        try:
            overrides[key] = json.loads(text)
        except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, a thousand brackets
            overrides[key] = text
    validate_overrides(overrides)
    return overrides


def effective_settings(preset: str, overrides: dict[str, Any]) -> dict[str, Any]:
    """The values a trainer runs with: its preset under the recipe, changed by the overrides that concern it.

    A `.start` of the recommended recipe that no override gives lies at 400 steps or later, in a training of fewer than
    667 at 60 %; one that starts from a trained model does not wait for that.

    Args:
        preset: the trainer's preset.
        overrides: the plan's settings; keys of other methods are left out.

    Raises:
        SettingsError: an unknown key, or a value that this method refuses.
    """
    validate_overrides(overrides)
    entries = load_preset(preset)
    recipe = overrides.get(RECIPE, entries[RECIPE]["value"])
    settings = {key: overrides.get(key, value) for key, value in defaults(entries, recipe).items()}
    for key, value in settings.items():
        _check_value(key, value, entries[key]["schema"])
    if recipe == "recommended" and not settings[INIT_FROM]:
        earliest = _earliest_start(settings)
        for key in entries.keys() - overrides.keys():
            if key.endswith(".start") and "paper" in entries[key]:
                settings[key] = max(settings[key], earliest)
    return settings


def usual_settings(preset: str, settings: dict[str, Any]) -> dict[str, Any]:
    """What a preset gives a training of the same length, from the same start."""
    same = {key: settings[key] for key in (*LENGTH, INIT_FROM)}
    return {**effective_settings(preset, same), **{key: load_preset(preset)[key]["value"] for key in same}}


def _earliest_start(settings: dict[str, Any]) -> float:
    """The share of a training before which the recommended recipe adapts to nothing: a teacher of fewer steps knows too
    little to teach."""
    return min(STEPS_BEFORE_ADAPTATION / math.prod(settings[key] for key in LENGTH), LATEST_START)


def settings_of_all_presets(overrides: dict[str, Any]) -> dict[str, Any]:
    """Every method's own keys with the values that the overrides leave them, for planning,
    which may not know the trainer yet."""
    recipe = overrides.get(RECIPE, load_preset(BASE)[RECIPE]["value"])
    values = {key: value for name in preset_names() for key, value in defaults(load_preset(name), recipe).items()}
    return {**values, **overrides}
