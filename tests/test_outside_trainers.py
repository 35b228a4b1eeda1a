"""Trainers and presets in a folder of the user's own, named by nnUNet_extTrainer: as good as nnuda's."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from planning_pairs import SOURCE, TARGET, _planned_once, _stock_once, checksums, folders, pair, planned  # noqa: F401

from nnuda.cli import check, configure, plan_experiment
from nnuda.errors import NnudaError
from nnuda.find_trainer import TrainerError, find_trainer
from nnuda.plan_key import KEY
from nnuda.planning.memory import memory_factor
from nnuda.registration import VARIABLE, trainers_folder
from nnuda.settings import (
    SettingsError,
    effective_settings,
    load_preset,
    own_preset_names,
    parse_set_arguments,
    preset_names,
)
from nnuda.trainer_files import known_trainers, outside_trainers, own_trainers, preset_files

NUMBER = {"type": "number", "minimum": 0}
ENTRY = {"value": 0.5, "schema": NUMBER, "help": "Weight of my loss."}
TRAINER = '''
from nnuda.settings import SettingsError
from nnuda.training.trainer import nnUDATrainer


class nnUNetTrainerMyIdea(nnUDATrainer):
    """Mine."""

    preset = "mine"

    @classmethod
    def memory_factor(cls, settings):
        return 3.0 + settings["mine.entropy.weight"]

    @classmethod
    def reads_class_embeddings(cls, settings):
        return settings["mine.text"]

    @classmethod
    def check(cls, settings, class_names):
        if settings["mine.text"] and "box" not in class_names:
            raise SettingsError("mine.text needs a box")


class Child(nnUNetTrainerMyIdea):
    """Without a preset of its own."""
'''
PRESET = {
    "mine.entropy.weight": ENTRY,
    "training.num_epochs": {"value": 7},
    "mine.text": {"value": False, "schema": {"type": "boolean"}, "help": "Read the texts."},
}


class Folder:
    """A user's folder of trainers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.mkdir(parents=True)

    def trainer(self, text: str = TRAINER, name: str = "whatever") -> None:
        (self.path / f"{name}.py").write_text(text)

    def preset(self, content: object, name: str = "mine") -> Path:
        file = self.path / f"{name}.json"
        file.write_text(content if isinstance(content, str) else json.dumps(content))
        return file


@pytest.fixture
def mine(tmp_path, monkeypatch) -> Folder:
    """An empty folder before nnuda's own in nnUNet_extTrainer."""
    folder = Folder(tmp_path / "mine")
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(folder.path), str(tmp_path / "not there"), trainers_folder()]))
    return folder


def test_the_preset_is_the_classs_not_the_names(mine):
    mine.trainer()
    mine.preset(PRESET)
    assert find_trainer("nnUNetTrainerMyIdea").preset == find_trainer("Child").preset == "mine"
    assert outside_trainers() == ["Child", "nnUNetTrainerMyIdea"]
    assert known_trainers() == ["nnUDATrainer", *own_trainers(), "Child", "nnUNetTrainerMyIdea"]
    assert preset_names() == tuple(sorted([*own_preset_names(), "mine"]))
    merged = load_preset("mine")
    assert merged["mine.entropy.weight"] == {**ENTRY, "source": "not given"}
    assert merged["training.num_epochs"] == {**load_preset("base")["training.num_epochs"], "value": 7}


def test_each_of_nnudas_trainers_says_its_preset():
    presets = {find_trainer(trainer).preset for trainer in ["nnUDATrainer", *own_trainers()]}
    assert presets == {"base", *own_preset_names()}
    assert find_trainer("nnUDATrainerSourceOnly").preset == "source_only"


def test_settings_of_both_places_are_checked_alike(mine):
    mine.trainer()
    mine.preset(PRESET)
    overrides = parse_set_arguments(["mine.entropy.weight=2", "uuds.dam=adain"])
    settings = effective_settings("mine", overrides)
    assert settings["mine.entropy.weight"] == 2 and settings["training.num_epochs"] == 7
    assert not any(key.startswith("uuds.") for key in settings)
    with pytest.raises(SettingsError, match="Did you mean mine.entropy.weight"):
        parse_set_arguments(["mine.entropie.weight=2"])
    with pytest.raises(SettingsError, match="mine.entropy.weight: expected a value that meets"):
        parse_set_arguments(["mine.entropy.weight=-2"])


