"""nnUDA_check on odd environments."""

from __future__ import annotations

from pathlib import Path

import pytest

from nnuda.cli.check import main

NAMES = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")


def problems(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folders: tuple) -> str:
    for name, folder in zip(NAMES, folders):
        monkeypatch.setenv(name, str(folder))
    monkeypatch.setattr("nnuda.cli.check._trainers", list)
    monkeypatch.setattr("nnuda.cli.check._device", list)
    with pytest.raises(SystemExit):
        main([])
    return capsys.readouterr().out


@pytest.fixture
def folders(tmp_path: Path) -> list[Path]:
    found = [tmp_path / name for name in ("raw", "pre", "res", "res/inside")]
    for folder in found:
        folder.mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "raw")
    (tmp_path / "file").touch()
    return found


def test_three_folders_are_right(monkeypatch, capsys, folders) -> None:
    assert "nnUNet" not in problems(monkeypatch, capsys, folders[:3]).partition("WRONG")[2]


@pytest.mark.parametrize(
    ("odd", "says"),
    [
        (("raw", "raw", "raw"), "nnUNet_raw and nnUNet_preprocessed are the same folder"),
        (("raw", "link", "res"), "nnUNet_raw and nnUNet_preprocessed are the same folder"),
        (("res/inside", "pre", "res"), "nnUNet_raw and nnUNet_results lie one in the other"),
        (("raw", "file", "res"), "which is no folder"),
        (("raw", "nope", "res"), "which is no folder"),
        (("raw", "", "res"), "nnUNet_preprocessed is not set"),
    ],
)
def test_odd_folders_are_named(monkeypatch, capsys, tmp_path, folders, odd, says) -> None:
    assert says in problems(monkeypatch, capsys, tuple(tmp_path / name if name else "" for name in odd))


def test_relative_and_read_only_folders(monkeypatch, capsys, tmp_path, folders) -> None:
    monkeypatch.chdir(tmp_path)
    assert "nnUNet_preprocessed is a relative path, pre" in problems(
        monkeypatch, capsys, (folders[0], "pre", folders[2])
    )
    assert "/proc cannot be written to" in problems(monkeypatch, capsys, (folders[0], folders[1], "/proc"))
