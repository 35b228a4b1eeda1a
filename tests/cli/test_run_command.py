"""Every command ends alike where the user has something to put right."""

from __future__ import annotations

import errno
import importlib
import inspect
import os
import pkgutil
import signal
import subprocess
import sys
import time
from argparse import ArgumentParser, Namespace
from collections.abc import Callable

import pytest

import nnuda
from nnuda.cli.run_command import (
    PLANNING_FOLDERS,
    check_folders,
    check_needed,
    check_variables,
    run_command,
    usable_device,
)
from nnuda.errors import NnudaError


def _fail(_: Namespace) -> None:
    raise NnudaError("Expected 2 channels; got 1.")


def test_an_error_for_the_user_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUDA_DEBUG", raising=False)
    with pytest.raises(SystemExit) as end:
        run_command(ArgumentParser(), _fail, [])
    assert end.value.code == "Error: Expected 2 channels; got 1."


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUDA_DEBUG", "1")
    with pytest.raises(NnudaError):
        run_command(ArgumentParser(), _fail, [])


def test_a_missing_folder_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("nnUNet_raw", raising=False)
    with pytest.raises(SystemExit, match="Error: Environment variable nnUNet_raw is not set"):
        run_command(ArgumentParser(), lambda _: None, [], ["nnUNet_raw"])


@pytest.mark.parametrize(
    ("raw", "preprocessed", "says"),
    [
        (
            "raw",
            "raw/Dataset501_A",
            "nnUNet_preprocessed: expected a folder of its own; .* in Dataset501_A of nnUNet_raw",
        ),
        ("pre/Dataset501_A/x", "pre", "nnUNet_raw: expected a folder of its own; .* in Dataset501_A of nnUNet_preproc"),
        ("raw", "raw/", "expected a folder for each"),
        ("raw", "preprocessed", ""),
        ("x", "x/preprocessed", ""),  # beside the datasets: nnU-Net passes it over
        ("x/raw", "x", ""),
        ("Dataset501_A/raw", "Dataset501_A/preprocessed", ""),
    ],
)
def test_a_folder_in_a_dataset_of_another_is_refused(tmp_path, monkeypatch, raw, preprocessed, says):
    monkeypatch.setenv("nnUNet_raw", f"{tmp_path}/{raw}")
    monkeypatch.setenv("nnUNet_preprocessed", f"{tmp_path}/{preprocessed}")
    if not says:
        check_variables(PLANNING_FOLDERS)
        return
    with pytest.raises(NnudaError, match=says):
        check_variables(PLANNING_FOLDERS)


def test_what_is_no_folder_is_said_as_it_is(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    check_folders({"-i": None, "-o": str(tmp_path)})
    for name, what in (("file", "is a file"), ("file/x", "is not there"), ("nope", "is not there")):
        with pytest.raises(NnudaError, match=f"-i: expected a folder; .*{name} {what}"):
            check_folders({"-i": str(tmp_path / name)})

    def forbidden(path: str) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

    with monkeypatch.context() as patched, pytest.raises(NnudaError, match="with the rights of this account"):
        patched.setattr(os, "stat", forbidden)
        check_folders({"-i": "nope"})


def test_an_option_that_belongs_to_another() -> None:
    check_needed("-gt", None, {"-a": None, "-b": [], "-c": ""})
    check_needed("-gt", "folder", {"-a": "1"})
    with pytest.raises(NnudaError, match="Expected -gt with -a, which belongs to it. Add -gt, or leave -a out"):
        check_needed("-gt", None, {"-a": "1", "-b": []})
    with pytest.raises(NnudaError, match="Expected -gt with -a and -b, which belong to it. .* leave them out"):
        check_needed("-gt", None, {"-a": "1", "-b": ["2"]})


@pytest.mark.parametrize(
    ("asked", "there", "used"),
    [(None, True, "cuda"), (None, False, "cpu"), ("cpu", True, "cpu"), ("cuda", True, "cuda")],
)
def test_the_device(monkeypatch: pytest.MonkeyPatch, asked: str | None, there: bool, used: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: there)
    assert usable_device(asked) == used


@pytest.mark.parametrize(("asked", "kind"), [("cuda", "CUDA"), ("mps", "Apple")])
def test_a_device_that_is_not_here(monkeypatch: pytest.MonkeyPatch, asked: str, kind: str) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: False)
    with pytest.raises(NnudaError, match=f"No {kind} GPU here.* Add -device cpu"):
        usable_device(asked)


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    with pytest.raises(ZeroDivisionError):
        run_command(ArgumentParser(), lambda _: 1 / 0, [])


