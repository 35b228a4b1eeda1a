"""No loss looks at a value on the host: shapes and flow never depend on data, so compiled steps stay one graph."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
import torch

import nnuda.losses
from nnuda.labels import confident_masks, label_masks
from nnuda.losses.adversarial import least_squares_discriminator, least_squares_generator
from nnuda.losses.class_prototypes import class_prototypes, class_sums
from nnuda.losses.class_similarity import class_similarity
from nnuda.losses.confident_pseudo_label import confident_pseudo_label_loss
from nnuda.losses.copy_paste import copy_paste_loss
from nnuda.losses.covariance_cosine import covariance_cosine
from nnuda.losses.domain_distillation import domain_distillation
from nnuda.losses.entropy_adversary import (
    entropy_discriminator,
    entropy_generator,
    entropy_minimisation,
    weighted_self_information,
)
from nnuda.losses.identity import identity_loss
from nnuda.losses.masked_consistency import masked_consistency
from nnuda.losses.mean_teacher import mean_teacher_consistency
from nnuda.losses.prototype_alignment import prototype_alignment
from nnuda.losses.prototype_contrast import prototype_contrast
from nnuda.losses.structure_clustering import structure_clustering
from nnuda.losses.supervised_contrastive import pool_blocks, supervised_contrastive
from nnuda.losses.transferable_augmentation import (
    augmentation_table,
    limit_table,
    region_transferable_cross_entropy,
    transferable_cross_entropy,
)
from nnuda.losses.uncertain_pseudo_label import uncertain_pseudo_label_loss
from nnuda.statistics.class_memory import ClassMemory


def blocks_then_contrast(features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    z, label = pool_blocks(features, image[:, 0] > 1, 2)
    return supervised_contrastive(z, label)


def labels_then_similarity(features: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
    masks = label_masks(image.round()[:, :1].repeat_interleave(2, 2), 3, features.shape[2:])
    return class_similarity(*class_prototypes(features, masks))


def predictions_then_contrast(features: torch.Tensor, logits: torch.Tensor, regions: bool) -> torch.Tensor:
    prototypes, present = class_prototypes(features, confident_masks(logits, 0.5, features.shape[2:], regions))
    entries = torch.nn.functional.normalize(features.flatten().view(2, -1, 3)[:, : prototypes.shape[1]], dim=2)
    filled = torch.ones_like(entries[..., 0]) > 0
    return prototype_contrast(prototypes, present, entries.transpose(0, 1), filled.T, 3)


def limited_table(a: torch.Tensor) -> torch.Tensor:
    w, shift, covariance = a[0, :, 0], a[1, :, 0], a[:, :, 1:].flatten(2)[0, :, None, :4].expand(3, 4, 4)
    return limit_table(augmentation_table(w, shift, covariance, 9.0), 1.0)


def remembered_prototypes(features: torch.Tensor, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return ClassMemory(3, 3, 0.5).blend(*class_sums(features, label_masks(image.round()[:, :1], 3, features.shape[2:])))


CASES = {
    **{
        f"covariance_cosine_{center}_{off}": lambda a, b, c=center, o=off: covariance_cosine(
            *remembered_prototypes(a, b), b[0].flatten(1), c, o
        )
        for center in ("class", "none")
        for off in (False, True)
    },
    "prototype_alignment": lambda a, b: prototype_alignment(
        *remembered_prototypes(a, b), *remembered_prototypes(b, a), True
    ),
    **{
        f"entropy_adversary_{r}": lambda a, b, r=r: (
            entropy_generator(weighted_self_information(a, r))
            + entropy_discriminator(weighted_self_information(b, r), a)
        )
        for r in (False, True)
    },
    **{f"entropy_minimisation_{r}": lambda a, b, r=r: entropy_minimisation(a, r) for r in (False, True)},
    **{f"masked_consistency_{r}": lambda a, b, r=r: masked_consistency(a, b, 0.6, r) for r in (False, True)},
    **{f"mean_teacher_{r}": lambda a, b, r=r: mean_teacher_consistency(a, b, r) for r in (False, True)},
    "transferable": lambda a, b: transferable_cross_entropy(a, b.argmax(1), limited_table(a), 2),
    "transferable_regions": lambda a, b: region_transferable_cross_entropy(
        a, b > 0, limited_table(a)[:, :2], b[:, :1] > 1
    ),
    "copy_paste_classes": lambda a, b: copy_paste_loss(a, b.argmax(1), a.argmax(1), b[:, 0] > 0, b[:, 1] > 0),
    "copy_paste_regions": lambda a, b: copy_paste_loss(a, b > 0, a > 0, b[:, 0] > 0, b[:, 1] > 0, 0.5, True),
    "structure_margin": lambda a, b: structure_clustering(a.flatten(1), b.flatten(1).softmax(1)),
    "structure_printed": lambda a, b: structure_clustering(a.flatten(1), b.flatten(1).softmax(1), 2.0, "printed"),
    "domain_distillation": lambda a, b: domain_distillation(a.flatten(1), b.flatten(1), a[0].flatten()),
    "supervised_contrastive": blocks_then_contrast,
    "identity": identity_loss,
    "class_similarity": labels_then_similarity,
    **{f"prototype_contrast_{r}": lambda a, b, r=r: predictions_then_contrast(a, b, r) for r in (False, True)},
    "adversarial": lambda a, b: least_squares_generator(a) + least_squares_discriminator(a, b),
    **{
        f"uncertain_{target}_{regions}": lambda a, b, t=target, r=regions: uncertain_pseudo_label_loss(a, 0.5, t, r)
        for target in ("hard", "soft_detached", "literal")
        for regions in (False, True)
    },
    "confident_classes": lambda a, b: confident_pseudo_label_loss(a, b, 0.6),
    "confident_regions": lambda a, b: confident_pseudo_label_loss(a, b, 0.6, True),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.slow
def test_compiles_as_one_graph_to_the_same_value(case):
    torch.manual_seed(0)
    a, b = (2 * torch.randn(2, 3, 4, 4) for _ in range(2))
    torch.compiler.reset()
    compiled = torch.compile(CASES[case], fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(a, b), CASES[case](a, b))


def test_losses_import_torch_and_each_other_alone():
    for file in Path(nnuda.losses.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            modules = [node.module] if isinstance(node, ast.ImportFrom) else []
            modules += [name.name for name in node.names] if isinstance(node, ast.Import) else []
            for module in modules:
                known = module.split(".")[0] in ("__future__", "collections", "math", "typing", "torch")
                assert known or module.startswith("nnuda.losses."), (file, module)
