"""Commands in forks of one warm process do what they do in processes of their own."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from nnuda.commands import CommandFailed, LoggedCommand, run_lanes
from nnuda.demo.warm import WarmCommand, WarmProcess

pytestmark = pytest.mark.slow
HELP = ["nnUNetv2_train", "-h"]
NO_DATASET = ["nnUDA_configure", "-d", "999", "-p", "nnUNetPlans", "--as", "other", "--set", "training.seed=2"]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    folders = {f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")}
    for folder in folders.values():
        Path(folder).mkdir()
    return {**os.environ, **folders}


def log_of(kind: type[LoggedCommand], words: list[str], environment: dict[str, str], folder: Path) -> tuple[str, str]:
    """What a command prints, and the error with which it ends."""
    log, said = folder / f"{kind.__name__}.log", ""
    command = kind(words, log, folder, environment)
    assert isinstance(command.process, WarmProcess) == (kind is WarmCommand)
    try:
        run_lanes([iter([command])], 1)
    except CommandFailed as error:
        said = str(error).replace(log.name, "LOG")
    return log.read_text(), said


@pytest.mark.parametrize("words", [HELP, NO_DATASET])
def test_it_prints_and_ends_as_in_a_process_of_its_own(words, environment, tmp_path):
    warm, cold = (log_of(kind, words, environment, tmp_path) for kind in (WarmCommand, LoggedCommand))
    assert warm == cold
    assert ("status 1" in warm[1]) == (words is NO_DATASET)


def test_the_second_command_imports_nothing(environment, tmp_path):
    log_of(WarmCommand, HELP, environment, tmp_path)
    begun = time.perf_counter()
    log_of(WarmCommand, HELP, environment, tmp_path)
    warm = time.perf_counter() - begun
    log_of(LoggedCommand, HELP, environment, tmp_path)
    assert warm < (time.perf_counter() - begun - warm) / 2


def test_it_is_ended(environment, tmp_path):
    command = WarmCommand(["nnUDA_demo", "-o", str(tmp_path / "demo")], tmp_path / "log", tmp_path, environment)
    while not (tmp_path / "demo" / "logs").exists():
        time.sleep(0.1)
    assert os.getsid(command.process.pid) == command.process.pid
    command.end()
    assert command.process.poll() is not None
