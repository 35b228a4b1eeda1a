from __future__ import annotations

from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerAdapt(nnUDATrainer):
    """The recommended trainer: strong augmentation, and an EMA teacher's pseudo-labels on the target.

    Until `teacher.start` the network learns the source alone, its intensities through random curves and random
    convolutions. Then an average of its weights labels the weak view of target patches, and the network learns the
    confident voxels on the strong view:

        L = L_seg(x_s) + w(t) L_teacher(x_t)

    Prediction is with the teacher. Every method of a paper stands on the same recipe and adds its own terms.

    Deviations: none; there is no paper. documentation/explanation/adapt.md says where each part comes from, and what
    it was worth.
    """

    preset = "adapt"
    step_time = 2.24
