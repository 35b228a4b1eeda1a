from __future__ import annotations

from copy import copy
from typing import Any

import torch
from torch import Tensor, nn

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.data.mixing import MixedBatch, largest_components, largest_region_components, mix_domains
from nnuda.labels import channel_masks, labels_and_kept, pseudo_labels
from nnuda.losses.copy_paste import copy_paste_loss
from nnuda.losses.structure_clustering import structure_clustering
from nnuda.losses.transferable_augmentation import (
    augmentation_table,
    limit_table,
    region_augmentation_table,
    region_transferable_cross_entropy,
    transferable_cross_entropy,
)
from nnuda.networks.structure_graph import StructureGraph
from nnuda.networks.unet_features import UNetOutput, UNetWithFeatures
from nnuda.settings import SettingsError
from nnuda.statistics.class_statistics import ClassStatistics, sample_classes
from nnuda.training.forward import forward_together
from nnuda.training.loss_terms import LossTerm
from nnuda.training.outputs import DomainOutputs, finest, resolutions
from nnuda.training.trainer import nnUDATrainer

IGNORED = -100
TABLE = ("tsa_table_largest", "tsa_table_mean")


class nnUDATrainerTransMedSeg(nnUDATrainer):
    """TransMedSeg: transferable semantic augmentation (arXiv 2505.14753).

    An EMA teacher labels the target. A memory keeps mean and covariance of each class's features, for the source from
    the student and the annotation, for the target from the teacher and its confident labels. Source features are moved
    towards the target, implicitly: the cross-entropy expected over f~ ~ N(f + lambda dmu_y, lambda Sigma_y) has a bound
    in closed form, CE(z + T[y], y).

        L = L_Dice + L_tsa(source) + w_teacher L_teacher(target)  [+ copy-paste]  [+ structure],
        lambda = lambda_0 t / t_max

    Deviations:
        - The summary and TSA move source features to target statistics, the abstract says teacher features towards the
          student: the first by default, the second is `transmedseg.tsa.direction=teacher_to_student` (only the
          classifier W then learns from it).
        - L_tsa replaces nnU-Net's finest cross-entropy; beside it (`transmedseg.tsa.mode=add`) the
          cross-entropy would count twice.
        - Statistics are moving averages on at most 4096 voxels per class and step: TSA's memory of all features is out of
          reach for voxels, and ISDA's running count would freeze them.
        - |T| is limited by lowering lambda; a class that a domain has not shown yet is not moved.
        - The base GraphCL is nnU-Net's loss and the teacher; its copy-paste (BCP) and its clustering are
          settings, off by default.
    """

    preset = "transmedseg"
    step_time = 2.46

    @staticmethod
    def build_network_architecture(
        plans_manager,
        configuration_manager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> UNetWithFeatures:
        """nnU-Net's own network under its own parameter names."""
        return UNetWithFeatures(
            nnUDATrainer.build_network_architecture(
                plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
            )
        )

    def configure_loss_terms(self) -> dict[str, LossTerm]:
        """With lambda_0 = 0 the method is its mean teacher."""
        terms = super().configure_loss_terms()
        if "tsa" in terms and self.settings["transmedseg.tsa.strength"] == 0:
            del terms["tsa"]
        return terms

    @classmethod
    def check(cls, settings: dict[str, Any], class_names: list[str]) -> None:
        """What leaves the source's cross-entropy as it is cannot replace it."""
        augments = settings["transmedseg.tsa.weight"] > 0 and settings["transmedseg.tsa.strength"] > 0
        to_student = settings["transmedseg.tsa.direction"] == "teacher_to_student"
        if augments and to_student and settings["transmedseg.tsa.mode"] == "replace":
            raise SettingsError(
                "transmedseg.tsa.direction=teacher_to_student leaves the source's cross-entropy as it "
                "is: expected transmedseg.tsa.mode=add, got replace. Set both with nnUDA_configure."
            )

    @property
    def towards_teacher(self) -> bool:
        """Whether source features are moved to the target's statistics."""
        return self.settings["transmedseg.tsa.direction"] == "student_to_teacher"

    def needs_teacher(self) -> bool:
        """The teacher also gives the target's statistics and the labels of what is pasted."""
        return super().needs_teacher() or any(name in self.loss_terms for name in ("tsa", "copy_paste"))

    def build_statistics(self) -> nn.ModuleDict:
        """The memory: statistics of each domain, of each class, or of the outside and inside of each region."""
        if "tsa" not in self.loss_terms:
            return nn.ModuleDict()
        layer = self.bare_network.segmentation_layer
        classes = layer.out_channels * (2 if self.label_manager.has_regions else 1)
        return nn.ModuleDict(
            {
                domain: ClassStatistics(
                    classes,
                    layer.in_channels,
                    self.settings["transmedseg.statistics.covariance"],
                    self.settings["transmedseg.statistics.momentum"],
                )
                for domain in ("source", "target")
            }
        )

    def build_modules(self) -> nn.ModuleDict:
        """GraphCL's graph network."""
        if "structure" not in self.loss_terms:
            return nn.ModuleDict()
        return nn.ModuleDict(
            {
                "structure": StructureGraph(
                    self.bare_network.encoder.output_channels[-1],
                    self.settings["transmedseg.structure.channels"],
                    self.settings["transmedseg.structure.clusters"],
                )
            }
        )

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """Student: both domains and, with copy-paste, their mixture; teacher: the target's weak view."""
        images, extra = [source.image, target.image], {}
        if self.active("copy_paste"):
            size = min(len(source.image), len(target.image))
            extra["mixed"] = mix_domains(
                source.image[:size], target.image[:size], self.settings["transmedseg.copy_paste.box"]
            )
            images.append(extra["mixed"].image)
        student_s, student_t, *mixed = forward_together(self.network, images, with_features=True)
        extra |= {"source": student_s, "target": student_t, "mixed_logits": [finest(output.logits) for output in mixed]}
        if any(self.active(name) for name in ("teacher", "tsa", "copy_paste")):
            extra["teacher"] = self.teacher_output(target.weak)
        return DomainOutputs(student_s.logits, student_t.logits, extra)

    @torch.no_grad()
    def teacher_output(self, image: Tensor) -> UNetOutput:
        """Finest logits and features of the teacher."""
        output = self.teacher.network(image, with_features=True)
        return output._replace(logits=finest(output.logits))

    def teacher_logits(self, target: TargetBatch, outputs: DomainOutputs) -> Tensor:
        """From the teacher's one forward."""
        return outputs.extra["teacher"].logits

    def source_loss(self, logits: Tensor | list[Tensor], source: SourceBatch) -> Tensor:
        """nnU-Net's; where L_tsa replaces the finest cross-entropy, in the share of its weight w:
        (1 - w) CE + w L_tsa."""
        if not (self.active("tsa") and self.settings["transmedseg.tsa.mode"] == "replace"):
            return super().source_loss(logits, source)
        weights, loss = self.resolution_weights(), self.resolution_loss()
        finest_loss = copy(loss)
        finest_loss.weight_ce = loss.weight_ce * (1 - self.weight("tsa"))
        pairs = zip(
            weights, [finest_loss] + [loss] * (len(weights) - 1), resolutions(logits), resolutions(source.label)
        )
        return sum(weight * term(z, y) for weight, term, z, y in pairs if weight != 0)

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_tsa; with their settings copy-paste and structure."""
        losses = {}
        if self.active("tsa"):
            self.update_statistics(source, outputs)
            losses["tsa"] = self.transferable_augmentation(source, outputs)
        if self.active("copy_paste"):
            losses["copy_paste"] = self.copy_paste(source, outputs)
        if self.active("structure"):
            losses["structure"] = (
                self.structure(outputs.extra["source"]) + self.structure(outputs.extra["target"])
            ) / 2
        return losses

    # ---- transferable semantic augmentation -------------------------------------------------------------------------

    def update_statistics(self, source: SourceBatch, outputs: DomainOutputs) -> None:
        """The memory takes in this step's features, before the table is made of it."""
        student_s, teacher = outputs.extra["source"], outputs.extra["teacher"]
        if self.settings["transmedseg.statistics.source"] == "teacher":
            with self.mixed_precision():
                student_s = self.teacher_output(source.image)
        limit = self.settings["transmedseg.statistics.voxels"]
        labels = {
            "source": labels_and_kept(finest(source.label), self.label_manager),
            "target": self.confident_labels(teacher.logits),
        }
        features = {"source": student_s.features, "target": teacher.features}
        for domain, (label, kept) in labels.items():
            masks = channel_masks(label, kept, self.label_manager)
            self.statistics[domain].update(sample_classes(features[domain], masks, limit))

    def confident_labels(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The teacher's labels, and where they count for the memory."""
        return pseudo_labels(logits, self.settings["transmedseg.statistics.confidence"], self.label_manager.has_regions)

    def table(self) -> Tensor:
        """T, (C, C) or (R, 2): from this domain's statistics to the other's."""
        here, there = (self.statistics[domain].compute() for domain in ("source", "target"))
        if not self.towards_teacher:
            here, there = there, here
        seen = ((here.count > 0) & (there.count > 0)).to(here.mean.dtype)
        shift = (there.mean - here.mean) * seen[:, None]
        covariance = there.covariance * seen.view(-1, *[1] * (there.covariance.ndim - 1))
        weight = self.bare_network.segmentation_layer.weight.flatten(1).float()
        strength = self.settings["transmedseg.tsa.strength"] * self.progress
        if self.label_manager.has_regions:
            table = region_augmentation_table(
                weight, shift.unflatten(0, (-1, 2)), covariance.unflatten(0, (-1, 2)), strength
            )
        else:
            table = augmentation_table(weight, shift, covariance, strength)
        for name, value in zip(TABLE, (table.abs().amax(), table.mean())):
            self.epoch_means.update(name, value)
        return limit_table(table, self.settings["transmedseg.tsa.limit"])

    def transferable_augmentation(self, source: SourceBatch, outputs: DomainOutputs) -> Tensor:
        """L_tsa, weighted as the cross-entropy that it replaces."""
        scale = (
            self.resolution_weights()[0] * self.resolution_loss().weight_ce
            if self.settings["transmedseg.tsa.mode"] == "replace"
            else 1
        )
        if self.towards_teacher:
            logits, (label, kept) = finest(outputs.source), labels_and_kept(finest(source.label), self.label_manager)
        else:
            teacher = outputs.extra["teacher"]
            logits = self.bare_network.segmentation_layer(teacher.features.float())
            label, kept = self.confident_labels(teacher.logits)
        if self.label_manager.has_regions:
            return scale * region_transferable_cross_entropy(logits, label, self.table(), kept)
        label = label.long() if kept is None else torch.where(kept, label.long(), IGNORED)
        return scale * transferable_cross_entropy(logits, label, self.table(), IGNORED)

    # ---- what GraphCL adds ------------------------------------------------------------------------------------------

    def copy_paste(self, source: SourceBatch, outputs: DomainOutputs) -> Tensor:
        """Mixed images with the annotation and the teacher's labels, of which the largest component
        of each class is kept."""
        mixed: MixedBatch = outputs.extra["mixed"]
        logits = outputs.extra["mixed_logits"][0]
        size, regions = len(logits), self.label_manager.has_regions
        label_s, kept = labels_and_kept(finest(source.label), self.label_manager)
        label_t, _ = pseudo_labels(outputs.extra["teacher"].logits[:size], 0, regions)
        if self.settings["transmedseg.copy_paste.largest_component"]:
            label_t = largest_region_components(label_t) if regions else largest_components(label_t, logits.shape[1])
        if kept is not None:
            kept = kept[:size, 0] if regions else kept[:size]
        return copy_paste_loss(
            logits,
            label_s[:size],
            label_t,
            mixed.from_source,
            kept,
            self.settings["transmedseg.copy_paste.target_weight"],
            regions,
        )

    def structure(self, output: UNetOutput) -> Tensor:
        """L_CC of the deepest features of one domain."""
        nodes = output.bottleneck.float().movedim(1, -1).flatten(0, -2)
        return structure_clustering(
            nodes,
            self.extra_modules["structure"](nodes),
            self.settings["transmedseg.structure.tau"],
            self.settings["transmedseg.structure.form"],
        )

    # ---- nnU-Net's loss and log -------------------------------------------------------------------------------------

    def resolution_loss(self) -> nn.Module:
        """nnU-Net's Dice and cross-entropy for one resolution."""
        return self.loss.loss if self.enable_deep_supervision else self.loss

    def resolution_weights(self) -> tuple[float, ...]:
        """nnU-Net's deep supervision weights, finest first."""
        return self.loss.weight_factors if self.enable_deep_supervision else (1.0,)

    def logged_names(self) -> list[str]:
        """The terms, and the size of the table."""
        return [*super().logged_names(), *(TABLE if "tsa" in self.loss_terms else ())]
