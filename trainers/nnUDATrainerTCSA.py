from __future__ import annotations

import os
from functools import partial
from typing import Any

import torch
from nnunetv2.paths import nnUNet_preprocessed
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Adam, Optimizer

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.errors import UnsupportedError
from nnuda.labels import class_names, confident_masks, source_masks
from nnuda.losses.class_prototypes import class_sums
from nnuda.losses.covariance_cosine import covariance_cosine
from nnuda.losses.entropy_adversary import entropy_discriminator, entropy_generator, weighted_self_information
from nnuda.losses.prototype_alignment import prototype_alignment
from nnuda.networks.discriminator import build_discriminator
from nnuda.networks.forward_frozen import forward_frozen
from nnuda.networks.tcsa import TCSANetwork
from nnuda.networks.unet_features import UNetWithFeatures
from nnuda.plan_key import KEY
from nnuda.settings import SettingsError
from nnuda.statistics.class_memory import ClassMemory
from nnuda.text.class_embeddings import ENTRY, ClassEmbeddings, describe, load
from nnuda.training.class_relations import class_distances, mean_cosine, separation
from nnuda.training.forward import forward_together
from nnuda.training.frozen import frozen_settings
from nnuda.training.outputs import DomainOutputs, finest
from nnuda.training.pictures import Drawing, draw_class_cosines
from nnuda.training.trainer import nnUDATrainer

DOMAINS = ("source", "target")


