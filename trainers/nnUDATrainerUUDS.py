from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.labels import foreground_masks
from nnuda.losses.domain_distillation import domain_distillation
from nnuda.losses.identity import identity_loss
from nnuda.losses.supervised_contrastive import pool_blocks, supervised_contrastive
from nnuda.losses.uncertain_pseudo_label import uncertain_pseudo_label_loss
from nnuda.networks.build_uuds import build_uuds_network
from nnuda.networks.clip_resnet import clip_strides, load_clip_weights
from nnuda.networks.projection import contrast_projection
from nnuda.networks.uuds import UUDSNetwork, UUDSOutput
from nnuda.plan_key import KEY
from nnuda.text.dimension import text_dimension
from nnuda.text.pretrained import planned_file
from nnuda.training.distributed import keep_in_graph
from nnuda.training.frozen import frozen_classes, frozen_settings
from nnuda.training.loss_terms import LossTerm
from nnuda.training.optimizers import GroupPolySchedule, JointOptimizer
from nnuda.training.outputs import DomainOutputs, finest, resolutions
from nnuda.training.trainer import nnUDATrainer


class nnUDATrainerUUDS(nnUDATrainer):
    """UUDS: Unified Uncertain Dual-prompts cross-domain Segmentation (ICLR 2025 submission), section 3.

    A hard domain prompt T^d and learnable segmentation prompts T^s pass a text encoder. T^d steers the domain
    adaptation module, whose image decoder reconstructs source images and turns target images into synthetic
    source images; T^s steers the segmentation attention module; the segmentation decoder reads its output and
    the generator's features.

        L = alpha (L_DD(x_g^s, x_g^t, T^d) + L_DD(x_g^{t->s}, x_g^t, T^d)) + beta L_BSCL
            + gamma (L_useg + L_seg) + lambda L_id

    Deviations:
        - The image encoder is nnU-Net's unless `uuds.image_encoder=clip`; L_seg is nnU-Net's Dice and cross-entropy.
        - eqs. 1, 2, 4, 5-8 in the form that their text means; the printed ones behind `uuds.*.form` and
          `uuds.pseudo_label.target`.
        - eq. 3 as a gate with a residual (its single query would leave one vector per image).
        - The prompts' attention and the generator's features enter the segmentation decoder through factors that start
          at 0: a training that starts from a plain nnU-Net starts with that nnU-Net's segmentations.
        - L_BSCL contrasts blocks of patches, not whole images, because nnU-Net's batches are small;
          L_useg starts after a warm-up.
        - Unless `training.recipe=paper`: the EMA teacher's labels take the place of L_useg, the second L_DD is off, the
          generator reads the encoder without training it, and all terms start from a network that knows the source.
        - SGD for encoder and decoders, the paper's AdamW for text encoder, prompts and CLIP;
          `training.optimizer=paper`: AdamW everywhere.
    """

    preset = "uuds"
    step_time = 3.59

    @staticmethod
    def build_network_architecture(
        plans_manager,
        configuration_manager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> UUDSNetwork:
        """The network of the frozen configuration, for training and prediction alike; no weights are read."""
        settings = frozen_settings(plans_manager.plans)
        return build_uuds_network(
            plans_manager,
            configuration_manager,
            num_input_channels,
            num_output_channels,
            enable_deep_supervision,
            settings,
            len(frozen_classes(plans_manager.plans)),
            text_dimension(settings["uuds.text.model"]),
        )

    def _get_deep_supervision_scales(self) -> list[list[float]] | None:
        if self.settings["uuds.image_encoder"] == "nnunet" or not self.enable_deep_supervision:
            return super()._get_deep_supervision_scales()
        return (1 / np.cumprod(np.vstack(clip_strides()), axis=0)).tolist()[:-1]

    def build_modules(self) -> nn.ModuleDict:
        """Text encoder with both prompts, and the MLP of L_BSCL."""
        from nnuda.text.prompt_encoder import build_text_encoder  # open_clip takes seconds to import

        text = build_text_encoder(
            self.settings["uuds.text.model"],
            self.planned_file("uuds.text.pretrained"),
            frozen_classes(self.plans_manager.plans),
            self.settings["uuds.text.context_length"],
            self.settings["uuds.text.domain_prompt"],
        )
        if text.from_scratch:
            self.print_to_log_file(
                "NOTE: the text encoder has no pretrained weights; it is trained from scratch "
                "(uuds.text.pretrained is null). The paper starts from CLIP's."
            )
        return nn.ModuleDict(
            {
                "text": text,
                "projection": contrast_projection(
                    self.bare_network.content_channels, self.settings["uuds.projection.channels"]
                ),
            }
        )

    def load_initial_weights(self) -> None:
        """CLIP's image tower where it is the encoder, then the base's."""
        if self.settings["uuds.image_encoder"] == "clip":
            file = self.planned_file("uuds.clip.pretrained")
            if file is None:
                self.print_to_log_file(
                    "NOTE: the CLIP image encoder starts from random weights (uuds.clip.pretrained "
                    "is null). The paper starts from CLIP's."
                )
            else:
                load_clip_weights(self.bare_network.encoder, self.settings["uuds.clip.model"], file)
        super().load_initial_weights()

    def planned_file(self, key: str) -> str | None:
        """Local file of pretrained weights, the one that planning found."""
        return planned_file(key, self.settings, self.plans_manager.plans[KEY].get("weights", {}))

    def configure_loss_terms(self) -> dict[str, LossTerm]:
        """Without a prompt there is nothing to distil or contrast (Table 3)."""
        terms = super().configure_loss_terms()
        without = set() if self.settings["uuds.domain_prompt"] else {"domain_distillation", "synthetic_distillation"}
        without |= set() if self.settings["uuds.segmentation_prompt"] else {"contrast"}
        return {name: term for name, term in terms.items() if name not in without}

    def configure_adaptation_optimizers(self) -> tuple[JointOptimizer, GroupPolySchedule]:
        """Section 4.1's Adam (read as AdamW) for what comes from CLIP; nnU-Net's SGD for the rest."""
        clip = list(self.bare_network.encoder.parameters()) if self.settings["uuds.image_encoder"] == "clip" else []
        paper = [*clip, *self.extra_modules["text"].parameters()]
        known = {id(parameter) for parameter in paper}
        rest = [p for module in (self.network, self.extra_modules) for p in module.parameters() if id(p) not in known]
        if self.settings["training.optimizer"] == "paper":
            paper, rest = [*paper, *rest], []
        optimizers = [
            torch.optim.AdamW(
                paper, self.settings["uuds.text.lr"], weight_decay=self.settings["uuds.text.weight_decay"]
            )
        ]
        if rest:
            optimizers.insert(
                0, torch.optim.SGD(rest, self.initial_lr, weight_decay=self.weight_decay, momentum=0.99, nesterov=True)
            )
        optimizer = JointOptimizer(optimizers)
        return optimizer, GroupPolySchedule(optimizer, self.num_epochs)

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """Both domains through one graph; target images also through the re-encoding of their
        synthetic source images."""
        text = self.extra_modules["text"]()
        self.bare_network.set_text(text.domain, text.segmentation)
        self.bare_network.joined = self.progress >= self.settings["uuds.generator.start"]
        size = len(source.image)
        output: UUDSOutput = self.network(
            torch.cat([source.image, target.image]),
            text=(text.domain, text.segmentation),
            num_source=size,
            reencode=self.active("synthetic_distillation"),
        )
        logits = resolutions(output.logits)
        if self.is_ddp:
            logits[0] = keep_in_graph(logits[0], (output.image, output.x_g, output.segmentation_features))
        source_logits, target_logits = [z[:size] for z in logits], [z[size:] for z in logits]
        if not self.enable_deep_supervision:
            source_logits, target_logits = source_logits[0], target_logits[0]
        return DomainOutputs(source_logits, target_logits, {"uuds": output, "domain_prompt": text.domain})

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """Section 3.3, term by term."""
        uuds: UUDSOutput = outputs.extra["uuds"]
        size, losses = len(source.image), {}
        if self.active("domain_distillation"):  # eq. 1
            losses["domain_distillation"] = self.distillation(uuds.x_g[:size], uuds.x_g[size:], outputs)
        if self.active("synthetic_distillation"):  # eq. 2
            losses["synthetic_distillation"] = self.distillation(uuds.x_g_synthetic, uuds.x_g[size:], outputs)
        if self.active("contrast"):  # eq. 4
            losses["contrast"] = self.contrast(uuds.segmentation_features[:size], source)
        if self.active("pseudo_label"):  # eqs. 5-8
            chi = self.settings["uuds.pseudo_label.chi"] if self.settings["uuds.uncertainty"] else math.inf
            losses["pseudo_label"] = uncertain_pseudo_label_loss(
                finest(outputs.target),
                chi,
                self.settings["uuds.pseudo_label.target"],
                regions=self.label_manager.has_regions,
            )
        if self.active("identity"):  # eq. 9
            losses["identity"] = identity_loss(uuds.image[:size], source.image)
        return losses

    def distillation(self, x_g_positive: Tensor, x_g_t: Tensor, outputs: DomainOutputs) -> Tensor:
        """L_DD; both domains' vectors against the domain prompt."""
        return domain_distillation(
            x_g_positive,
            x_g_t,
            outputs.extra["domain_prompt"],
            self.settings["uuds.domain_distillation.tau"],
            self.settings["uuds.domain_distillation.form"],
        )

    def contrast(self, features: Tensor, source: SourceBatch) -> Tensor:
        """L_BSCL of each foreground class on blocks of the source's patches, averaged; features (B_s, C_fg, F, *s)."""
        # in plane: blocks share a 3D patch's slices
        grid = [1] * (features.ndim - 5) + [self.settings["uuds.contrast.grid"]] * 2
        terms = []
        for i, mask in enumerate(foreground_masks(finest(source.label), self.label_manager)):
            blocks, label = pool_blocks(features[:, i], mask, grid)
            z = self.extra_modules["projection"](blocks)
            terms.append(
                supervised_contrastive(
                    z, label, self.settings["uuds.contrast.tau"], self.settings["uuds.contrast.form"]
                )
            )
        return torch.stack(terms).mean()
