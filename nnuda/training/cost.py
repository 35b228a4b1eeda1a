"""What the training steps of an epoch cost: time and memory."""

from __future__ import annotations

import math
from statistics import median
from time import perf_counter
from typing import Any

import torch

STEP_SECONDS, MEMORY_GB = "nnUDA_cost/step_seconds", "nnUDA_cost/memory_gb"


class StepCost:
    """Of the steps since `start`.

    Args:
        device: of the training; memory is measured on CUDA GPUs alone.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.started = device, perf_counter()  # nothing that needs CUDA, which is not up yet

    def start(self) -> None:
        """Before the first step."""
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.device)
        self.started = perf_counter()

    def compute(self, steps: int) -> dict[str, float]:
        """Seconds per step, data loading included; the largest memory that tensors took, in 1e9 bytes,
        NaN where it is not measured.

        nnU-Net's steps wait for the device, so nothing is still to be computed.
        """
        on_gpu = self.device.type == "cuda"
        return {
            STEP_SECONDS: (perf_counter() - self.started) / steps,
            MEMORY_GB: torch.cuda.max_memory_allocated(self.device) / 1e9 if on_gpu else math.nan,
        }


def seconds_of_a_step(trainer: Any, steps: int) -> float:
    """Median time of a training's first steps, without the loading of data; one more before them does not count.

    Args:
        trainer: nnU-Net's or one of nnuda's, before its start. It is started, and takes the steps.
        steps: that are timed.
    """
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    found = []
    for _ in range(steps + 1):
        batch = next(trainer.dataloader_train)
        start = perf_counter()
        trainer.train_step(batch)  # ends when its loss is on the CPU
        found.append(perf_counter() - start)
    return median(found[1:])
