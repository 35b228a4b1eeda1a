"""What a start of this environment's Python does for nnU-Net, and what nnU-Net then finds."""

from __future__ import annotations

import ast
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

from nnuda import registration
from nnuda.registration import SWITCH, VARIABLE, trainers_folder
from nnuda.trainer_files import own_trainers

TRAINERS = own_trainers()
SHOW = f"import os; print(os.environ.get({VARIABLE!r}))"


def start(code: str, *flags: str, **variables: str) -> subprocess.CompletedProcess:
    """A fresh Python of this environment, in which nnuda is installed, with nothing but the given variables set."""
    environment = {name: value for name, value in os.environ.items() if name not in (VARIABLE, SWITCH)}
    return subprocess.run(
        [sys.executable, *flags, "-c", code],
        env={**environment, **variables},
        cwd=os.sep,
        capture_output=True,
        text=True,
        check=True,
    )


def test_a_start_names_the_trainers_folder():
    assert start(SHOW).stdout.strip() == trainers_folder()
    assert "nnUDATrainerSourceOnly.py" in os.listdir(trainers_folder())


def test_a_users_folders_come_first():
    mine = os.pathsep.join(["/mine/a", "/mine/b"])
    assert start(SHOW, **{VARIABLE: mine}).stdout.strip() == os.pathsep.join([mine, trainers_folder()])


def test_a_child_process_registers_nothing_twice():
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {SHOW!r}], check=True)"
    assert start(child).stdout.strip() == trainers_folder()
    assert (
        start(SHOW, **{VARIABLE: f"{trainers_folder()}{os.pathsep}/mine"}).stdout.strip()
        == f"{trainers_folder()}{os.pathsep}/mine"
    )


def test_an_empty_value_leaves_no_empty_entry():
    assert start(SHOW, **{VARIABLE: ""}).stdout.strip() == trainers_folder()


def test_the_switch():
    assert start(SHOW, **{SWITCH: "0"}).stdout.strip() == "None"
    assert start(SHOW, **{SWITCH: "0", VARIABLE: "/mine"}).stdout.strip() == "/mine"
    assert start(SHOW, **{SWITCH: "1"}).stdout.strip() == trainers_folder()


def test_a_start_imports_nothing_heavy():
    loaded = start("import sys; print(*sys.modules)").stdout.split()
    assert "nnuda.registration" in loaded
    assert [name for name in loaded if name.startswith("nnuda")] == ["nnuda", "nnuda.registration"]
    assert not {"torch", "numpy", "nnunetv2", "jsonschema", "batchgenerators"} & set(loaded)


def test_a_start_is_as_fast_as_before():
    def milliseconds() -> float:
        lines = [line.split("|") for line in start("pass", "-X", "importtime").stderr.splitlines()]
        return sum(int(line[1]) for line in lines if line[2].strip() == "nnuda.registration") / 1000

    assert 0 < min(milliseconds() for _ in range(5)) < 5


@pytest.mark.parametrize("name", TRAINERS)
def test_nnunet_finds_every_trainer(name, monkeypatch):
    monkeypatch.setenv(VARIABLE, trainers_folder())
    trainer = recursive_find_trainer_class_by_name(name)
    assert trainer.__name__ == name
    assert list(inspect.signature(trainer.__init__).parameters) == [
        "self",
        "plans",
        "configuration",
        "fold",
        "dataset_json",
        "device",
    ]
    build = inspect.getattr_static(trainer, "build_network_architecture")
    assert isinstance(build, staticmethod)
    stock = inspect.signature(nnUNetTrainer.build_network_architecture).parameters
    assert list(inspect.signature(trainer.build_network_architecture).parameters) == list(stock)
    assert trainer.__doc__ and "Deviations:" in trainer.__doc__


def test_a_users_own_trainer_is_found_beside_ours(tmp_path, monkeypatch):
    (tmp_path / "nnUNetTrainerMine.py").write_text(
        "from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer\n\n\n"
        "class nnUNetTrainerMine(nnUNetTrainer):\n    pass\n"
    )
    monkeypatch.setenv(VARIABLE, start(SHOW, **{VARIABLE: str(tmp_path)}).stdout.strip())
    assert recursive_find_trainer_class_by_name("nnUNetTrainerMine").__name__ == "nnUNetTrainerMine"
    assert recursive_find_trainer_class_by_name("nnUDATrainerSourceOnly").__name__ == "nnUDATrainerSourceOnly"


@pytest.mark.slow
def test_finding_a_trainer_needs_no_optional_import():
    """nnU-Net imports the trainers' files one by one until it has the name: one heavy import delays all,
    one that fails stops all."""
    code = (
        "import sys; from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name as find; "
        f"[find(name) for name in {TRAINERS!r}]; print('open_clip' in sys.modules)"
    )
    assert start(code).stdout.split()[-1] == "False"


def test_a_folder_that_is_not_there_is_not_registered(monkeypatch, tmp_path):
    monkeypatch.setenv(registration.VARIABLE, "/mine")
    monkeypatch.setattr(registration, "trainers_folder", lambda: str(tmp_path / "gone"))
    registration.register()
    assert os.environ[registration.VARIABLE] == "/mine"


@pytest.mark.parametrize("content", ["raise SystemExit(3)", "raise KeyboardInterrupt", "raise RuntimeError", "def ("])
def test_a_namesake_cannot_keep_python_from_starting(tmp_path, content):
    """The line of the .pth file, with another package of the name in front."""
    line = re.search(r"^PTH_LINE = (.+)$", (Path(__file__).parents[1] / "setup.py").read_text(), re.MULTILINE)[1]
    (tmp_path / "nnuda").mkdir()
    (tmp_path / "nnuda" / "__init__.py").write_text(content)
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n{ast.literal_eval(line)}\nprint('started')"
    ended = subprocess.run([sys.executable, "-S", "-c", program], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "started\n", "")
