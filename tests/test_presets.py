"""plans/*.json: data that somebody edits by hand."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

from nnuda.settings import load_preset, own_preset_names
from nnuda.training.loss_terms import loss_terms

PLANS = Path(__file__).parents[1] / "plans"
ENTRIES = [(name, key) for name in ("base", *own_preset_names()) for key in load_preset(name)]


def written(name: str) -> dict[str, dict]:
    def refuse_duplicates(pairs: list[tuple]) -> dict:
        keys = [key for key, _ in pairs]
        assert len(keys) == len(set(keys)), sorted(key for key in keys if keys.count(key) > 1)
        return dict(pairs)

    return json.loads((PLANS / f"{name}.json").read_text(), object_pairs_hook=refuse_duplicates)


def test_every_file_is_a_preset():
    assert {path.stem for path in PLANS.glob("*.json")} == {"base", *own_preset_names()}


@pytest.mark.parametrize("name", ["base", *own_preset_names()])
def test_a_file_holds_each_key_once_and_known_fields_alone(name):
    for key, entry in written(name).items():
        assert re.fullmatch(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+", key), key
        assert entry.keys() <= {"value", "paper", "schema", "source", "help"}, key


@pytest.mark.parametrize("name, key", ENTRIES)
def test_an_entry_is_complete_and_its_value_meets_its_schema(name, key):
    entry = load_preset(name)[key]
    assert entry.keys() - {"paper"} == {"value", "schema", "source", "help"}
    Draft202012Validator.check_schema(entry["schema"])
    assert entry["schema"], "an empty schema takes anything"
    for value in (entry["value"], entry.get("paper", entry["value"])):
        Draft202012Validator(entry["schema"]).validate(value)
    assert entry["source"].strip() and entry["help"].strip() and "\n" not in entry["help"]


@pytest.mark.parametrize("name", own_preset_names())
def test_a_method_adds_keys_under_its_own_name_only(name):
    added = written(name).keys() - written("base").keys()
    assert all(key.startswith(f"{name}.") for key in added), added


@pytest.mark.parametrize("name", own_preset_names())
def test_another_value_of_a_base_key_says_where_it_comes_from(name):
    base = written("base")
    for key, entry in written(name).items():
        assert key not in base or "source" in entry, key


@pytest.mark.parametrize("name", own_preset_names())
def test_no_two_terms_share_a_name(name):
    weights = {key: 1.0 for key in load_preset(name) if key.endswith(".weight")}
    assert len(loss_terms(weights)) == len(weights)
