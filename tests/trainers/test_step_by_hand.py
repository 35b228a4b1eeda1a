"""Two training steps of each method from known weights, against steps written out by hand.

The losses are tested against naive loops elsewhere; here it is what they are given, which weight each has, and what
becomes of the sum: clipping, optimisers, the GradScaler, the averaged teacher, statistics, discriminators. Every second
variant runs with a GradScaler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
import torch
from fake_cuda import made_up_batch
from harness import make_trainer
from methods import CYCLE, EVERYTHING_TCSA, EVERYTHING_TMS, PAPER, Method, settings_of
from torch import Tensor, nn

from nnuda.data.mixing import largest_components, mix_domains, paste_boxes
from nnuda.losses.class_prototypes import class_prototypes
from nnuda.losses.class_similarity import class_similarity
from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss
from nnuda.losses.copy_paste import copy_paste_loss
from nnuda.losses.covariance_cosine import covariance_cosine
from nnuda.losses.domain_distillation import domain_distillation
from nnuda.losses.entropy_adversary import entropy_discriminator, entropy_generator, weighted_self_information
from nnuda.losses.prototype_alignment import prototype_alignment
from nnuda.losses.prototype_contrast import prototype_contrast
from nnuda.losses.structure_clustering import structure_clustering
from nnuda.losses.supervised_contrastive import pool_blocks, supervised_contrastive
from nnuda.losses.transferable_augmentation import (
    augmentation_table,
    limit_table,
    region_augmentation_table,
    transferable_cross_entropy,
)
from nnuda.losses.uncertain_pseudo_label import uncertain_pseudo_label_loss
from nnuda.training.loss_terms import LossTermError

CLASSES, CLIP, EPOCHS, STEPS, EPOCH, LR, DECAY, BEFORE = 3, 0.05, 4, 2, 1, 0.5, 0.78, 3
CE = 1.3  # weight of nnU-Net's cross-entropy, in the variants of TransMedSeg, which replaces it
SURE = 0.5  # every `.confidence`: some voxels of a network that has learnt nothing


@dataclass
class Hand:
    """Copies of what a step changes, and the numbers that it reads."""

    network: nn.Module
    beside: nn.ModuleDict
    statistics: nn.ModuleDict
    adversary: nn.ModuleDict
    teacher: nn.Module | None
    thresholds: nn.Module | None
    progress: float = 0.0
    memory: dict[int, Tensor] = field(default_factory=dict)
    moments: dict[int, tuple[Tensor, Tensor]] = field(default_factory=dict)
    steps: int = 0
    logged: dict[str, list[float]] = field(default_factory=dict)
    noise: dict[int, Tensor] = field(default_factory=dict)  # where a parameter's gradient is nothing but rounding

    def log(self, name: str, value: Tensor) -> None:
        """For the epoch's mean."""
        self.logged.setdefault(name, []).append(float(value.detach()))


Losses = tuple[dict[str, tuple[float, Tensor]], list[Tensor]]  # (weight, term) by name; the discriminators' losses


# ---- what all methods share -----------------------------------------------------------------------------------------


def top(outputs: Tensor | list[Tensor]) -> Tensor:
    return outputs if isinstance(outputs, Tensor) else outputs[0]


def dice(logits: Tensor, label: Tensor) -> Tensor:
    """nnU-Net's soft Dice loss of the foreground, over the batch."""
    p, value = logits.softmax(1), 0
    for c in range(1, CLASSES):
        y = (label[:, 0] == c).float()
        value = value - (2 * (p[:, c] * y).sum() + 1e-5) / (p[:, c].sum() + y.sum() + 1e-5)
    return value / (CLASSES - 1)


def cross_entropy(logits: Tensor, label: Tensor) -> Tensor:
    return -logits.log_softmax(1).gather(1, label.long()).mean()


