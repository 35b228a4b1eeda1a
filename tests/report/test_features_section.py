"""Features in the plane: which model is meant, and what is said where there is no picture."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from made_run import make_run

from nnuda.evaluation.class_features import ClassFeatures
from nnuda.report import features_section as module
from nnuda.report.features_section import NOT_CHEAP, Model, features_section, find_before, is_cheap, model_of
from nnuda.report.run import read_run
from nnuda.results import ResultsError


def test_the_model_before(tmp_path: Path) -> None:
    run, folder = read_run(str(make_run(tmp_path / "run"))), tmp_path / "before" / "nnUNetTrainer__nnUNetPlans__2d"
    for fold in ("fold_3", "fold_0"):
        (folder / fold).mkdir(parents=True)
        (folder / fold / "checkpoint_final.pth").touch()
        assert find_before(str(folder / fold), run) == Model(str(folder), fold[-1], "checkpoint_final.pth")
        assert find_before(str(folder), run).fold == fold[-1]  # the only one, then the run's own
    (folder / "fold_0" / "checkpoint_final.pth").unlink()
    with pytest.raises(ResultsError, match="--before: expected checkpoint_final.pth or .*fold_0; there are: none"):
        find_before(str(folder), run)
    assert model_of(run) == Model(str(Path(run.folder).parent), "0", "checkpoint_final.pth")


def test_what_is_said_without_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    run = read_run(str(make_run(tmp_path)))
    texts = [features_section(run, None, None, limit).blocks[0].text for limit in (0, 2)]
    assert texts == [NOT_CHEAP, "Not drawn. nnUNet_raw is not set."]


def test_a_picture_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def collect(folder: str, source: dict, target: dict, fold: str, checkpoint: str, device: object) -> ClassFeatures:
        seen.append((folder, fold, target))
        classes, domains = np.tile([0, 1, 2], 32), np.repeat([0, 1], 48)
        values = 10.0 * classes + 0.01 * (np.arange(96) % 48) + (100 * domains if folder == "b" else 0)
        return ClassFeatures(values[:, None], classes, domains, ("background", "disc", "ring"), False)

    run = read_run(str(make_run(tmp_path)))
    monkeypatch.setattr(module, "collect_features", collect)
    monkeypatch.setattr(module, "embed", lambda collected: collected.values.repeat(2, 1))
    monkeypatch.setattr(module, "_cases", lambda run, predictions, limit: ({"a": (["i"], "l")}, {"b": (["j"], "m")}))
    pictures, *texts = features_section(run, None, Model("b", "1", "checkpoint_final.pth"), 1).blocks
    assert [case[:2] for case in seen] == [("b", "1"), (str(Path(run.folder).parent), "0")]
    before, after = (picture.caption for picture in pictures.pictures)
    assert before.startswith("before: of the nearest neighbours 0 % are of the other domain")
    assert re.match("this run: of the nearest neighbours (4[5-9]|5[0-5]) % .* 100 % of the same class", after), after
    assert pictures.pictures[0].file.startswith(b"\x89PNG")
    assert any("oracle: true" in text.text for text in texts)


def test_a_gpu_that_is_taken_does_not_stop_the_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(*_: object, **__: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(module, "collect_features", out_of_memory)
    monkeypatch.setattr(module, "_cases", lambda run, predictions, limit: ({"a": (["i"], "l")}, {"b": (["j"], "m")}))
    text = features_section(read_run(str(make_run(tmp_path))), None, None, 2).blocks[0].text
    assert text.startswith("Not drawn.") and "out of memory" in text and "--feature-cases 0" in text


def test_3d_needs_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = read_run(str(make_run(tmp_path)))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert is_cheap(run)
    run.plans["configurations"]["2d"]["patch_size"] = [8, 64, 80]
    assert not is_cheap(run)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert is_cheap(run)