def test_a_preset_read_again_after_a_change(mine):
    mine.trainer()
    file = mine.preset(PRESET)
    assert load_preset("mine")["mine.entropy.weight"]["value"] == 0.5
    mine.preset({"mine.entropy.weight": {**ENTRY, "value": 1}})
    os.utime(file, ns=(1, 1))
    assert load_preset("mine")["mine.entropy.weight"]["value"] == 1 and "mine.text" not in load_preset("mine")


def test_in_a_package_below_the_folder_and_by_another_name_of_the_base(mine):
    package = Folder(mine.path / "packed" / "deep")
    for folder in (package.path, package.path.parent):
        (folder / "__init__.py").touch()
    package.trainer(
        "import nnuda.training.trainer as base\n\n\nclass Deep(base.nnUDATrainer):\n    preset: str = 'mine'\n"
    )
    package.preset(PRESET)
    assert outside_trainers() == ["Deep"] and find_trainer("Deep").preset == "mine" and "mine" in preset_names()


def test_what_no_trainer_names_is_left_alone(mine):
    mine.trainer("def broken(:\n", "broken")
    mine.trainer("class Other:\n    preset = 'missing'\n", "other")
    mine.preset("{ no JSON", "notes")
    assert preset_names() == own_preset_names() and outside_trainers() == []


@pytest.mark.parametrize("content, message", [
    ("{ no JSON", "expected a preset; got no JSON"),
    ('{"mine.a": {"value": 1}, "mine.a": {"value": 2}}', "the entry 'mine.a' twice"),
    ([1], "expected a preset; got .*Each entry has value, schema, help"),
    ({"mine.a": 1}, "expected a preset; got mine.a: 1 is not of type"),
    ({"mine.a": {"schema": NUMBER, "help": "x"}}, "mine.a: expected value, schema, help .*; missing: value; unknown: none"),
    ({"mine.a": {"value": 1, "help": "x"}}, "missing: schema"),
    ({"mine.a": {"value": 1, "schema": NUMBER}}, "missing: help"),
    ({"mine.a": {**ENTRY, "hlep": "x"}}, "unknown: hlep"),
    ({"training.num_epochs": {"valeu": 1}}, "unknown: valeu"),
    ({"mine.a": {**ENTRY, "value": "one"}}, 'mine.a: expected a value that meets {"type": "number"'),
    ({"mine.a": {**ENTRY, "schema": {"type": "nmuber"}}}, "its schema is no JSON schema"),
    ({"training.num_epochs": {"value": "many", "schema": {"type": "string"}}}, "training.num_epochs: expected a value"),
    ({"training.mine": ENTRY}, "training.mine: expected a key of base.json or one that begins with mine."),
    ({"uuds.dam": ENTRY}, "uuds.dam: expected a key of base.json or one that begins with mine."),
    ({"mine.Weight": ENTRY}, "mine.Weight: expected a key"),
    ({"mine.class.weight": {"value": [1, 2], "schema": {"type": "array"}, "help": "x"}}, "makes a loss term, so its value"),
    ({"mine.teacher.weight": ENTRY}, "a loss term called teacher, which is the name of teacher.weight too"),
    ({"mine.source.weight": ENTRY}, "the source's own loss"),
    ({"mine.a.weight": ENTRY, "mine.b.a.weight": ENTRY}, "a loss term called a, which is the name of mine.a.weight too"),
])  # yapf: disable
def test_a_wrong_preset_is_one_error_that_names_its_file(mine, content, message):
    mine.trainer()
    file = mine.preset(content)
    with pytest.raises(NnudaError, match=message) as error:
        load_preset("mine")
    assert str(file) in str(error.value)
    with pytest.raises(NnudaError, match=str(file)):
        parse_set_arguments(["training.num_epochs=1"])


@pytest.mark.parametrize("name", ["My-Preset", "training", "2mine"])
def test_a_wrong_name(mine, name):
    mine.trainer(
        f"from nnuda.training.trainer import nnUDATrainer\n\n\nclass A(nnUDATrainer):\n    preset = {name!r}\n"
    )
    file = mine.preset({f"{name}.a": ENTRY}, name)
    with pytest.raises(SettingsError, match=f"{file}: expected a name of small letters.*got {name!r}"):
        load_preset(name)


