"""Threads of a training on the CPU."""

from __future__ import annotations

import os

import torch

from nnuda.environment import OF_OPENMP


def take_threads_as_told() -> None:
    """As many as OMP_NUM_THREADS says, where it is set: nnUNetv2_train takes one for each core of the machine, so that
    two trainings side by side wait for each other's threads."""
    asked = os.environ.get(OF_OPENMP, "").partition(",")[0]
    if asked:
        torch.set_num_threads(int(asked))
