"""nnUNetv2_train with background workers is interrupted: one line, a shell's status, no process left, a whole
checkpoint to go on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nnuda.results import load_checkpoint

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
TRAINER = "nnUDATrainerSourceOnly"


def group(leader: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, of = Path(f"/proc/{entry}/stat").read_text().rsplit(")", 1)[1].split()[:3]
        except OSError:
            continue
        if int(of) == leader and state != "Z":
            found.append(int(entry))
    return found


def wait_until(condition, seconds: float) -> bool:
    end = time.time() + seconds
    while not condition() and time.time() < end:
        time.sleep(0.1)
    return condition()


@pytest.mark.parametrize(
    ("number", "status", "says"),
    [
        (signal.SIGTERM, 143, "Terminated. Add --c to go on from the last checkpoint."),
        (signal.SIGINT, 130, "Interrupted. Add --c to go on from the last checkpoint."),
        (signal.SIGKILL, -9, ""),
    ],
)
def test_an_interrupted_training(toy, number, status, says):
    plan = toy.variant(f"signal_{number}", {"training.num_epochs": 100, "teacher.weight": 1, "teacher.start": 0})
    command = [str(Path(sys.executable).parent / "nnUNetv2_train"), "501", "2d_toy", "all", "-tr", TRAINER]
    environment = {**toy.environment, "nnUNet_n_proc_DA": "2"}
    training = subprocess.Popen(
        [*command, "-p", plan, "-device", "cpu"],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        checkpoint = toy.results / f"{TRAINER}__{plan}__2d_toy" / "fold_all" / "checkpoint_latest.pth"
        assert wait_until(checkpoint.exists, 120)
        assert len(group(training.pid)) >= 4  # two loaders of the source, one of its validation, one of the target
        # Ctrl-C in a terminal reaches the whole group; the others come to the main process alone
        (os.killpg if number == signal.SIGINT else os.kill)(training.pid, number)
        _, error = training.communicate(timeout=60)
        assert training.returncode == status, error
        assert "Traceback" not in error and (not says or error.strip().splitlines()[-1] == says)
        assert wait_until(lambda: not group(training.pid), 10), "processes were left"
    finally:
        if group(training.pid):
            os.killpg(training.pid, signal.SIGKILL)
    assert number == signal.SIGKILL or not list(checkpoint.parent.glob("*.tmp*"))
    assert load_checkpoint(str(checkpoint))["current_epoch"] >= 1  # whole: --c goes on from it