@pytest.mark.parametrize("name", ["uuds", "base"])
def test_a_name_of_nnudas(mine, name):
    mine.trainer(TRAINER.replace('"mine"', f'"{name}"'))
    mine.preset({}, name)
    with pytest.raises(SettingsError, match=rf"Expected one preset {name}; there are .*{name}.json and .*{name}.json"):
        load_preset(name)


def test_two_folders_with_the_same_preset(mine, tmp_path, monkeypatch):
    other = Folder(tmp_path / "other")
    for folder in (mine, other):
        folder.trainer()
        folder.preset(PRESET)
    monkeypatch.setenv(VARIABLE, os.pathsep.join([os.environ[VARIABLE], str(mine.path), str(other.path)]))
    assert len(preset_files()["mine"]) == 2
    with pytest.raises(SettingsError, match="another name"):
        load_preset("mine")


def test_a_preset_that_is_not_there(mine):
    mine.trainer()
    with pytest.raises(SettingsError, match="got 'mine'.*mine.json, in a folder of nnUNet_extTrainer"):
        memory_factor("nnUNetTrainerMyIdea", {})


def test_trainers_that_cannot_be_had(mine):
    mine.trainer()
    mine.preset(PRESET)
    for name in ("nnUDATrainerMine", "nnUNetTrainer"):
        with pytest.raises(
            TrainerError,
            match=f"-tr: expected one of nnuda's trainers .nnUDATrainer, .*nnUDATrainerUUDS.*"
            f"nnUNetTrainerMyIdea.*; got {name}",
        ):
            find_trainer(name)
    mine.trainer("import package_that_nobody_has\n", "a_first")
    with pytest.raises(TrainerError, match="cannot load nnUNetTrainerMyIdea: .*package_that_nobody_has.* must import"):
        find_trainer("nnUNetTrainerMyIdea")


def test_the_factor_is_asked_of_the_class(mine):
    mine.trainer()
    mine.preset(PRESET)
    assert memory_factor("nnUNetTrainerMyIdea", {}) == memory_factor("Child", {}) == 3.5
    assert memory_factor("nnUNetTrainerMyIdea", {"mine.entropy.weight": 1}) == 4
    assert memory_factor("nnUNetTrainerMyIdea", {"planning.memory_factor": 2.0, "training.batch": "total"}) == 1


def refused(command, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    return str(ended.value)


@pytest.mark.slow
def test_planning_asks_the_class(mine, planned):
    mine.trainer()
    file = mine.preset(PRESET)
    pair = ["-d", "701", "-t", "702", "-np", "1", "-tr", "nnUNetTrainerMyIdea"]
    plan_experiment.main([*pair, "--set", "mine.entropy.weight=0.1"])
    key = planned.plan()[KEY]
    assert key["settings"] == {"mine.entropy.weight": 0.1} and key["memory"]["step"] == "nnUNetTrainerMyIdea"
    configure.main(["-d", "701", "--as", "more", "--set", "mine.entropy.weight=0.2"])
    assert planned.plan("more")[KEY]["settings"] == {"mine.entropy.weight": 0.2}
    before = checksums(planned.preprocessed)
    assert "reads class embeddings" in refused(plan_experiment, [*pair, "--set", "mine.text=true"])
    mine.preset("{")
    assert str(file) in refused(plan_experiment, pair)
    assert checksums(planned.preprocessed) == before
    assert (SOURCE, TARGET) == (key["source"], key["target"]["name"])


@pytest.mark.slow
def test_the_check_lists_it_and_says_what_is_wrong(mine, planned, capsys):
    mine.trainer()
    file = mine.preset(PRESET)
    with pytest.raises(SystemExit):
        check.main([])
    assert "nnUNetTrainerMyIdea             Mine." in capsys.readouterr().out
    mine.preset("{")
    with pytest.raises(SystemExit) as ended:
        check.main([])
    assert ended.value.code == 1 and f"{file}: expected a preset; got no JSON" in capsys.readouterr().out
