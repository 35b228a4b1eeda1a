"""Settings whose value names something are tried when a plan is written."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch

from nnuda.errors import NnudaError
from nnuda.planning.setting_checks import FORMATS, tried_settings
from nnuda.settings import load_preset, own_preset_names, setting_formats

INIT = "training.init_from"


def write_checkpoint(folder: Path, name: str = "checkpoint_final.pth", **content: object) -> Path:
    folder.mkdir(exist_ok=True)
    torch.save(content or {"network_weights": {"a": torch.ones(1)}}, folder / name)
    return folder / name


@pytest.mark.parametrize("given", ["fold_0", "fold_0/checkpoint_final.pth"])
def test_a_checkpoint_that_is_there_passes_with_its_whole_path(tmp_path, monkeypatch, given) -> None:
    write_checkpoint(tmp_path / "fold_0")
    monkeypatch.chdir(tmp_path)
    assert tried_settings({INIT: given, "training.seed": 1}) == {INIT: str(tmp_path / given), "training.seed": 1}
    assert tried_settings({INIT: None}) == {INIT: None}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ("/no/such/fold_0", "training.init_from: .*/no/such/fold_0 is not there"),
        ("", "training.init_from: "),
        ("[" * 100, "training.init_from: "),
        ("empty", "training.init_from: expected checkpoint_final.pth"),
        ("cut.pth", "cut.pth: expected a checkpoint .* cannot be read"),
        ("other.pth", "other.pth: expected a checkpoint .* no network_weights"),
    ],
)
def test_a_checkpoint_that_is_none(tmp_path, monkeypatch, value, says) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    whole = write_checkpoint(tmp_path / "fold_0").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    write_checkpoint(tmp_path, "other.pth", a=1)
    with pytest.raises(NnudaError, match=says):
        tried_settings({INIT: value})


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"uuds.clip.model": "RN5000"}, "Setting uuds.clip.model: .*'RN5000'.* Nearest: RN50"),
        ({"uuds.text.model": "RN5000"}, "Setting uuds.text.model: "),
        ({"uuds.clip.model": "RN50", "uuds.clip.pretrained": "/no/such.pt"}, "such.pt"),
        ({"uuds.clip.model": "RN50", "uuds.clip.pretrained": "w.pt"}, "Setting uuds.clip.pretrained: .*RN50 in .*w.pt"),
        ({"nope": 1}, "Unknown setting 'nope'"),
        ({"training.num_epochs": "x"}, "training.num_epochs"),
    ],
)
def test_what_cannot_work_is_refused(tmp_path, monkeypatch, settings, says) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"a": torch.ones(1)}}, "w.pt")
    with pytest.raises(NnudaError, match=says):
        tried_settings(settings)


def test_a_preset_of_ones_own_says_it_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"value": None, "schema": {"type": ["string", "null"], "format": "checkpoint"}, "help": "Another model."}
    (tmp_path / "mine.json").write_text(json.dumps({"mine.other": entry}))
    (tmp_path / "mine.py").write_text("class nnUDATrainerMine(nnUDATrainer):\n    preset = 'mine'\n")
    monkeypatch.setenv("nnUNet_extTrainer", os.pathsep.join([str(tmp_path), os.environ.get("nnUNet_extTrainer", "")]))
    with pytest.raises(NnudaError, match="mine.other: .*/no/such is not there"):
        tried_settings({"mine.other": "/no/such"})


def test_every_setting_that_names_a_model_says_so() -> None:
    assert set(setting_formats().values()) <= FORMATS.keys()
    keys = {key for name in own_preset_names() for key in load_preset(name)}
    named = {key for key in keys if key.endswith((".pretrained", ".init_from", "clip.model", "text.model"))}
    assert named == setting_formats().keys()
