from __future__ import annotations

from torch import Tensor

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.losses.mean_teacher import mean_teacher_consistency
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerMeanTeacher(nnUDATrainer):
    """Mean teacher (Tarvainen and Valpola, NeurIPS 2017, arXiv 1703.01780), for two domains as self-ensembling.

    Student and teacher, an average of the student's weights, give target voxels the same probabilities; the student
    sees the strong view, the teacher the weak one:

        L = L_seg(x_s) + w(t) mean (softmax f_student(x_t) - softmax f_teacher(x_t))^2,    w(t) = w exp(-5 (1 - t)^2)

    Every voxel counts, and with its whole distribution: there is no threshold and no label.

    Deviations:
        - The consistency is that of target images alone (paper: of all images, which are of one domain).
        - The finest output alone; nnU-Net's optimiser.
    """

    preset = "mean_teacher"
    teacher_terms = ("teacher", "consistency")

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """The consistency."""
        if not self.active("consistency"):
            return {}
        student, teacher = finest(outputs.target), self.teacher_logits(target, outputs)
        return {"consistency": mean_teacher_consistency(student, teacher, self.label_manager.has_regions)}
