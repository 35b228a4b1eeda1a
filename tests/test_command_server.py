"""Commands that are forked from the server against the installed scripts."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from command_server import commands, scripts

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
REAL = Path(sys.executable).parent


def ended(folder: Path, words: list[str], tmp_path: Path) -> tuple[int, str, str]:
    environment = {
        **os.environ,
        **{f"nnUNet_{name}": str(tmp_path / name) for name in ("raw", "preprocessed", "results")},
    }
    done = subprocess.run(
        [str(folder / words[0]), *words[1:]], env=environment, cwd=tmp_path, capture_output=True, text=True
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["nnUDA_check", "--version"],
        ["nnUDA_evaluate", "labels", "there"],  # an error of ours: one line
        ["nnUDA_evaluate"],  # argparse's
        ["nnUNetv2_train", "501", "2d", "0", "-tr", "nnUDATrainerNone", "-device", "cpu"],  # of nnU-Net's
    ],
)
def test_same_output_and_status(words, tmp_path):
    forked, real = (ended(folder, words, tmp_path) for folder in (commands().folder, REAL))
    assert forked[0] == real[0]
    if "Traceback" in real[2]:  # its frames differ
        forked, real = ([text.splitlines()[-1:] for text in one[1:]] for one in (forked, real))
    assert forked == real


@pytest.mark.slow
def test_every_command_is_there():
    assert {"nnUDA_adapt", "nnUNetv2_train"} <= scripts().keys()
    assert all(os.access(commands().folder / name, os.X_OK) for name in scripts())


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_the_command_behind_it(tmp_path, number):
    """nnUNetv2_train waits in its first import of a trainer that sleeps."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "nnUNetTrainerSleeps.py").write_text(
        f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)\n"
    )
    words = ["nnUNetv2_train", "501", "2d", "0", "-tr", "nnUNetTrainerSleeps", "-device", "cpu"]
    environment = {**os.environ, "nnUNet_extTrainer": str(tmp_path / "trainers")}
    process = subprocess.Popen(
        [str(commands().folder / words[0]), *words[1:]],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
        assert process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    assert process.wait(30) == -number
    command, end = Path("/proc") / (tmp_path / "pid").read_text(), time.time() + 10
    while command.exists() and time.time() < end:
        time.sleep(0.1)
    assert not command.exists()
