from __future__ import annotations

import pytest

from nnuda.settings import (
    SettingsError,
    effective_settings,
    load_preset,
    parse_set_arguments,
    preset_names,
    usual_settings,
    validate_overrides,
)


def test_a_method_preset_overlays_the_base():
    base, uuds = load_preset("base"), load_preset("uuds")
    assert base.keys() < uuds.keys()
    assert uuds["planning.memory_factor"]["value"] != base["planning.memory_factor"]["value"]
    assert uuds["planning.memory_factor"]["schema"] == base["planning.memory_factor"]["schema"]  # inherited


def test_a_preset_can_be_changed_without_changing_the_next_one_loaded():
    load_preset("uuds")["teacher.weight"]["value"] = 7
    assert load_preset("uuds")["teacher.weight"]["value"] == 1


def test_an_unknown_preset_lists_the_known_ones():
    with pytest.raises(SettingsError, match="source_only.*uuds.*got 'uudz'"):
        load_preset("uudz")


def test_set_arguments_are_json_or_bare_words():
    parsed = parse_set_arguments(
        [
            "training.num_epochs=5",
            "uuds.domain_prompt=false",
            "uuds.text.model=null",
            "uuds.dam=adain",
            "uuds.text.domain_prompt=a = b",
            "training.init_from=/data/fold_0",
        ]
    )
    assert parsed == {
        "training.num_epochs": 5,
        "uuds.domain_prompt": False,
        "uuds.text.model": None,
        "uuds.dam": "adain",
        "uuds.text.domain_prompt": "a = b",
        "training.init_from": "/data/fold_0",
    }


def test_no_equals_sign():
    with pytest.raises(SettingsError, match="Expected --set key=value; got 'training.num_epochs'"):
        parse_set_arguments(["training.num_epochs"])


@pytest.mark.parametrize(
    "written, nearest",
    [
        ("training.num_epoch", "training.num_epochs"),
        ("teacher.wieght", "teacher.weight"),
        ("uuds.contrast.temperature", "uuds.contrast"),
    ],
)
def test_an_unknown_key_names_the_nearest(written, nearest):
    with pytest.raises(SettingsError, match=f"Unknown setting '{written}'. Did you mean {nearest}"):
        parse_set_arguments([f"{written}=1"])


@pytest.mark.parametrize(
    "argument",
    [
        "training.num_epochs=0",
        "training.num_epochs=true",
        "training.num_epochs=ten",
        "uuds.dam=gates",
        "teacher.decay=1",
        "training.num_epochs=1e3",  # range() takes no float
        "training.seed=-1",
        "teacher.weight=NaN",  # would switch the term off without a word
        "teacher.weight=Infinity",
        "uuds.pseudo_label.chi=1e999",
        "uuds.pseudo_label.chi=0",
    ],
)
def test_a_value_outside_its_schema(argument):
    with pytest.raises(SettingsError, match=f"Setting {argument.partition('=')[0]}: expected a value that meets"):
        parse_set_arguments([argument])


def test_what_one_method_refuses_another_may_take():
    """Only source_only narrows the optimiser to nnU-Net's: the plan may hold "paper", for UUDS."""
    overrides = parse_set_arguments(["training.optimizer=paper"])
    assert effective_settings("uuds", overrides)["training.optimizer"] == "paper"
    with pytest.raises(SettingsError, match="training.optimizer"):
        effective_settings("source_only", overrides)
    with pytest.raises(SettingsError, match="training.optimizer"):
        validate_overrides({"training.optimizer": "adam"})


def test_effective_settings_take_the_overrides_that_concern_the_method():
    overrides = {"training.num_epochs": 30, "uuds.dam": "adain"}
    assert effective_settings("uuds", overrides) == {**effective_settings("uuds", {}), **overrides}
    plain = effective_settings("source_only", overrides)
    assert plain["training.num_epochs"] == 30 and not any(key.startswith("uuds.") for key in plain)