class nnUDATrainerTCSA(nnUDATrainer):
    """TCSA-UDA: text-driven cross-semantic alignment (arXiv 2511.05782).

    Every class has the embedding of its text, made once at planning and never trained. With c_k^d the moving prototype
    of class k's last features in domain d, the classes of each domain should relate to each other as their texts do;
    with g_k^d that of the deepest features, a class should be the same in both domains. The source's classes are its
    labels, the target's what the network predicts.

        L = L_seg(x_s) + w_text (L_VLC^s + L_VLC^t) + w_prototypes L_PAM  [+ w_adversary L_adv]
        L_VLC = 1 - cos(vec Sigma_c, vec Sigma_text),    L_PAM = sum_k mean_a (g_k^s - g_k^t)^2

    Sigma are K x K matrices of cosines between classes. `tcsa.fusion` puts the paper's fusion of text and image in
    front of the last segmentation layer.

    Deviations:
        - L_VLC trains the image network, through the batch's share of c_k, as in CoPT (ECCV 2024). In the authors'
          release it reaches no weight that is ever updated. The texts are not projected and get no gradient: moving
          them would meet the loss.
        - Cosines are taken after subtracting the mean over the classes; the release's form (`tcsa.text.center=none`)
          rewards classes that are all the same.
        - A memory for each domain (release: one for both); texts averaged over the modality words of both domains.
        - From scratch instead of from a model that was trained on the source: the terms start after 10 % of the
          training, and a target voxel counts where the prediction is sure (`tcsa.target.confidence=0`: everywhere).
        - The adversarial entropy is off by default, and reads the finest output alone.
    """

    preset = "tcsa"
    step_time = 2.38

    @staticmethod
    def build_network_architecture(
        plans_manager,
        configuration_manager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's own network under its own parameter names, or with the fusion; its texts come with the weights."""
        network = nnUDATrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        settings = frozen_settings(plans_manager.plans)
        if not settings["tcsa.fusion"]:
            return UNetWithFeatures(network)
        entry = plans_manager.plans[KEY][ENTRY]
        text = torch.zeros(2, len(entry["classes"]), entry["dimension"])
        return TCSANetwork(network, text, settings["tcsa.fusion.width"])

    # ---- text -------------------------------------------------------------------------------------------------------

    @classmethod
    def reads_class_embeddings(cls, settings: dict[str, Any]) -> bool:
        """For L_VLC and for the fusion."""
        return settings["tcsa.text.weight"] > 0 or settings["tcsa.fusion"]

    @classmethod
    def check(cls, settings: dict[str, Any], class_names: list[str]) -> None:
        """Two centred vectors are opposite whatever they were."""
        centered = settings["tcsa.text.weight"] > 0 and settings["tcsa.text.center"] == "class"
        if centered and len(class_names) < 3:
            raise SettingsError(
                "tcsa.text.center=class needs three classes, the background included; there are "
                f"{', '.join(class_names)}. Two centred vectors are opposite whatever they were: set "
                "tcsa.text.center=none, or tcsa.text.weight=0 (--set)."
            )

    def read_plan(self, plans: dict, dataset_json: dict) -> None:
        """The embeddings of the classes, where a term or the fusion reads them."""
        self.class_names = class_names(dataset_json)
        self.class_embeddings: ClassEmbeddings | None = None
        if self.reads_class_embeddings(self.settings):
            folder = os.path.join(nnUNet_preprocessed, plans["dataset_name"])
            self.class_embeddings = load(plans[KEY].get(ENTRY), folder, self.class_names, plans["plans_name"])

    @property
    def fuses(self) -> bool:
        """Whether the network reads the texts."""
        return self.settings["tcsa.fusion"]

    def initialize(self) -> None:
        """The base's; says what the texts are."""
        super().initialize()
        if self.class_embeddings is not None:
            self.print_to_log_file(f"class embeddings: {describe(self.class_embeddings)}", add_timestamp=False)
        if self.fuses and any(isinstance(module, _BatchNorm) for module in self.network.modules()):
            raise UnsupportedError(
                "tcsa.fusion segments both domains in one batch, which BatchNorm would mix. Use "
                "a plan with InstanceNorm, nnU-Net's default, or tcsa.fusion=false."
            )

    def load_initial_weights(self) -> None:
        """The base's; the texts are the plan's."""
        super().load_initial_weights()
        if self.fuses:
            self.bare_network.fusion.text.copy_(torch.from_numpy(self.class_embeddings.by_domain))

    # ---- state ------------------------------------------------------------------------------------------------------

    def build_statistics(self) -> nn.ModuleDict:
        """The texts, frozen, and each domain's prototypes of last and of deepest features."""
        statistics, network = nn.ModuleDict(), self.bare_network
        channels = {"text": network.segmentation_layer.in_channels, "prototypes": network.encoder.output_channels[-1]}
        if "text" in self.loss_terms:
            statistics["text"] = nn.Embedding.from_pretrained(torch.from_numpy(self.class_embeddings.mean), freeze=True)
        for term in [name for name in channels if name in self.loss_terms]:
            for domain in DOMAINS:
                statistics[f"{term}_{domain}"] = ClassMemory(
                    len(self.class_names), channels[term], self.settings[f"tcsa.{term}.momentum"]
                )
        return statistics

    def configure_adversary(self) -> tuple[nn.ModuleDict, Optimizer | None]:
        """The discriminator of entropy maps."""
        if "adversary" not in self.loss_terms:
            return super().configure_adversary()
        discriminator = build_discriminator(
            self.bare_network.encoder,
            self.label_manager.num_segmentation_heads,
            self.settings["tcsa.discriminator.channels"],
        )
        optimizer = Adam(discriminator.parameters(), self.settings["tcsa.discriminator.lr"], betas=(0.9, 0.99))
        return nn.ModuleDict({"entropy": discriminator}), optimizer

    # ---- one step ---------------------------------------------------------------------------------------------------

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """Logits, last and deepest features of both domains; the fusion is told whose images come first."""
        fusion = {"num_source": len(source.image)} if self.fuses else {}
        images = [source.image, target.image]
        student_s, student_t = forward_together(self.network, images, with_features=True, **fusion)
        return DomainOutputs(student_s.logits, student_t.logits, {"source": student_s, "target": student_t})

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_VLC, L_PAM, L_adv."""
        losses = {}
        if self.active("text"):
            losses["text"] = self.vision_language(source, outputs)
        if self.active("prototypes"):
            losses["prototypes"] = self.alignment(source, outputs)
        if self.active("adversary"):
            scores = forward_frozen(self.adversary["entropy"], self.entropy_map(outputs.target))
            losses["adversary"] = entropy_generator(scores)
        return losses

    def vision_language(self, source: SourceBatch, outputs: DomainOutputs) -> Tensor:
        """L_VLC^s + L_VLC^t on the features that the last segmentation layer reads."""
        text = self.statistics["text"].weight
        features = {domain: outputs.extra[domain].features for domain in DOMAINS}
        prototypes = self.prototypes("text", features, source, outputs)
        self.epoch_means.update("cosine/text", *mean_cosine(text, torch.ones_like(text[:, 0], dtype=torch.bool)))
        for domain in DOMAINS:
            self.epoch_means.update(f"cosine/{domain}", *mean_cosine(*prototypes[domain]))
        center, off_diagonal = self.settings["tcsa.text.center"], self.settings["tcsa.text.off_diagonal"]
        return sum(covariance_cosine(*prototypes[domain], text, center, off_diagonal) for domain in DOMAINS)

    def alignment(self, source: SourceBatch, outputs: DomainOutputs) -> Tensor:
        """L_PAM on the encoder's deepest features."""
        features = {domain: outputs.extra[domain].bottleneck for domain in DOMAINS}
        prototypes = self.prototypes("prototypes", features, source, outputs)
        distances = class_distances(*prototypes["source"], *prototypes["target"])
        for name, distance, counted in zip(self.class_names, *distances):
            self.epoch_means.update(f"distance/{name}", distance, counted)
        for domain in DOMAINS:
            self.epoch_means.update(f"separation/{domain}", *separation(*prototypes[domain]))
        first = 0 if self.settings["tcsa.prototypes.background"] else 1
        rows = [values[first:] for domain in DOMAINS for values in prototypes[domain]]
        return prototype_alignment(
            *rows, self.settings["tcsa.prototypes.normalized"], self.settings["tcsa.prototypes.detach_source"]
        )

    def prototypes(
        self, term: str, features: dict[str, Tensor], source: SourceBatch, outputs: DomainOutputs
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """(prototypes (K, A), which there are (K,)) of each domain, of this batch and the term's memory, which then
        takes them in."""
        size, confidence = features["source"].shape[2:], self.settings["tcsa.target.confidence"]
        masks = {
            "source": source_masks(finest(source.label), self.label_manager, size),
            "target": confident_masks(finest(outputs.target), confidence, size, self.label_manager.has_regions),
        }
        blended = {}
        for domain in DOMAINS:
            memory = self.statistics[f"{term}_{domain}"]
            blended[domain] = memory.blend(*class_sums(features[domain], masks[domain]))
            memory.update(*blended[domain])
        return blended

    def entropy_map(self, logits: Tensor | list[Tensor]) -> Tensor:
        """(B, C, *S), where the finest output is unsure of each class."""
        return weighted_self_information(finest(logits), self.label_manager.has_regions)

    def adversary_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_D, from the first step on. Logs the discriminator accuracy (share of patches classified correctly): 0.5 is chance level."""
        scores_s, scores_t = (
            self.adversary["entropy"](self.entropy_map(logits).detach()) for logits in (outputs.source, outputs.target)
        )
        right = ((scores_s < 0).float().mean() + (scores_t > 0).float().mean()) / 2
        self.epoch_means.update("discriminator_accuracy", right)
        return {"discriminator": entropy_discriminator(scores_s, scores_t)}

    # ---- epochs -----------------------------------------------------------------------------------------------------

    def logged_names(self) -> list[str]:
        """The terms; cosines between the classes of text and of images; the prototypes' distances, a class's between
        the domains and a domain's between the classes."""
        names = super().logged_names()
        if "text" in self.loss_terms:
            names += ["cosine/text", *(f"cosine/{domain}" for domain in DOMAINS)]
        if "prototypes" in self.loss_terms:
            names += [f"distance/{name}" for name in self.class_names]
            names += [f"separation/{domain}" for domain in DOMAINS]
        return names + (["discriminator", "discriminator_accuracy"] if "adversary" in self.loss_terms else [])

    def class_vectors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """The texts, then both domains' prototypes."""
        if "text" not in self.statistics:
            return super().class_vectors()
        text = self.statistics["text"].weight
        return {"text": (text, torch.ones_like(text[:, 0], dtype=torch.bool)), **super().class_vectors()}

    def pictures(self) -> dict[str, Drawing]:
        """The cosines that L_VLC compares."""
        if "text" not in self.statistics:
            return {}
        vectors, centered = self.class_vectors(), self.settings["tcsa.text.center"] == "class"
        rows = {"text": vectors["text"], **{domain: vectors[f"text {domain}"] for domain in DOMAINS}}
        return {
            "class_cosines": Drawing(
                "Cosines between classes of texts and images, as the text loss compares them",
                partial(draw_class_cosines, self.class_names, rows, centered),
            )
        }
