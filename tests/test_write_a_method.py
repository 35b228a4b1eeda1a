"""documentation/how-to/write-a-method.md: its four files, in a folder outside of the clone, are a method."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from documentation_pages import METHOD_PAGE, write_files
from harness import make_trainer, run_epochs
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

from nnuda.find_trainer import find_trainer
from nnuda.registration import VARIABLE, trainers_folder
from nnuda.settings import load_preset
from nnuda.training.trainer import nnUDATrainer

NAME = "nnUNetTrainerEntMin"


@pytest.fixture
def files(tmp_path, monkeypatch) -> list[Path]:
    found = write_files(METHOD_PAGE, tmp_path)
    monkeypatch.setenv(VARIABLE, os.pathsep.join([str(tmp_path / "my_methods"), trainers_folder()]))
    return found


def test_four_files_of_together_150_lines(files):
    assert [file.suffix for file in files] == [".py", ".py", ".json", ".py"]
    assert sum(len(file.read_text().splitlines()) for file in files) <= 150
    assert set(load_preset("entmin")) == {*load_preset("base"), "entmin.entropy.weight", "entmin.entropy.start"}
    assert find_trainer(NAME).preset == "entmin"


@pytest.mark.slow
def test_its_own_test_passes(files):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", os.devnull, str(files[-1].parent)],
        cwd=files[-1].parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


def test_it_trains(files, toy_environment):
    trainer = make_trainer(
        toy_environment, NAME, "2d_toy", "entmin", {"entmin.entropy.start": 0, "training.num_epochs": 1}
    )
    run_epochs(trainer, 1)
    curve = trainer.logger.local_logger.my_fantastic_logging["nnUDA/entropy"]
    assert len(curve) == 1 and 0 < curve[0] <= 1


def test_the_table_has_every_hook_of_the_base():
    """What a trainer of nnuda's overrides of the base stands in the contract."""
    page = METHOD_PAGE.read_text(encoding="utf-8")
    parts = nnUDATrainer.__mro__[: nnUDATrainer.__mro__.index(nnUNetTrainer)]
    hooks = {hook for part in parts for hook in vars(part)}
    for name in ("nnUDATrainerUUDS", "nnUDATrainerTransMedSeg", "nnUDATrainerPrototypes", "nnUDATrainerTCSA"):
        overridden = {hook for hook in vars(find_trainer(name)) if hook in hooks and hook[0] != "_"}
        missing = [hook for hook in overridden - {"initialize"} if f"`{hook}" not in page]
        assert not missing, f"{METHOD_PAGE.name}, the table of hooks lacks {missing}: add a row for each"
