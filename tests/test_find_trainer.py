"""Trainers behind a name: what is said of a wrong one."""

from __future__ import annotations

import pytest

from nnuda.find_trainer import TrainerError, find_trainer


@pytest.mark.parametrize(
    "name, says",
    [
        ("nnUDATrainerAdpt", "Did you mean nnUDATrainerAdapt"),
        ("nnUNetTrainer", "The recommended one is nnUDATrainerAdapt"),
    ],
)
def test_a_wrong_name_is_told_the_way(name, says):
    with pytest.raises(TrainerError, match=says):
        find_trainer(name)
