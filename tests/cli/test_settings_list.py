"""nnUDA_configure --list: every setting of a trainer, on a terminal of 80 columns."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from nnuda.cli.configure import main
from nnuda.cli.settings_list import settings_list
from nnuda.find_trainer import find_trainer
from nnuda.trainer_files import known_trainers, preset_of

PLANS = Path(__file__).parents[2] / "plans"
FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed")


def entries(name: str) -> dict[str, dict]:
    return json.loads((PLANS / f"{name}.json").read_text(encoding="utf-8"))


def blocks(text: str) -> dict[str, str]:
    """Setting -> its lines, joined by spaces."""
    found = (" ".join(block.split()) for block in text.split("\n\n"))
    return {block.partition(" ")[0]: block for block in found if "." in block.partition(" ")[0]}


@pytest.mark.parametrize("name", ["source_only", "tcsa", "uuds"])
def test_all_are_there_with_value_and_help(name):
    merged = {**entries("base"), **entries(name)}
    text = settings_list(name, {})
    assert max(map(len, text.splitlines())) <= 80
    listed = blocks(text)
    assert listed.keys() == merged.keys()
    for key, entry in {**entries("base"), **{k: v for k, v in entries(name).items() if "help" in v}}.items():
        assert entry["help"] in listed[key]
    for key, entry in merged.items():
        shown = json.dumps(entry.get("value", None)).replace('"', "")
        if "value" in entry and " " not in shown:  # others are wrapped
            assert f" {shown} " in listed[key]


def test_what_a_plan_changes_is_shown_beside_the_presets_value():
    listed = blocks(settings_list("uuds", {"training.seed": 7, "tcsa.some.weight": 3, "training.recipe": "paper"}))
    assert "7 (preset:" in listed["training.seed"] and "null)" in listed["training.seed"]
    assert " 0.99 " in listed["teacher.decay"] and "tcsa.some.weight" not in listed
    assert blocks(settings_list("uuds", {}, "teacher.")).keys() == {k for k in listed if k.startswith("teacher.")}


def test_no_dataset_and_no_folder_is_needed(monkeypatch, capsys):
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)
    main(["--list", "teacher.decay", "-tr", "nnUDATrainerAdapt"])
    assert "teacher.decay" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--list"], "Expected -tr TRAINER, or a plan with -d SOURCE. Trainers: nnUDATrainer, "),
        (["--list", "-tr", "nnUNetTrainer"], "-tr: expected one of nnUDATrainer, .*; got nnUNetTrainer"),
        (["--list", "decay", "-tr", "nnUDATrainer"], "such as training, augmentation, .*; got 'decay'"),
        (["--list", "-d", "501"], "nnUNet_raw is not set"),
        (["-d", "501"], "Expected -d SOURCE and --as NAME"),
        (["-d", "501", "--as", "x"], "nnUNet_raw is not set"),
    ],
)
def test_errors(arguments, says, monkeypatch):
    for name in FOLDERS:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit, match=f"Error: .*{says}"):
        main(arguments)


def test_the_preset_is_that_of_the_class():
    assert {name: preset_of(name) for name in known_trainers()} == {
        name: find_trainer(name).preset for name in known_trainers()
    }
    assert preset_of("nnUNetTrainer") is None