def test_all_errors_of_the_package_are_for_the_user() -> None:
    modules = [
        importlib.import_module(module.name)
        for module in pkgutil.walk_packages(nnuda.__path__, "nnuda.")
        if not module.name.startswith("nnuda.trainers")
    ]
    errors = {
        item
        for module in modules
        for _, item in inspect.getmembers(module, inspect.isclass)
        if issubclass(item, Exception) and item.__module__.startswith("nnuda")
    }
    assert len(errors) > 10
    assert all(issubclass(error, NnudaError) for error in errors)


def _ends(function: Callable) -> str | int:
    with pytest.raises(SystemExit) as end:
        run_command(ArgumentParser(), lambda _: function(), [])
    return end.value.code


def _raise(error: BaseException) -> Callable:
    def raising() -> None:
        raise error

    return raising


def test_what_the_machine_refuses_is_one_message() -> None:
    full = _ends(_raise(OSError(errno.ENOSPC, "No space left on device", "scores.json")))
    assert full == "Error: scores.json: No space left on device. Free some room and run the same command again."
    assert "out of memory" in _ends(_raise(MemoryError("1 GiB")))
    assert _ends(lambda: open("/no/such/file")).startswith("Error: /no/such/file: No such file")


def test_an_unknown_error_of_the_machine_keeps_its_traceback() -> None:
    with pytest.raises(OSError):
        run_command(ArgumentParser(), lambda _: _raise(OSError("odd"))(), [])


def test_ctrl_c_and_sigterm_clear_up_and_end_with_a_shells_status(capsys: pytest.CaptureFixture[str]) -> None:
    cleared = []

    def work() -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            cleared.append(True)

    before = signal.getsignal(signal.SIGTERM)
    assert _ends(work) == 143 and cleared == [True]
    assert signal.getsignal(signal.SIGTERM) is before
    assert _ends(_raise(KeyboardInterrupt())) == 130
    assert [line.split(".")[0] for line in capsys.readouterr().err.splitlines()] == ["Terminated", "Interrupted"]


def test_control_characters_do_not_reach_the_terminal() -> None:
    assert _ends(_raise(NnudaError("case \x1b[2Jgone\rnot here, Größe\n"))) == (
        "Error: case \\x1b[2Jgone\\rnot here, Größe\n"
    )


def test_a_foreign_program_ends_with_the_message_alone() -> None:
    program = (
        "from nnuda.errors import *; say_errors_in_one_message(); say_errors_in_one_message(); "
        "raise NnudaError('Expected a plan.')"
    )
    run = {"capture_output": True, "text": True, "env": {**os.environ, "nnUDA_DEBUG": "0"}}
    ended = subprocess.run([sys.executable, "-c", program], **run)
    assert (ended.returncode, ended.stderr) == (1, "Error: Expected a plan.\n")
    fault = subprocess.run(
        [sys.executable, "-c", program.replace("NnudaError('Expected a plan.')", "KeyError(1)")], **run
    )
    assert fault.returncode == 1 and "Traceback" in fault.stderr and "KeyError: 1" in fault.stderr


def test_names_printed_on_the_way_cannot_move_the_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    run_command(ArgumentParser(), lambda _: print("case \x1b[2Jgone \u202eevil, Größe\tok"), [])
    assert capsys.readouterr().out == "case \\x1b[2Jgone \\u202eevil, Größe\tok\n"


@pytest.mark.parametrize("value", ["x", "-1", "0", "1.5", ""])
def test_a_variable_that_nnunet_reads_as_a_number(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("nnUNet_def_n_proc", value)
    with pytest.raises(SystemExit, match=f"nnUNet_def_n_proc: expected a whole number from 1 on; got '{value}'"):
        run_command(ArgumentParser(), lambda _: None, [])
    command = [sys.executable, "-c", "import nnuda.cli.plan_and_preprocess"]
    ended = subprocess.run(command, capture_output=True, text=True)
    assert ended.returncode == 1 and ended.stderr.startswith("Error: Environment variable nnUNet_def_n_proc")


def test_an_empty_path_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("nnUNet_raw", "")
    with pytest.raises(SystemExit, match="nnUNet_raw is not set"):
        run_command(ArgumentParser(), lambda _: None, [], ["nnUNet_raw"])


def test_a_reader_that_goes_away_ends_it_quietly() -> None:
    program = (
        "from argparse import ArgumentParser; from nnuda.cli.run_command import run_command\n"
        "run_command(ArgumentParser(), lambda _: [print('x' * 9999) for _ in range(99)], [])"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == "" and process.wait() == 141


def test_a_terminal_without_utf8_shows_what_it_can() -> None:
    program = (
        "from argparse import ArgumentParser; from nnuda.cli.run_command import run_command\n"
        "run_command(ArgumentParser(), lambda _: print(chr(177), chr(0xdcff)), [])"
    )
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=environment)
    assert (ended.stdout, ended.stderr) == ("\\xb1 \\udcff\n", "")
