"""The hook that nnU-Net's programs get."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
import time

import pytest

from nnuda.errors import runs_nnunet, terminable


@pytest.mark.parametrize(
    ("program", "is_it"),
    [
        ("/venv/bin/nnUNetv2_train", True),
        ("nnUNetv2_predict.exe", True),
        ("/site-packages/nnunetv2/run/run_training.py", True),
        ("/venv/bin/pytest", False),
        ("ipykernel_launcher.py", False),
        ("my_train.py", False),
        ("", False),
    ],
)
def test_which_programs_are_nnunets(monkeypatch, program, is_it):
    monkeypatch.setattr(sys, "argv", [program])
    assert runs_nnunet() is is_it


@pytest.mark.parametrize("program", ["nnUNetv2_predict", "notebook"])
def test_importing_a_trainer_changes_nnunets_programs_alone(program):
    code = (
        f"import sys; sys.argv = [{program!r}]; shown = sys.excepthook; import nnuda.training.trainer; "
        "print(sys.excepthook is shown)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == str(program == "notebook")


def test_sigterm_ends_a_forked_process_as_ever():
    """A pool ends its processes so; a Python error in each of them would be a wall of tracebacks."""
    with terminable():
        process = multiprocessing.get_context("fork").Process(target=time.sleep, args=(20,))
        process.start()
        process.terminate()
        process.join(10)
    assert process.exitcode == -signal.SIGTERM
