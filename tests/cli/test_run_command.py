"""Every command ends alike where the user has something to put right."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from argparse import ArgumentParser, Namespace

import pytest

import nnuda
from nnuda.cli.run_command import run_command
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
