from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from nnuda.data.domain_batch import SourceBatch, TargetBatch
from nnuda.labels import confident_masks, source_masks
from nnuda.losses.adversarial import least_squares_discriminator, least_squares_generator
from nnuda.losses.class_prototypes import class_prototypes
from nnuda.losses.class_similarity import class_similarity
from nnuda.losses.identity import identity_loss
from nnuda.losses.prototype_contrast import prototype_contrast
from nnuda.networks.build_prototypes import build_cycle_network, build_discriminators
from nnuda.networks.cycle import CycleOutput
from nnuda.networks.embedding import EmbeddingHead
from nnuda.networks.forward_frozen import forward_frozen
from nnuda.networks.unet_features import UNetWithFeatures
from nnuda.statistics.prototype_dictionary import PrototypeDictionary
from nnuda.training.distributed import keep_in_graph
from nnuda.training.forward import forward_together
from nnuda.training.frozen import frozen_classes, frozen_settings
from nnuda.training.init_from import init_from
from nnuda.training.loss_terms import LossTerm
from nnuda.training.optimizers import GroupPolySchedule
from nnuda.training.outputs import DomainOutputs, finest, full_precision, resolutions
from nnuda.training.pictures import Drawing, draw_images
from nnuda.training.trainer import nnUDATrainer

CYCLE_TERMS = {"translated", "cycle", "image_adversary", "segmentation_adversary"}
PICTURED = 4  # images of a batch
Prototypes = tuple[Tensor, Tensor]


