"""The hook that nnU-Net's programs get."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nnuda.errors import runs_nnunet


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
