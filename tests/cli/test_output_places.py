"""Each command that writes where the user says tries the place before it works, and names the option."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nnuda.cli import adapt, convert, demo, estimate, export, features, look, preprocess, pseudo_label, text_similarity
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
        monkeypatch.setenv(name, str(tmp_path / name))
    assert "-o: nothing can be written in /proc" in refused(text_similarity, ["-d", "1", "-o", "/proc/nope.png"])
    (tmp_path / "x.png").write_text("mine")
    assert "did not write it" in refused(text_similarity, ["-d", "1", "-o", str(tmp_path / "x.png")])


@pytest.mark.parametrize("domain", ["of_source", "of_target"])
@pytest.mark.parametrize("kind", ["file", "link"])
def test_preprocess(planned, monkeypatch: pytest.MonkeyPatch, domain: str, kind: str) -> None:
    monkeypatch.setattr(preprocess, "read_domains_of_plan", lambda *_: pytest.fail("images were looked for"))
    folder = getattr(planned, domain) / "nnUNetPlans_2d"
    shutil.rmtree(folder)
    folder.write_text("mine") if kind == "file" else folder.symlink_to("/proc/nope")
    says = f"{folder} is a file" if kind == "file" else "nothing can be written in /proc/nope"
    assert f"Error: nnUNet_preprocessed: {says}".replace(": /", ": expected a folder to write in; /") in refused(
        preprocess, ["-d", "701", "-np", "1"]
    )


def test_estimate(tmp_path: Path) -> None:
    (tmp_path / "mine.json").write_text("{}")
    (tmp_path / "A__B__2d" / "fold_0").mkdir(parents=True)
    arguments = [str(tmp_path / "A__B__2d" / "fold_0"), "--predictions", str(tmp_path)]
    assert "did not write it" in refused(estimate, [*arguments, "-o", str(tmp_path / "mine.json")])
    assert "nothing can be written in /proc" in refused(estimate, [*arguments, "-o", "/proc/nope.json"])
    assert "dataset.json: expected" in refused(estimate, [*arguments, "-o", str(tmp_path / "mine.json"), "--force"])
    assert "expected a fold of a results folder" in refused(estimate, [str(tmp_path), "--predictions", str(tmp_path)])
    for option in ("--second", "--other-epoch"):
        says = refused(estimate, [*arguments, option, f"{tmp_path}/."])
        assert f"{option}: expected another folder" in says and "the folder of --predictions itself" in says


def test_look(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("nnUNet_raw", str(tmp_path))
    pair = ["-d", "701", "-t", "702", "-o"]
    assert "nothing can be written in /proc" in refused(look, [*pair, "/proc/nope.html"])
    (tmp_path / "mine.json").write_text("{}")
    assert "mine.json is there" in refused(look, [*pair, str(tmp_path / "mine.html")])


@pytest.mark.parametrize("option", ["-o", "nnUNet_preprocessed", "nnUNet_results"])
def test_adapt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, option: str) -> None:
    monkeypatch.setattr(adapt, "read_domains", lambda *_: pytest.fail("images were looked for"))
    for name in ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results"):
        monkeypatch.setenv(name, "/proc/nope" if name == option else str(tmp_path / name))
    more = ["-o", "/proc/nope"] if option == "-o" else []
    pair = ["-d", "701", "-t", "702", "-c", "2d"]
    assert f"{option}: nothing can be written in /proc/nope" in refused(adapt, [*pair, *more])


def test_pseudo_label(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(pseudo_label, "read_domains", lambda *_: pytest.fail("images were looked for"))
    monkeypatch.setenv("nnUNet_raw", "/proc/nope")
    monkeypatch.setenv("nnUNet_preprocessed", str(tmp_path))
    arguments = ["-d", "701", "-t", "702", "-m", "x", "-o", "601", "-device", "cpu"]
    assert "nnUNet_raw: nothing can be written in /proc/nope" in refused(pseudo_label, arguments)


def test_convert(tmp_path: Path) -> None:
    assert "OUTPUT: nothing can be written in /proc" in refused(convert, ["mmwhs", str(tmp_path), "/proc/nope"])


def test_demo(tmp_path: Path) -> None:
    assert "-o: nothing can be written in /proc/x" in refused(demo, ["-o", "/proc/x"])
    (tmp_path / "x").write_text("mine")
    assert "x is a file" in refused(demo, ["-o", str(tmp_path / "x")])
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