def test_every_preset_runs_as_it_stands():
    for name in preset_names():
        assert effective_settings(name, {}) == {key: entry["value"] for key, entry in load_preset(name).items()}


def test_the_papers_recipe_is_one_setting():
    paper = effective_settings("uuds", {"training.recipe": "paper"})
    assert paper["training.augmentation"] == "nnunet" and paper["teacher.weight"] == 0
    assert paper["uuds.pseudo_label.weight"] == 1 and not paper["uuds.generator.detached"]
    assert effective_settings("uuds", {})["training.augmentation"] == "strong"


@pytest.mark.parametrize(
    "epochs, iterations, start",
    [(1000, 250, 0.25), (8, 200, 0.25), (8, 100, 0.5), (5, 40, 0.6), (1, 1, 0.6), (20, 20, 0.6), (10, 80, 0.5)],
)
def test_a_short_training_adapts_after_400_steps_or_at_60_percent(epochs, iterations, start):
    length = {"training.num_epochs": epochs, "training.num_iterations_per_epoch": iterations}
    for preset in preset_names():
        settings, paper = (
            effective_settings(preset, {**length, "training.recipe": r}) for r in ("recommended", "paper")
        )
        moved = {key for key in settings if key.endswith(".start") and settings[key] != paper[key]}
        assert "teacher.start" in moved
        assert [settings[key] for key in moved] == pytest.approx([start] * len(moved))
        assert paper["teacher.start"] == 0.1
    given = effective_settings("uuds", {**length, "uuds.contrast.start": 0.1})
    assert given["uuds.contrast.start"] == 0.1 and given["teacher.start"] == pytest.approx(start)


def test_a_short_training_from_a_trained_model_does_not_wait():
    """Its teacher knows the source from the first step on."""
    given = {"training.num_epochs": 5, "training.num_iterations_per_epoch": 40}
    settings = effective_settings("adapt", {**given, "training.init_from": "model.pth"})
    assert settings["teacher.start"] == 0.25 and effective_settings("adapt", given)["teacher.start"] == 0.6
    usual = usual_settings("adapt", settings)
    assert {key for key in settings if settings[key] != usual[key]} == {*given, "training.init_from"}


def test_a_single_setting_counts_under_either_recipe():
    for recipe in ("paper", "recommended"):
        assert effective_settings("adapt", {"training.recipe": recipe, "teacher.weight": 0.3})["teacher.weight"] == 0.3


def test_what_a_method_gives_for_a_base_key_holds_under_both_recipes():
    for recipe in ("paper", "recommended"):
        settings = effective_settings("source_only", {"training.recipe": recipe})
        assert settings["training.augmentation"] == "nnunet" and settings["teacher.weight"] == 0
    assert effective_settings("transmedseg", {"training.recipe": "paper"})["teacher.weight"] == 1


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["training.num_epochs=5", "training.num_epochs=5"], "--set training.num_epochs is given twice"),
        (["training.num_epochs=5", " training.num_epochs =7"], "--set training.num_epochs is given twice"),
        (["training.num_epochs=" + "9" * 400], "training.num_epochs.*[(]400 characters[)]"),
        (["training.num_epochs=" + "9" * 5000], "training.num_epochs"),
        (["training.num_epochs=" + "[" * 100_000], "training.num_epochs"),
        (["training.num_epochs=1000000001"], "training.num_epochs"),
        (["training.num_epochs=1e999"], "training.num_epochs"),
        (["training.seed=4294967296"], "training.seed"),
        (["teacher.weight=" + "9" * 400], "teacher.weight"),
        (["a" * 100_000 + "=1"], "Unknown setting"),
        (["a" * 100_000], "key=value"),
    ],
)
def test_absurd_arguments_are_one_short_error(arguments, says):
    with pytest.raises(SettingsError, match=says) as error:
        parse_set_arguments(arguments)
    assert len(str(error.value)) < 1500


def test_the_largest_seed_passes():
    assert parse_set_arguments(["training.seed=4294967295"]) == {"training.seed": 2**32 - 1}