class nnUDATrainerPrototypes(nnUDATrainer):
    """Similarity-based prototypes (Ye et al., MICCAI-DART 2021, arXiv 2510.20596).

    Each image has a prototype of each class that it shows, the mean of the class's embeddings. L_sim draws embeddings
    to their prototype and prototypes apart; L_cl compares a prototype with dictionaries of both domains, which are
    filled from many images.

    `prototypes.form=cycle` is the paper: generators G_S and G_T translate into each other's domain and segment,

        L = L_seg(x_s) + L_seg(x_{s->t}) + L_cycle + L_img_adv + L_seg_adv + lambda_1 L_sim + lambda_2 L_cl

    and the prediction is the mean of G_T(x_t) and G_S(x_{t->s}). `single`, the default, is L_seg(x_s) + lambda_1 L_sim
    + lambda_2 L_cl on nnU-Net's own network.

    Deviations:
        - L_sim, L_cl and the weights of the cycle's terms are described in the paper without equations or values;
          plans/prototypes.json says what was chosen.
        - single: the dictionary of the target holds the target's confident prototypes,
          as there are no translated source images.
        - The embeddings are every fourth voxel's; the pyramid (ASPP) sits in the image head,
          so that nnU-Net's weights fit the rest.
        - Regions are made exclusive in nnU-Net's order of painting; the background is a class.
        - The cycle sees the target's weak view: random intensity curves would take away what the
          discriminators are to learn. The common teacher's labels are then learnt on the weak view, too.
          With strong augmentation it sees the source's weak view as well, and L_seg(x_s) is that of the strong view.
    """

    preset = "prototypes"
    step_time = 2.43

    @staticmethod
    def build_network_architecture(
        plans_manager,
        configuration_manager,
        num_input_channels: int,
        num_output_channels: int,
        enable_deep_supervision: bool = True,
    ) -> nn.Module:
        """nnU-Net's own network, or two of them in a cycle."""
        network = nnUDATrainer.build_network_architecture(
            plans_manager, configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
        )
        settings = frozen_settings(plans_manager.plans)
        if settings["prototypes.form"] == "single":
            return UNetWithFeatures(network)
        return build_cycle_network(
            network, num_input_channels, num_output_channels, settings, len(frozen_classes(plans_manager.plans))
        )

    @classmethod
    def memory_factor(cls, settings: dict[str, Any]) -> float:
        """The cycle's four streams, or five, take more."""
        if settings["prototypes.form"] != "cycle":
            return settings["planning.memory_factor"]
        fifth = settings["training.augmentation"] == "strong"  # a stream: nnU-Net's own step once more
        return settings["prototypes.cycle.memory_factor"] + (1 if fifth else 0)

    @property
    def translates(self) -> bool:
        """Whether this is the paper's cycle."""
        return self.settings["prototypes.form"] == "cycle"

    @property
    def reads_weak_source(self) -> bool:
        """Discriminators and cycle are to learn what source images look like, not what random curves make of them."""
        return self.translates and self.settings["training.augmentation"] == "strong"

    def configure_loss_terms(self) -> dict[str, LossTerm]:
        """Without a cycle there is nothing to translate."""
        terms = super().configure_loss_terms()
        return terms if self.translates else {name: term for name, term in terms.items() if name not in CYCLE_TERMS}

    def build_modules(self) -> nn.ModuleDict:
        """The projection head P; each generator of the cycle has its own."""
        if self.translates or not self.uses_prototypes:
            return nn.ModuleDict()
        layer, settings = self.bare_network.segmentation_layer, self.settings
        return nn.ModuleDict(
            {
                "embedding": EmbeddingHead(
                    layer.in_channels,
                    settings["prototypes.projection.channels"],
                    settings["prototypes.projection.stride"],
                    type(layer),
                )
            }
        )

    @property
    def uses_prototypes(self) -> bool:
        """Whether a term reads embeddings."""
        return bool({"similarity", "contrast"} & set(self.loss_terms))

    @property
    def adversarial(self) -> list[str]:
        """What discriminators look at: images, segmentations, both or neither."""
        return [kind for kind in ("image", "segmentation") if f"{kind}_adversary" in self.loss_terms]

    def build_statistics(self) -> nn.ModuleDict:
        """The dictionaries B_s and B_t."""
        if "contrast" not in self.loss_terms:
            return nn.ModuleDict()
        classes = self.label_manager.num_segmentation_heads + int(self.label_manager.has_regions)
        return nn.ModuleDict(
            {
                domain: PrototypeDictionary(
                    classes,
                    self.settings["prototypes.dictionary.size"],
                    self.settings["prototypes.projection.channels"],
                )
                for domain in ("source", "target")
            }
        )

    def configure_adaptation_optimizers(self) -> tuple[Any, Any]:
        """nnU-Net's SGD, or Adam as such cycles have it."""
        if self.settings["training.optimizer"] == "nnunet":
            return super().configure_adaptation_optimizers()
        parameters = [*self.network.parameters(), *self.extra_modules.parameters()]
        optimizer = Adam(parameters, self.settings["prototypes.lr"], betas=(0.5, 0.999))
        return optimizer, GroupPolySchedule(optimizer, self.num_epochs)

    def configure_adversary(self) -> tuple[nn.ModuleDict, Optimizer | None]:
        """Discriminators of the images of each domain and of segmentations."""
        if not self.adversarial:
            return super().configure_adversary()
        built = build_discriminators(self.bare_network, self.settings)
        discriminators = nn.ModuleDict(
            {name: module for name, module in built.items() if name.split("_")[0] in self.adversarial}
        )
        return discriminators, Adam(
            discriminators.parameters(), self.settings["prototypes.discriminator.lr"], betas=(0.5, 0.999)
        )

    def load_initial_weights(self) -> None:
        """A plain nnU-Net is a start for both generators."""
        path = self.settings["training.init_from"]
        if not (self.translates and path):
            return super().load_initial_weights()
        for generator in (self.bare_network.generator_s, self.bare_network.generator_t):
            self.print_to_log_file(init_from(generator, path))

    # ---- one step ---------------------------------------------------------------------------------------------------

    def forward_domains(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """Logits of both domains; their embeddings, in the order of the paper's streams."""
        if self.translates:
            return self.forward_cycle(source, target)
        student_s, student_t = forward_together(self.network, [source.image, target.image], with_features=True)
        embeddings = (
            [self.extra_modules["embedding"](student.features) for student in (student_s, student_t)]
            if self.uses_prototypes
            else []
        )
        return DomainOutputs(student_s.logits, student_t.logits, {"embeddings": embeddings})

    def forward_cycle(self, source: SourceBatch, target: TargetBatch) -> DomainOutputs:
        """x_s -> x_{s->t} -> x_{s->t->s} and x_t -> x_{t->s} -> x_{t->s->t}."""
        image_s = seen(source)
        if source.weak is None:
            cycle: CycleOutput = self.network(image_s, x_t=target.weak)
            logits, beside = cycle.source.logits, cycle[1:]
        else:
            cycle, logits = self.network(image_s, x_t=target.weak, augmented=source.image)
            beside = cycle
        embeddings = [stream.embedding for stream in cycle]
        if self.is_ddp:
            unused = [
                *embeddings,
                *(stream.image for stream in cycle),
                *(output for stream in beside for output in resolutions(stream.logits)),
            ]
            kept = keep_in_graph(finest(logits), unused)
            logits = kept if isinstance(logits, Tensor) else [kept, *logits[1:]]
        self.translated = pictures_of(image_s, target.weak, cycle)
        return DomainOutputs(logits, cycle.target.logits, {"embeddings": embeddings, "cycle": cycle})

    def adaptation_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """L_sim and L_cl; the cycle's terms."""
        losses = self.cycle_losses(source, target, outputs.extra["cycle"]) if self.translates else {}
        if not self.uses_prototypes:
            return losses
        labelled, unlabelled = self.prototypes(source, outputs)
        streams = [*labelled, *unlabelled]
        if self.active("similarity"):
            form = self.settings["prototypes.similarity.form"]
            losses["similarity"] = torch.stack([class_similarity(*stream, form) for stream in streams]).mean()
        if self.active("contrast"):
            losses["contrast"] = torch.stack([self.contrast(stream) for stream in streams]).mean()
        if "contrast" in self.loss_terms:  # after the loss: no prototype is to find itself
            for domain, stream in zip(("source", "target"), labelled if self.translates else streams):
                self.statistics[domain].update(*stream)
        return losses

    def prototypes(self, source: SourceBatch, outputs: DomainOutputs) -> tuple[list[Prototypes], list[Prototypes]]:
        """(prototypes (B, K, D), presence (B, K)) of the streams with the source's labels,
        and of those with confident predictions."""
        embeddings = outputs.extra["embeddings"]
        half = len(embeddings) // 2
        labelled = [
            class_prototypes(z, source_masks(finest(source.label), self.label_manager, z.shape[2:]))
            for z in embeddings[:half]
        ]
        if self.progress < self.settings["prototypes.target.start"]:
            return labelled, []
        cycle = outputs.extra.get("cycle")
        logits = [outputs.target] if cycle is None else [cycle.target.logits, cycle.target_in_source.logits]
        masks = [
            confident_masks(
                finest(y), self.settings["prototypes.target.confidence"], z.shape[2:], self.label_manager.has_regions
            )
            for y, z in zip(logits, embeddings[half:])
        ]
        return labelled, [class_prototypes(z, mask) for z, mask in zip(embeddings[half:], masks)]

    def contrast(self, stream: Prototypes) -> Tensor:
        """L_cl, half of it against each dictionary."""
        k, tau = self.settings["prototypes.contrast.k"], self.settings["prototypes.contrast.tau"]
        return (
            sum(prototype_contrast(*stream, *dictionary.compute(), k, tau) for dictionary in self.statistics.values())
            / 2
        )

    # ---- the cycle --------------------------------------------------------------------------------------------------

    def cycle_losses(self, source: SourceBatch, target: TargetBatch, cycle: CycleOutput) -> dict[str, Tensor]:
        """Supervision of translated source images, cycle consistency, and the generators' adversarial losses."""
        losses = {}
        if self.active("translated"):
            losses["translated"] = self.source_loss(full_precision(cycle.source_in_target.logits), source)
        if self.active("cycle"):
            losses["cycle"] = identity_loss(cycle.source_in_target.image, seen(source)) + identity_loss(
                cycle.target_in_source.image, target.weak
            )
        if self.active("image_adversary"):
            losses["image_adversary"] = self.generator_loss("image_t", cycle.source.image) + self.generator_loss(
                "image_s", cycle.target.image
            )
        if self.active("segmentation_adversary"):
            fakes = [
                self.generator_loss("segmentation", self.probabilities(stream))
                for stream in (cycle.target, cycle.target_in_source)
            ]
            losses["segmentation_adversary"] = sum(fakes) / 2
        return losses

    def generator_loss(self, discriminator: str, fake: Tensor) -> Tensor:
        """A generator's loss; the discriminator does not learn from it."""
        return least_squares_generator(forward_frozen(self.adversary[discriminator], fake.float()))

    def probabilities(self, stream: Any) -> Tensor:
        """(B, C, *S) of a stream's finest logits."""
        logits = finest(stream.logits).float()
        return logits.sigmoid() if self.label_manager.has_regions else logits.softmax(1)

    def adversary_losses(self, source: SourceBatch, target: TargetBatch, outputs: DomainOutputs) -> dict[str, Tensor]:
        """Real against made: images of each domain; segmentations of source images against those of target images.
        From the first step on."""
        cycle, losses = outputs.extra["cycle"], {}
        if "image" in self.adversarial:
            pairs = [("image_t", target.weak, cycle.source.image), ("image_s", seen(source), cycle.target.image)]
            losses["image_discriminator"] = self.discriminate("image_discriminator", pairs)
        if "segmentation" in self.adversarial:
            pairs = [
                ("segmentation", *map(self.probabilities, pair))
                for pair in ((cycle.source_in_target, cycle.target), (cycle.source, cycle.target_in_source))
            ]
            losses["segmentation_discriminator"] = self.discriminate("segmentation_discriminator", pairs)
        return losses

    def discriminate(self, term: str, pairs: list[tuple[str, Tensor, Tensor]]) -> Tensor:
        """Mean loss of discriminators on (name, real, fake). Logs the discriminator accuracy (share of patches classified correctly): 0.5 is chance level,
        at 1 the generators learn nothing."""
        losses, right = [], []
        for name, real, fake in pairs:
            scores_real, scores_fake = (self.adversary[name](images.detach().float()) for images in (real, fake))
            losses.append(least_squares_discriminator(scores_real, scores_fake))
            right += [(scores_real.detach() > 0.5).float().mean(), (scores_fake.detach() <= 0.5).float().mean()]
        self.epoch_means.update(f"{term}_accuracy", torch.stack(right).mean())
        return torch.stack(losses).mean()

    # ---- epochs -----------------------------------------------------------------------------------------------------

    def logged_names(self) -> list[str]:
        """The terms, the discriminators' losses, and how often each is right."""
        return [
            *super().logged_names(),
            *(f"{kind}_discriminator{what}" for kind in self.adversarial for what in ("", "_accuracy")),
        ]

    def pictures(self) -> dict[str, Drawing]:
        """The translations of the last step."""
        if not (self.translates and self.adapts):
            return {}
        return {
            "translations": Drawing(
                "Translations: images of each domain through the cycle of generators",
                lambda path: draw_images(self.translated, path),
            )
        }


def seen(source: SourceBatch) -> Tensor:
    """The source images that go through the cycle, (B, Cin, *S)."""
    return source.image if source.weak is None else source.weak


def pictures_of(image_s: Tensor, image_t: Tensor, cycle: CycleOutput) -> dict[str, Tensor]:
    """Some images of a batch through the cycle, by the name of the column."""
    columns = {
        "x_s": image_s,
        "x_s→t": cycle.source.image,
        "x_s→t→s": cycle.source_in_target.image,
        "x_t": image_t,
        "x_t→s": cycle.target.image,
        "x_t→s→t": cycle.target_in_source.image,
    }
    return {name: image[:PICTURED].detach() for name, image in columns.items()}
