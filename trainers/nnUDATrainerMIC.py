from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.data.masking import mask_blocks
from nnuda.losses.masked_consistency import masked_consistency
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerMIC(nnUDATrainer):
    """Masked image consistency (MIC, Hoyer et al., CVPR 2023, arXiv 2212.01322).

    Blocks of the target image are set to 0, and the student has to tell from the rest what the teacher sees in the
    whole image. q^T, the share of voxels of which the teacher is sure, weights the image:

        L = L_seg(x_s) + lambda_M q^T L_ce(f_student(M x_t), argmax f_teacher(x_t))

    Deviations:
        - The paper adds L_M to another method's loss on the whole target image, with another forward. Here the masked
          image takes the place of the whole one, at the cost of two batches; `teacher.weight=1` learns the common
          teacher's pseudo-labels on it, too.
        - The masked image is the strong view, the teacher's the weak one (paper: colour jitter and blur).
        - Blocks are a share of the patch; the finest output alone; nnU-Net's optimiser.
    """

    preset = "mic"
    teacher_terms = ("teacher", "masked")

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """The common one, with blocks of the target's images masked."""
        if self.active("masked"):
            ratio, block = self.settings["mic.masked.ratio"], self.settings["mic.masked.block"]
            target = replace(target, image=mask_blocks(target.image, ratio, block))
        return super().forward_domains(source, target)

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_M."""
        if not self.active("masked"):
            return {}
        return {
            "masked": masked_consistency(
                finest(outputs.target),
                self.teacher_logits(target, outputs),
                self.settings["mic.masked.threshold"],
                self.label_manager.has_regions,
            )
        }
