from __future__ import annotations

from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.losses.entropy_adversary import (
    entropy_discriminator,
    entropy_generator,
    entropy_minimisation,
    weighted_self_information,
)
from nnuda.networks.discriminator import build_discriminator
from nnuda.networks.forward_frozen import forward_frozen
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerEntropy(nnUDATrainer):
    """Entropy minimisation, direct and adversarial (ADVENT, Vu et al., CVPR 2019, arXiv 1811.12833).

    With I_k = -P_k log P_k / log K the weighted self-information of a prediction,

        L = L_seg(x_s) + lambda_ent mean sum_k I_k(x_t)  [+ lambda_adv BCE(D(I(x_t)), source)]

    By default the direct loss (MinEnt); `entropy.adversary.weight=0.001` with `entropy.minimisation.weight=0` is
    AdvEnt.

    Deviations:
        - The finest output alone (paper: two levels); nnU-Net's optimiser for the network.
        - The discriminator is the common patch discriminator, with the kernels and strides of the plan's encoder.
        - No prior on the ratio of the classes (the paper's L_cp).
    """

    preset = "entropy"

    def configure_adversary(self) -> tuple[nn.ModuleDict, Optimizer | None]:
        """The discriminator of entropy maps."""
        if "adversary" not in self.loss_terms:
            return super().configure_adversary()
        discriminator = build_discriminator(
            self.bare_network.encoder,
            self.label_manager.num_segmentation_heads,
            self.settings["entropy.discriminator.channels"],
        )
        optimizer = Adam(discriminator.parameters(), self.settings["entropy.discriminator.lr"], betas=(0.9, 0.99))
        return nn.ModuleDict({"entropy": discriminator}), optimizer

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_ent, L_adv."""
        losses = {}
        if self.active("minimisation"):
            losses["minimisation"] = entropy_minimisation(finest(outputs.target), self.label_manager.has_regions)
        if self.active("adversary"):
            scores = forward_frozen(self.adversary["entropy"], self.entropy_map(outputs.target))
            losses["adversary"] = entropy_generator(scores)
        return losses

    def entropy_map(self, logits: Tensor | list[Tensor]) -> Tensor:
        """(B, C, *S), where the finest output is unsure of each class."""
        return weighted_self_information(finest(logits), self.label_manager.has_regions)

    def adversary_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_D, from the first step on."""
        scores_s, scores_t = (
            self.adversary["entropy"](self.entropy_map(logits).detach()) for logits in (outputs.source, outputs.target)
        )
        return {"discriminator": entropy_discriminator(scores_s, scores_t)}

    def logged_names(self) -> list[str]:
        """The terms, and the discriminator's loss."""
        return super().logged_names() + (["discriminator"] if "adversary" in self.loss_terms else [])
