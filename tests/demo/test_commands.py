"""Commands as the demo runs them."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from nnuda.commands import CommandFailed
from nnuda.demo.commands import Shell

PYTHON = Path(sys.executable).name


def test_a_command_is_echoed_logged_and_sees_the_variables(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    shell = Shell(tmp_path, {"NNUDA_TEST_VARIABLE": "a value"})
    command = f"{PYTHON} -c {shlex.quote('import os; print(os.getcwd())')}"
    shell.run(command)
    shell.run(f"{PYTHON} -c 'import os; print(os.environ[\"NNUDA_TEST_VARIABLE\"])'")
    text = capsys.readouterr().out
    assert f"$ {command}\n" in text and "export NNUDA_TEST_VARIABLE='a value'" in text
    assert (tmp_path / "logs" / f"01_{PYTHON}.log").read_text().strip() == str(tmp_path.resolve())
    assert (tmp_path / "logs" / f"02_{PYTHON}.log").read_text().strip() == "a value"


def test_a_failure_shows_the_end_of_the_log(tmp_path: Path) -> None:
    program = "import sys; [print('line', i) for i in range(100)]; sys.exit('the reason')"
    with pytest.raises(CommandFailed) as error:
        Shell(tmp_path, {}).run(f"{PYTHON} -c {shlex.quote(program)}")
    text = str(error.value)
    assert "status 1" in text and "the reason" in text and "line 99" in text and "line 5\n" not in text


def test_a_command_that_is_not_installed(tmp_path: Path) -> None:
    with pytest.raises(CommandFailed, match="pip install"):
        Shell(tmp_path, {}).run("nnUDA_no_such_command -d 1")
