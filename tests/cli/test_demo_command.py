"""nnUDA_demo as a user calls it."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from nnuda.cli.demo import main
from nnuda.commands import CommandFailed
from nnuda.demo import workflow


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    monkeypatch.setattr(sys, "argv", ["nnUDA_demo", "-o", str(tmp_path)])
    with pytest.raises(SystemExit, match="new or empty folder"):
        main()
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


def test_a_failed_command_ends_the_demo_with_its_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> None:
        raise CommandFailed("nnUNetv2_train ended with status 1. The end of the log: boom")

    monkeypatch.setattr(workflow, "run_demo", fail)
    monkeypatch.setattr(sys, "argv", ["nnUDA_demo", "-o", str(tmp_path / "new")])
    with pytest.raises(SystemExit, match="boom"):
        main()