def segmentation(logits: Tensor, label: Tensor, weight: float = 1.0) -> Tensor:
    """nnU-Net's loss with a weight of its cross-entropy; of the toy's two resolutions the lower one has weight 0."""
    return dice(logits, label) + weight * cross_entropy(logits, label)


def taught(hand: Hand, logits: Tensor, by: Tensor) -> tuple[float, Tensor]:
    """The teacher's term, with class-wise thresholds; its weight 0.7 is reached at the end of the training."""
    hand.thresholds.update(by.softmax(1))
    return 0.7 * hand.progress, confident_pseudo_label_loss(logits, by, hand.thresholds.compute())


@torch.no_grad()
def asked(hand: Hand, image: Tensor) -> Tensor:
    return top(hand.teacher(image))


def classes_at(label: Tensor, step: int) -> Tensor:
    """Masks of the classes on every `step`-th voxel."""
    return torch.stack([label[:, 0, ::step, ::step] == c for c in range(CLASSES)], 1)


def sure_classes(logits: Tensor, step: int) -> Tensor:
    p, label = logits.detach()[:, :, ::step, ::step].softmax(1).max(1)
    return torch.stack([(label == c) & (p > SURE) for c in range(CLASSES)], 1)


def frozen(module: nn.Module, x: Tensor) -> Tensor:
    """The module with a gradient to its input alone."""
    fixed = deepcopy(module).requires_grad_(False)
    return fixed(x)


# ---- the methods ----------------------------------------------------------------------------------------------------


