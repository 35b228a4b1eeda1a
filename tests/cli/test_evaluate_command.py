"""nnUDA_evaluate as a user runs it."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from nnuda.cli.evaluate import main
from nnuda.evaluation.conventions import SCORES_NAME

DATASET_JSON = {"labels": {"background": 0, "disc": 1}, "file_ending": ".png"}


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    labels = np.zeros((20, 20), np.uint8)
    labels[5:11, 5:11] = 1
    for folder in ("reference", "prediction"):
        (tmp_path / folder).mkdir()
        io.imsave(tmp_path / folder / "a.png", labels, check_contrast=False)
    (tmp_path / "prediction" / "dataset.json").write_text(json.dumps(DATASET_JSON))
    return tmp_path / "reference", tmp_path / "prediction"


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nnUDA_evaluate", *map(str, arguments)])
    main()


def test_table_and_json(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    io.imsave(folders[1] / "extra.png", np.zeros((20, 20), np.uint8), check_contrast=False)
    run(monkeypatch, *folders)
    text = capsys.readouterr().out
    assert "disc" in text and "1.000" in text and "pixels" in text
    assert "1 predictions without a reference, not scored: extra" in text
    assert json.loads((folders[1] / SCORES_NAME).read_text())["per_class"]["disc"]["Dice"]["mean"] == 1
    assert len((folders[1] / SCORES_NAME.replace("json", "csv")).read_text().splitlines()) == 2


def test_several_folders_are_scored_in_turn_once_all_can_be(folders, monkeypatch, capsys, tmp_path) -> None:
    other = shutil.copytree(folders[1], tmp_path / "other")
    io.imsave(other / "a.png", np.zeros((20, 20), np.uint8), check_contrast=False)
    run(monkeypatch, *folders, other)
    dice = [json.loads((f / SCORES_NAME).read_text())["per_class"]["disc"]["Dice"]["mean"] for f in (folders[1], other)]
    assert dice == [1, 0]
    text = capsys.readouterr().out
    assert text.index(f"\n{folders[1]}\n") < text.index(f"\n{other}\n") < text.index("nnUDA_compare")
    with pytest.raises(SystemExit, match="one pred_folder beside -o; got 2"):
        run(monkeypatch, *folders, other, "-o", tmp_path / "all.json")
    (other / "dataset.json").unlink()
    (folders[1] / SCORES_NAME).unlink()
    with pytest.raises(SystemExit, match="other"):
        run(monkeypatch, *folders, other)
    assert not (folders[1] / SCORES_NAME).exists()


def test_preset_and_tolerance(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    run(monkeypatch, *folders, "--preset", "crossmoda", "--nsd-tolerance", "2", "disc=0.5")
    text = capsys.readouterr().out
    assert "ASSD" in text and "HD95" not in text and "NSD" not in text
    assert json.loads((folders[1] / SCORES_NAME).read_text())["rules"]["disc"]["tolerance"] == 0.5
    for word in ("disc=wide", "-1", "nan"):
        with pytest.raises(SystemExit, match="number of mm"):
            run(monkeypatch, *folders, f"--nsd-tolerance={word}")
    for words, name in ((("1", "2"), "all classes"), (("disc=1", "disc=2"), "disc")):
        with pytest.raises(SystemExit, match=f"expected one number for {name}, got a second one"):
            run(monkeypatch, *folders, "--nsd-tolerance", *words)


def test_errors_are_one_clear_line(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    content = json.loads((folders[1] / "dataset.json").read_text())
    (folders[1] / "dataset.json").write_text(json.dumps({**content, "labels": {"background": 0, "disc": 9}}))
    with pytest.raises(SystemExit, match="also holds .*-djfile"):
        run(monkeypatch, *folders)
    (folders[1] / "dataset.json").unlink()
    with pytest.raises(SystemExit, match="-djfile"):
        run(monkeypatch, *folders)
    with pytest.raises(SystemExit, match="nowhere.json: expected a dataset.json .*; got no file"):
        run(monkeypatch, *folders, "-djfile", "nowhere.json")
    with pytest.raises(SystemExit, match="pred_folder: expected another folder; got .*, which is there twice"):
        run(monkeypatch, *folders, folders[1])
    assert not (folders[1] / SCORES_NAME).exists()


@pytest.mark.parametrize("content", ["{", "[]", '{"a": 1}', '{"labels": {"background": 0, "disc": "x"}}'])
def test_another_file_for_dataset_json(folders, monkeypatch, tmp_path, content) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(SystemExit, match="x.json: expected a dataset.json of nnU-Net's; got .*-djfile"):
        run(monkeypatch, *folders, "-djfile", tmp_path / "x.json")
    with pytest.raises(SystemExit, match="x.json: expected a plans.json; got .*-pfile"):
        run(monkeypatch, *folders, "-pfile", tmp_path / "x.json")


@pytest.mark.parametrize("output", ["prediction/dataset.json", "results.json", "folder.json", "mine.csv/x.json"])
def test_a_users_file_is_not_replaced(folders, monkeypatch, tmp_path, output) -> None:
    (tmp_path / "folder.json").mkdir()
    for name in ("results.csv", "mine.csv"):
        (tmp_path / name).write_text("mine")
    monkeypatch.setattr("nnuda.evaluation.scores.evaluate_folder", lambda *_, **__: pytest.fail("after the work"))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(SystemExit, match="Error: -o: "):
        run(monkeypatch, *folders, "-o", tmp_path / output)
    assert sorted(tmp_path.rglob("*")) == before and (tmp_path / "results.csv").read_text() == "mine"


def test_its_own_files_and_with_force_others_are_replaced(folders, monkeypatch, tmp_path) -> None:
    run(monkeypatch, *folders)
    run(monkeypatch, *folders)
    (tmp_path / "results.csv").write_text("mine")
    run(monkeypatch, *folders, "-o", tmp_path / "results.json", "--force")
    assert "disc" in (tmp_path / "results.csv").read_text()


def test_a_folder_against_itself_is_said(folders, monkeypatch, capsys) -> None:
    run(monkeypatch, folders[1], folders[1])
    assert "NOTE: references and predictions are the same folder" in capsys.readouterr().out


def test_a_class_called_by_markup_or_escapes_is_shown_as_it_is(folders, monkeypatch, capsys) -> None:
    labels = {"background": 0, "[red]\x1b[2J[/]": 1}
    (folders[1] / "dataset.json").write_text(json.dumps({**DATASET_JSON, "labels": labels}))
    run(monkeypatch, *folders)
    assert "[red]\\x1b[2J[/]" in capsys.readouterr().out
