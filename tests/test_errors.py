"""The hook that nnU-Net's programs get."""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import os
import signal
import subprocess
import sys
import time

import pytest
from batchgenerators.utilities.file_and_folder_operations import load_json

from nnuda.errors import _OF_NNUNET, Terminated, message_of, runs_nnunet, terminable


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


@pytest.mark.parametrize("content", [b"{", b"", b"\xff"])
def test_nnunets_own_reading_of_json_names_the_file(tmp_path, content):
    file = tmp_path / "dataset.json"
    file.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_json(str(file))
    assert message_of(error.value).startswith(f"Error: {file}: expected JSON; it cannot be read (")
    with pytest.raises(ValueError) as error:
        json.loads(content)  # a fault of somebody else's
    assert message_of(error.value) is None


@pytest.mark.slow
@pytest.mark.parametrize("program", ["nnUNetv2_predict", "notebook"])
def test_importing_a_trainer_changes_nnunets_programs_alone(program):
    code = (
        f"import sys; sys.argv = [{program!r}]; shown = sys.excepthook; import nnuda.training.trainer; "
        "print(sys.excepthook is shown)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ended.stdout.splitlines()[-1] == str(program == "notebook")


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_worker_that_is_ended_at_once_ends_and_says_nothing():
    """nnU-Net ends the workers of its pools with SIGTERM: a traceback of each would stand in front of the message, and
    one that missed the signal, which Python forgets while it forks, would be waited for, for ever."""
    for _ in range(30):
        with terminable():
            pid = os.fork()
            if pid == 0:
                try:
                    time.sleep(20)
                finally:
                    os._exit(7)  # where an exception came, of which the worker would have told
            os.kill(pid, signal.SIGTERM)
            _, status = os.waitpid(pid, 0)
        assert os.waitstatus_to_exitcode(status) == -signal.SIGTERM
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_nnunet_itself_says_has_its_way_out():
    """nnUNetv2_train --val without a finished training ends before any trainer of ours is asked."""
    source = inspect.getsource(importlib.import_module("nnunetv2.run.run_training"))
    texts = {node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant)}
    for said, way_out in _OF_NNUNET.items():
        assert said in texts
        for kind in (RuntimeError, AssertionError):
            assert message_of(kind(said)) == f"Error: {way_out}" and message_of(kind("another")) is None


def test_what_a_library_makes_of_sigterm_is_sigterm():
    """Raised in a callback, it comes out as an error of the library."""
    with pytest.raises(Terminated), terminable():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Terminated:
            raise RuntimeError("a callback failed") from None
    with pytest.raises(RuntimeError, match="nobody asked"), terminable():
        raise RuntimeError("nobody asked")
