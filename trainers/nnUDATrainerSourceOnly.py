from __future__ import annotations

from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerSourceOnly(nnUDATrainer):
    """Nothing is adapted: nnU-Net trained on the source, predicting with the target's normalisation.

    The row that every method has to beat. With `training.augmentation=strong` and `teacher.weight=1` it is the strong
    baseline: random intensity curves, random convolutions and an EMA teacher's confident pseudo-labels.

    Deviations: none; there is no paper.
    """

    preset = "source_only"
    step_time = 0.99
