"""Each command that writes where the user says tries the place before it works, and names the option."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnuda.cli import demo, export, features, text_similarity
from nnuda.export import export_model
from nnuda.export.trained_model import TrainedModel


def refused(command, arguments: list[str]) -> str:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    return str(ended.value)


def test_features(tmp_path: Path) -> None:
    (tmp_path / "f.png").write_text("mine")
    for output, says in ((tmp_path / "f.png", "did not write it"), ("/proc/no/f.png", "nothing can be written in")):
        assert says in refused(features, [str(tmp_path / "model"), "-o", str(output), "-device", "cpu"])
    assert "expected fold 3" in refused(
        features, [str(tmp_path / "model"), "-o", str(tmp_path / "g.png"), "-device", "cpu", "-f", "3"]
    )


def test_text_similarity(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("nnuda.planning.plan_embeddings.planned_class_embeddings", lambda *_: "x")
    for name in ("dataset_name", "load_plan", "read_key"):
        monkeypatch.setattr(text_similarity, name, lambda *_: "x")
    for name in ("nnUNet_raw", "nnUNet_preprocessed"):
        monkeypatch.setenv(name, str(tmp_path))
    assert "-o: nothing can be written in /proc" in refused(text_similarity, ["-d", "1", "-o", "/proc/nope.png"])
    (tmp_path / "x.png").write_text("mine")
    assert "did not write it" in refused(text_similarity, ["-d", "1", "-o", str(tmp_path / "x.png")])


def test_demo(tmp_path: Path) -> None:
    assert "-o: nothing can be written in /proc/x" in refused(demo, ["-o", "/proc/x"])
    (tmp_path / "x").write_text("mine")
    assert "holds something" in refused(demo, ["-o", str(tmp_path / "x")])
    assert "x is a file" in refused(demo, ["-o", str(tmp_path / "x" / "below")])


def test_export(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plans = {"plans_name": "nnUNetPlans"}
    model = TrainedModel(str(tmp_path), "D1", "nnUDATrainerX", "2d", ("0",), "c.pth", plans, {}, "D2")
    monkeypatch.setattr("nnuda.export.trained_model.find_model", lambda *_: model)
    monkeypatch.setattr(export_model, "check_network", lambda _: pytest.fail("after the work"))
    arguments = ["-d", "1", "-c", "2d", "-tr", "X", "-f", "0", "-device", "cpu"]
    assert "-o: nothing can be written in /proc/x" in refused(export, [*arguments, "-o", "/proc/x"])
    (tmp_path / "file").touch()
    assert "file is a file" in refused(export, [*arguments, "-o", str(tmp_path / "file")])


def test_the_pictures_of_a_command_are_its_own(tmp_path: Path) -> None:
    import numpy as np

    from nnuda.files import PICTURE_MARK, check_output
    from nnuda.text.similarity import draw_gram

    file = str(tmp_path / "a.png")
    draw_gram(("a", "b"), {"cosines": np.eye(2)}, "title", file)
    check_output(file, "-o", PICTURE_MARK)
