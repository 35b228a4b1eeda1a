"""nnUDA_report as a user runs it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "report"))

from made_run import make_run, write_images, write_predictions  # noqa: E402

from nnuda.cli import report  # noqa: E402


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["nnUDA_report", *map(str, arguments)])
    report.main()


def test_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    folder = make_run(tmp_path / "results")
    write_predictions(tmp_path / "predictions" / "epoch_0001", {"a": 0, "b": 3})
    predictions = tmp_path / "predictions" / "epoch_0001"
    labels, images = write_predictions(tmp_path / "labels", {"a": 0}), write_images(tmp_path / "images", ["a", "b"])
    run(
        monkeypatch,
        folder,
        "--predictions",
        predictions,
        "-i",
        images,
        "-gt",
        labels,
        "--epoch-predictions",
        tmp_path / "predictions",
        "-np",
        1,
        "--histogram-cases",
        0,
        "--feature-cases",
        0,
    )
    page = folder / "nnuda_report.html"
    assert f"Written: {page}" in capsys.readouterr().out
    assert "the best of the 1 epochs that were predicted is epoch 1, Dice 1.000" in page.read_text()
    assert not list(folder.glob("*.tmp"))


def test_errors_are_one_clear_line_before_any_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, output = make_run(tmp_path / "results"), tmp_path / "report.html"
    predictions = write_predictions(tmp_path / "predictions", {"a": 0})
    monkeypatch.setattr("nnuda.report.run_page.report_html", lambda run, request: pytest.fail("it was begun"))
    scored = ("--predictions", predictions, "-gt", predictions)
    mine = tmp_path / "mine.html"
    mine.write_text("<html>mine</html>")
    other = write_predictions(tmp_path / "other" / "epoch_99", {"a": 0}).parent
    for arguments, message in [
        ((tmp_path / "nothing",), "Error: fold_folder: expected a folder; .*nothing"),
        ((folder, "-gt", predictions), "Expected --predictions with -gt"),
        ((folder, *scored[:2], "--names", "one", "other"), "Expected --before-predictions with --names"),
        ((folder, *scored[:2], "--epoch-predictions", tmp_path), "Expected -gt with --epoch-predictions"),
        (
            (folder, *scored[:2], "--before-predictions", predictions.parent / "." / "predictions"),
            "--before-predictions: expected another folder; got .* the folder of --predictions itself",
        ),
        ((folder, "--before", folder), "--before: expected another folder; got .* the folder of fold_folder itself"),
        ((folder, "--before", folder.parent), "--before: expected another folder; .*fold_0, the folder of fold_folder"),
        ((folder, *scored, "--epoch-predictions", tmp_path), "Expected folders epoch_0"),
        ((folder, *scored, "--epoch-predictions", other), "label-free scores of; got 99, and scores of"),
        (
            (folder, "--predictions", tmp_path / "nothing"),
            "Error: --predictions: expected a folder; .*nothing is not there",
        ),
        ((folder, "--before", tmp_path), "--before: expected fold 0 in .*there are: none"),
        ((folder, "-o", mine), "Error: -o: .*mine.html is there, and this command did not write it"),
        ((folder, "-o", mine / "report.html"), "Error: -o: .*mine.html is a file"),
    ]:
        with pytest.raises(SystemExit, match=message):
            run(monkeypatch, *(arguments if "-o" in arguments else (*arguments, "-o", output)))
    assert not output.exists() and mine.read_text() == "<html>mine</html>"