def adapt(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    z_s, z_t = top(hand.network(torch.cat([x_s, strong]))).split([2, 3])
    return {"source": (1, segmentation(z_s, y)), "teacher": taught(hand, z_t, asked(hand, weak))}, []


def adapt_mixing(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    mixed = paste_boxes(x_s, strong, 0.5, 1.0)
    z_s, z_t = top(hand.network(torch.cat([x_s, mixed.image]))).split([2, 3])
    by = asked(hand, weak)
    hand.thresholds.update(by.softmax(1))
    certain = 40.0 * classes_at(y, 1).float() - 20.0  # of two images; the third has no partner
    by = torch.cat([torch.where(mixed.from_source[:2, None], certain, by[:2]), by[2:]])
    loss = confident_pseudo_label_loss(z_t, by, hand.thresholds.compute())
    return {"source": (1, segmentation(z_s, y)), "teacher": (0.7 * hand.progress, loss)}, []


def limited(hand: Hand, table: Tensor) -> Tensor:
    hand.log("tsa_table_largest", table.abs().max())
    hand.log("tsa_table_mean", table.mean())
    return limit_table(table, 10)


def transmedseg(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    """Everything that the method has; w of TSA is 0.6, lambda_0 0.5."""
    mixed = mix_domains(x_s, strong[:2], 0.6667)
    student = hand.network(torch.cat([x_s, strong, mixed.image]), with_features=True)
    z_s, z_t, z_m = top(student.logits).split([2, 3, 2])
    with torch.no_grad():
        teacher = hand.teacher(weak, with_features=True)
    by = top(teacher.logits)

    features = student.features[:2].detach().movedim(1, -1)
    p, called = by.softmax(1).max(1)
    hand.statistics["source"].update([features[y[:, 0] == c] for c in range(CLASSES)])
    features = teacher.features.movedim(1, -1)
    hand.statistics["target"].update([features[(called == c) & (p > SURE)] for c in range(CLASSES)])
    here, there = hand.statistics["source"].compute(), hand.statistics["target"].compute()
    both = (here.count > 0) & (there.count > 0)
    w = hand.network.decoder.seg_layers[-1].weight[:, :, 0, 0]
    shift, spread = (there.mean - here.mean) * both[:, None], there.covariance * both[:, None, None]
    table = limited(hand, augmentation_table(w, shift, spread, 0.5 * hand.progress))
    pasted = copy_paste_loss(z_m, y[:, 0], largest_components(called[:2], CLASSES), mixed.from_source, None, 0.5)
    structure = 0
    for nodes in student.bottleneck[:5].split([2, 3]):
        nodes = nodes.movedim(1, -1).reshape(-1, nodes.shape[1])
        structure = structure + structure_clustering(nodes, hand.beside["structure"](nodes), 2.0) / 2
    return {
        "source": (1, segmentation(z_s, y, 0.4 * CE)),
        "tsa": (0.6, CE * transferable_cross_entropy(z_s, y[:, 0].long(), table)),
        "copy_paste": (0.3, pasted),
        "structure": (0.2, structure),
        "teacher": taught(hand, z_t, by),
    }, []


def transmedseg_to_student(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    """The abstract's direction: the teacher's features towards the source's statistics, beside the cross-entropy."""
    student = hand.network(torch.cat([x_s, strong]), with_features=True)
    z_s, z_t = top(student.logits).split([2, 3])
    with torch.no_grad():
        teacher = hand.teacher(weak, with_features=True)
    by = top(teacher.logits)
    p, called = by.softmax(1).max(1)
    features = student.features[:2].detach().movedim(1, -1)
    hand.statistics["source"].update([features[y[:, 0] == c] for c in range(CLASSES)])
    features = teacher.features.movedim(1, -1)
    hand.statistics["target"].update([features[(called == c) & (p > SURE)] for c in range(CLASSES)])
    here, there = hand.statistics["target"].compute(), hand.statistics["source"].compute()
    both = (here.count > 0) & (there.count > 0)
    layer = hand.network.decoder.seg_layers[-1]
    shift, spread = (there.mean - here.mean) * both[:, None], there.covariance * both[:, None, None]
    table = limited(hand, augmentation_table(layer.weight[:, :, 0, 0], shift, spread, 0.5 * hand.progress))
    label = torch.where(p > SURE, called, -100)
    tsa = transferable_cross_entropy(layer(teacher.features), label, table)
    return {"source": (1, segmentation(z_s, y, CE)), "tsa": (0.6, tsa), "teacher": taught(hand, z_t, by)}, []


def both_dictionaries(hand: Hand, prototypes: Tensor, present: Tensor) -> Tensor:
    values = [
        prototype_contrast(prototypes, present, *hand.statistics[domain].compute(), 20, 1.0)
        for domain in ("source", "target")
    ]
    return sum(values) / 2


def prototypes(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    student = hand.network(torch.cat([x_s, strong]), with_features=True)
    z_s, z_t = top(student.logits).split([2, 3])
    e_s, e_t = hand.beside["embedding"](student.features).split([2, 3])
    of_s = class_prototypes(e_s, classes_at(y, 4))
    of_t = class_prototypes(e_t, sure_classes(z_t, 4))
    similarity = (class_similarity(*of_s) + class_similarity(*of_t)) / 2
    contrast = (both_dictionaries(hand, *of_s) + both_dictionaries(hand, *of_t)) / 2
    hand.statistics["source"].update(*of_s)
    hand.statistics["target"].update(*of_t)
    return {
        "source": (1, segmentation(z_s, y)),
        "similarity": (0.5, similarity),
        "contrast": (0.2, contrast),
        "teacher": taught(hand, z_t, asked(hand, weak)),
    }, []


def cycle(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    """x_s -> x_st -> x_sts by G_S then G_T; x_t -> x_ts -> x_tst by G_T then G_S; the weak view is x_t."""
    g_s, g_t = hand.network.generator_s, hand.network.generator_t
    s, t = g_s(x_s), g_t(weak)
    st, ts = g_t(s.image), g_s(t.image)
    y_s, y_st, y_t, y_ts = (top(stream.logits) for stream in (s, st, t, ts))
    streams = [
        class_prototypes(s.embedding, classes_at(y, 4)),
        class_prototypes(st.embedding, classes_at(y, 4)),
        class_prototypes(t.embedding, sure_classes(y_t, 4)),
        class_prototypes(ts.embedding, sure_classes(y_ts, 4)),
    ]
    similarity = sum(class_similarity(*stream) for stream in streams) / 4
    contrast = sum(both_dictionaries(hand, *stream) for stream in streams) / 4
    hand.statistics["source"].update(*streams[0])
    hand.statistics["target"].update(*streams[1])

    d_s, d_t, d_y = (hand.adversary[name] for name in ("image_s", "image_t", "segmentation"))

    def deceives(discriminator: nn.Module, made: Tensor) -> Tensor:
        return (frozen(discriminator, made) - 1).square().mean()

    right = {"image": [], "segmentation": []}

    def tells(kind: str, discriminator: nn.Module, real: Tensor, made: Tensor) -> Tensor:
        real, made = discriminator(real.detach()), discriminator(made.detach())
        right[kind] += [(real > 0.5).float().mean(), (made <= 0.5).float().mean()]
        return ((real - 1).square().mean() + made.square().mean()) / 2

    p_s, p_st, p_t, p_ts = (logits.softmax(1) for logits in (y_s, y_st, y_t, y_ts))
    terms = {
        "source": (1, segmentation(y_s, y)),
        "translated": (0.9, segmentation(y_st, y)),
        "cycle": (3, (st.image - x_s).abs().mean() + (ts.image - weak).abs().mean()),
        "image_adversary": (0.8, deceives(d_t, s.image) + deceives(d_s, t.image)),
        "segmentation_adversary": (0.5 * hand.progress, (deceives(d_y, p_t) + deceives(d_y, p_ts)) / 2),
        "similarity": (0.5, similarity),
        "contrast": (0.2, contrast),
        "teacher": taught(hand, y_t, asked(hand, weak)),
    }
    discriminators = [
        (tells("image", d_t, weak, s.image) + tells("image", d_s, x_s, t.image)) / 2,
        (tells("segmentation", d_y, p_st, p_t) + tells("segmentation", d_y, p_s, p_ts)) / 2,
    ]
    for kind, shares in right.items():
        hand.log(f"{kind}_discriminator_accuracy", sum(shares) / 4)
    return terms, discriminators


def tcsa(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    """Everything that the method has."""
    student = hand.network(torch.cat([x_s, strong]), with_features=True, num_source=2)
    z_s, z_t = top(student.logits).split([2, 3])

    def blended(term: str, features: Tensor, step: int) -> list[tuple[Tensor, Tensor]]:
        found = []
        for domain, part, masks in zip(
            ("source", "target"), features.split([2, 3]), (classes_at(y, step), sure_classes(z_t, step))
        ):
            rows = part.movedim(1, -1)
            sums = torch.stack([rows[masks[:, c]].sum(0) for c in range(CLASSES)])
            counts = torch.stack([masks[:, c].sum() for c in range(CLASSES)]).float()
            found.append(hand.statistics[f"{term}_{domain}"].blend(sums, counts))
            hand.statistics[f"{term}_{domain}"].update(*found[-1])
        return found

    text = hand.statistics["text"].weight
    vlc = sum(covariance_cosine(*rows, text) for rows in blended("text", student.features, 1))
    (g_s, there_s), (g_t, there_t) = blended("prototypes", student.bottleneck, 32 // student.bottleneck.shape[-1])
    discriminator, i_s, i_t = hand.adversary["entropy"], *map(weighted_self_information, (z_s, z_t))
    terms = {
        "source": (1, segmentation(z_s, y)),
        "text": (0.8, vlc),
        "prototypes": (0.5, prototype_alignment(g_s[1:], there_s[1:], g_t[1:], there_t[1:])),  # without background
        "adversary": (0.3, entropy_generator(frozen(discriminator, i_t))),
        "teacher": taught(hand, z_t, asked(hand, weak)),
    }
    d_s, d_t = discriminator(i_s.detach()), discriminator(i_t.detach())
    hand.log("discriminator_accuracy", ((d_s < 0).float().mean() + (d_t > 0).float().mean()) / 2)
    return terms, [entropy_discriminator(d_s, d_t)]


def uuds(hand: Hand, x_s: Tensor, y: Tensor, strong: Tensor, weak: Tensor) -> Losses:
    """As published, with a teacher."""
    text = hand.beside["text"]()
    hand.network.set_text(text.domain, text.segmentation)
    hand.network.joined = True
    out = hand.network(torch.cat([x_s, strong]), text=(text.domain, text.segmentation), num_source=2, reencode=True)
    z_s, z_t = top(out.logits).split([2, 3])
    x_g_s, x_g_t = out.x_g.split([2, 3])
    contrast = 0
    for c in range(1, CLASSES):
        blocks, label = pool_blocks(out.segmentation_features[:2, c - 1], y[:, 0] == c, [4, 4])
        contrast = contrast + supervised_contrastive(hand.beside["projection"](blocks), label, 0.07)
    return {
        "source": (1, segmentation(z_s, y)),
        "domain_distillation": (0.5, domain_distillation(x_g_s, x_g_t, text.domain, 0.1)),
        "synthetic_distillation": (0.4, domain_distillation(out.x_g_synthetic, x_g_t, text.domain, 0.1)),
        "contrast": (0.3, contrast / (CLASSES - 1)),
        "pseudo_label": (0.6, uncertain_pseudo_label_loss(z_t, 0.9)),
        "identity": (0.2, (out.image[:2] - x_s).abs().mean()),
        "teacher": taught(hand, z_t, asked(hand, weak)),
    }, []


# ---- what becomes of the losses -------------------------------------------------------------------------------------


def clip(gradients: list[Tensor | None]) -> None:
    """To a norm of CLIP, all together."""
    norm = math.sqrt(sum(float(g.double().square().sum()) for g in gradients if g is not None))
    for g in gradients:
        if g is not None:
            g *= min(1.0, CLIP / (norm + 1e-6))


@torch.no_grad()
def sgd(hand: Hand, parameter: Tensor, gradient: Tensor, lr: float) -> None:
    """Nesterov's momentum 0.99 and weight decay 3e-5, as nnU-Net has them."""
    gradient = gradient + 3e-5 * parameter
    velocity = hand.memory.get(id(parameter))
    hand.memory[id(parameter)] = velocity = gradient.clone() if velocity is None else 0.99 * velocity + gradient
    parameter -= lr * (gradient + 0.99 * velocity)


@torch.no_grad()
def adam(hand: Hand, parameter: Tensor, gradient: Tensor, lr: float, betas: tuple, decay: float = 0.0) -> None:
    # a bias before a norm layer, or of an attention's keys: Adam makes a whole step of it
    noise = (gradient.abs() < 1e-3 * gradient.abs().max()) | (gradient.norm() < 1e-5 * CLIP)
    hand.noise[id(parameter)] = hand.noise.get(id(parameter), torch.zeros_like(noise)) | noise
    parameter *= 1 - lr * decay
    m, v = hand.moments.get(id(parameter), (torch.zeros_like(gradient), torch.zeros_like(gradient)))
    m, v = betas[0] * m + (1 - betas[0]) * gradient, betas[1] * v + (1 - betas[1]) * gradient.square()
    hand.moments[id(parameter)] = m, v
    t = hand.steps + 1
    parameter -= lr * (m / (1 - betas[0] ** t)) / ((v / (1 - betas[1] ** t)).sqrt() + 1e-8)


@dataclass(frozen=True)
class ByHand:
    """A variant.

    Attributes:
        method: trainer and settings, on top of those that all variants share.
        losses: by hand.
        betas: of the discriminators' Adam.
        adversary_lr: of it.
        adamw: modules beside the network that AdamW trains, with rate 1e-4 and decay 0.01.
    """

    method: Method
    losses: Callable[..., Losses]
    betas: tuple[float, float] = (0.5, 0.999)
    adversary_lr: float = 0.0
    adamw: tuple[str, ...] = ()

    def step(self, hand: Hand, batch: dict) -> float:
        """Change what the hand holds; returns the total loss."""
        hand.progress = (EPOCH + hand.steps / STEPS) / EPOCHS
        target = batch["target_domain"]
        terms, discriminators = self.losses(hand, batch["data"], top(batch["target"]), target["strong"], target["weak"])
        total = sum(weight * loss for weight, loss in terms.values())
        for term, (_, loss) in terms.items():
            hand.log(term, loss)
        decayed = (1 - EPOCH / EPOCHS) ** 0.9
        paper = {id(p) for name in self.adamw for p in hand.beside[name].parameters()}
        groups = [list(hand.network.parameters()), list(hand.beside.parameters())]
        gradients = [
            torch.autograd.grad(total, group, retain_graph=True, allow_unused=True) if group else [] for group in groups
        ]
        against = list(hand.adversary.parameters())
        if discriminators:
            pulled = list(torch.autograd.grad(sum(discriminators), against))
            clip(pulled)
        for group, gradient in zip(groups, gradients):
            if not group:
                continue
            clip(gradient)
            for p, g in zip(group, gradient):
                if g is None:
                    continue
                if id(p) in paper:
                    adam(hand, p, g, 1e-4 * decayed, (0.9, 0.999), 0.01)
                else:
                    sgd(hand, p, g, LR * decayed)
        for p, g in zip(against, pulled if discriminators else []):
            adam(hand, p, g, self.adversary_lr * decayed, self.betas)
        alpha = min(1 - 1 / (BEFORE + hand.steps + 1), DECAY)
        with torch.no_grad():
            for average, new in zip(hand.teacher.parameters(), hand.network.parameters()):
                average.copy_(alpha * average + (1 - alpha) * new)
            for average, new in zip(hand.teacher.buffers(), hand.network.buffers()):
                average.copy_(new)
        hand.steps += 1
        return float(total.detach())


def weights(prefix: str, **values: float) -> dict:
    return {f"{prefix}.{name}.weight": value for name, value in values.items()}


TCSA_WEIGHTS = weights("tcsa", text=0.8, prototypes=0.5, adversary=0.3)
TMS_WEIGHTS = weights("transmedseg", tsa=0.6, copy_paste=0.3, structure=0.2)
PROTOTYPE_WEIGHTS = weights("prototypes", similarity=0.5, contrast=0.2)
UUDS_WEIGHTS = weights(
    "uuds", domain_distillation=0.5, synthetic_distillation=0.4, contrast=0.3, pseudo_label=0.6, identity=0.2
)
VARIANTS = {
    "adapt": ByHand(Method("nnUDATrainerAdapt"), adapt),
    "adapt_mixing": ByHand(Method("nnUDATrainerAdapt", {"teacher.mixing": 1.0}), adapt_mixing),
    "transmedseg": ByHand(
        Method("nnUDATrainerTransMedSeg", {**EVERYTHING_TMS, **TMS_WEIGHTS, "transmedseg.tsa.strength": 0.5}),
        transmedseg,
    ),
    "transmedseg_to_student": ByHand(
        Method(
            "nnUDATrainerTransMedSeg",
            {
                "transmedseg.tsa.weight": 0.6,
                "transmedseg.tsa.strength": 0.5,
                "transmedseg.tsa.mode": "add",
                "transmedseg.tsa.direction": "teacher_to_student",
            },
        ),
        transmedseg_to_student,
    ),
    "prototypes": ByHand(Method("nnUDATrainerPrototypes", PROTOTYPE_WEIGHTS), prototypes),
    "cycle": ByHand(
        Method(
            "nnUDATrainerPrototypes",
            {
                **CYCLE,
                **PROTOTYPE_WEIGHTS,
                **weights("prototypes", translated=0.9, cycle=3, image_adversary=0.8, segmentation_adversary=0.5),
                "prototypes.segmentation_adversary.ramp": 1,
            },
        ),
        cycle,
        (0.5, 0.999),
        2e-4,
    ),
    "tcsa": ByHand(
        Method("nnUDATrainerTCSA", {**EVERYTHING_TCSA, **TCSA_WEIGHTS, "tcsa.prototypes.background": False}),
        tcsa,
        (0.9, 0.99),
        1e-4,
    ),
    "uuds": ByHand(
        Method("nnUDATrainerUUDS", {**PAPER, **UUDS_WEIGHTS, "uuds.pseudo_label.chi": 0.9}), uuds, adamw=("text",)
    ),
}
COMMON = {
    "training.num_epochs": EPOCHS,
    "training.num_iterations_per_epoch": STEPS,
    "training.gradient_clip": CLIP,
    "training.initial_lr": LR,
    "training.predict_with": "student",
    "teacher.weight": 0.7,
    "teacher.ramp": 1,
    "teacher.decay": DECAY,
    "teacher.threshold": "class",
    "teacher.confidence": SURE,
    "teacher.threshold_floor": 0.3,
    "teacher.deep_supervision": True,
}


def started(toy, name: str, scaled: bool):
    """A trainer in its second epoch, whose teacher, statistics and discriminators are not as they began."""
    method = VARIANTS[name].method
    settings = {**settings_of(method), **COMMON}
    settings = {key: SURE if key.endswith(".confidence") else value for key, value in settings.items()}
    trainer = make_trainer(toy, method.trainer, "2d_toy", f"by_hand_{name}", settings)
    trainer.grad_scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, growth_interval=1) if scaled else None
    trainer.initialize()
    trainer.load_initial_weights()
    trainer.current_epoch = EPOCH
    trainer.logger.local_logger.my_fantastic_logging["lrs"] = [LR] * EPOCH
    trainer.epoch_means.update("source", 9.0)  # of the epoch before
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in [*trainer.bare_network.parameters(), *trainer.teacher.network.parameters()]:
            parameter += 0.05 * torch.randn_like(parameter)
        if "transmedseg" in name:  # nobody predicts class 2, which the source shows
            trainer.resolution_loss().weight_ce = CE
            for network in (trainer.bare_network, trainer.teacher.network):
                network.segmentation_layer.bias[2] -= 9
    trainer.teacher._steps = BEFORE
    for module in trainer.statistics.values():
        if hasattr(module, "pushed"):
            module.update(torch.randn(30, CLASSES, module.entries.shape[2]), torch.rand(30, CLASSES) < 0.9)
    return trainer


def moved_alike(now: Tensor, before: Tensor, expected: Tensor) -> bool:
    """Whether a change is the expected one, to 0.2 % of it and rounding."""
    now, before, expected = now.double(), before.double(), expected.double()
    return float((now - expected).norm()) <= 2e-3 * float((expected - before).norm()) + 2e-7 * float(expected.norm())


@pytest.mark.parametrize("name, scaled", [(name, i % 2 == 1) for i, name in enumerate(VARIANTS)])
def test_two_steps_are_those_written_by_hand(toy_environment, name, scaled):
    trainer = started(toy_environment, name, scaled)
    confidence = deepcopy(trainer.class_confidence)
    hand = Hand(
        *map(deepcopy, (trainer.bare_network, trainer.extra_modules, trainer.statistics, trainer.adversary)),
        deepcopy(trainer.teacher.network),
        confidence,
    )
    kept = {
        "network": (trainer.bare_network, hand.network),
        "beside": (trainer.extra_modules, hand.beside),
        "statistics": (trainer.statistics, hand.statistics),
        "adversary": (trainer.adversary, hand.adversary),
        "teacher": (trainer.teacher.network, hand.teacher),
        "thresholds": (trainer.class_confidence, hand.thresholds),
    }
    for step in range(2):
        torch.manual_seed(10 + step)
        batch = made_up_batch(trainer, size_target=3)
        if step == 0:  # the source does not show class 1, which the teacher has seen on the target
            batch["target"][0][batch["target"][0] == 1] = 0
        before = {part: deepcopy(own.state_dict()) for part, (own, _) in kept.items()}
        torch.manual_seed(20 + step)
        total = VARIANTS[name].step(hand, batch)
        torch.manual_seed(20 + step)
        assert float(trainer.train_step(batch)["loss"]) == pytest.approx(total, rel=1e-5)
        for part, (own, by_hand) in kept.items():
            expected = by_hand.state_dict()
            noise = {key: hand.noise[id(value)] for key, value in by_hand.named_parameters() if id(value) in hand.noise}
            for key, value in own.state_dict().items():
                if value.is_floating_point():
                    sound = ~noise.get(key, torch.zeros_like(value, dtype=torch.bool))
                    assert moved_alike(value[sound], before[part][key][sound], expected[key][sound]), (step, part, key)
                else:
                    assert torch.equal(value, expected[key]), (step, part, key)
    means = trainer.epoch_means.compute(list(hand.logged))
    assert means == pytest.approx({term: sum(values) / 2 for term, values in hand.logged.items()}, rel=1e-4)
    if scaled:
        assert trainer.grad_scaler.get_scale() == 4096  # it was asked, and nothing overflowed


@pytest.mark.parametrize("name", ["prototypes", "transmedseg", "tcsa"])
def test_an_overflow_skips_the_step(toy_environment, name):
    """A gradient that is no number moves neither network nor modules beside it nor discriminators, and halves the scale;
    statistics stay numbers."""
    trainer = started(toy_environment, name, scaled=True)
    parts = (trainer.bare_network, trainer.extra_modules, trainer.adversary)
    before = [{key: value.clone() for key, value in part.state_dict().items()} for part in parts]
    batch = made_up_batch(trainer)
    batch["data"][0, 0, 3, 3] = math.inf
    trainer.train_step(batch)
    for part, values in zip(parts, before):
        assert all(torch.equal(value, values[key]) for key, value in part.state_dict().items())
    assert trainer.grad_scaler.get_scale() == 512
    for part in (trainer.statistics, trainer.teacher):
        assert all(value.isfinite().all() for value in part.state_dict().values())


def test_the_table_of_regions_is_of_each_regions_outside_and_inside(toy_environment):
    """Statistics are kept as outside of region 0, inside of region 0, outside of region 1, ..."""
    trainer = started(toy_environment, "transmedseg", scaled=False)
    width = trainer.bare_network.segmentation_layer.in_channels
    for statistics in trainer.statistics.values():
        statistics.__init__(2 * CLASSES, width)
        statistics.update([torch.randn(200, width) + k for k in range(2 * CLASSES)])
    trainer.label_manager = SimpleNamespace(has_regions=True)
    here, there = (trainer.statistics[domain].compute() for domain in ("source", "target"))
    shift = [[there.mean[2 * r + y] - here.mean[2 * r + y] for y in (0, 1)] for r in range(CLASSES)]
    spread = [[there.covariance[2 * r + y] for y in (0, 1)] for r in range(CLASSES)]
    w = trainer.bare_network.segmentation_layer.weight[:, :, 0, 0]
    expected = region_augmentation_table(
        w,
        torch.stack([torch.stack(pair) for pair in shift]),
        torch.stack([torch.stack(pair) for pair in spread]),
        0.125,
    )
    torch.testing.assert_close(trainer.table(), limit_table(expected, 10))


def test_a_step_that_lacks_a_term_is_refused(toy_environment, monkeypatch):
    trainer = started(toy_environment, "prototypes", scaled=False)
    monkeypatch.setattr(trainer, "adaptation_losses", lambda *_: {})
    with pytest.raises(LossTermError, match="missing: contrast, similarity"):
        trainer.train_step(made_up_batch(trainer))
