"""What a trained network makes of each class in both domains: features of single voxels, with class and domain."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from acvl_utils.cropping_and_padding.padding import pad_nd_image
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import Tensor, nn

from nnuda.evaluation.reading import EvaluationError, read_files
from nnuda.labels import class_names, confident_masks, nearest, preprocessed_masks
from nnuda.plan_key import read_plans
from nnuda.predictor import load_predictor
from nnuda.results import plans_of_source

DOMAINS = ("source", "target")
Case = tuple[Sequence[str], str | None]  # one image file per channel; the label file, where there is one


@dataclass(frozen=True)
class ClassFeatures:
    """Voxels of both domains.

    Attributes:
        values: (N, A), the features.
        classes: (N,), index into `names`.
        domains: (N,), 0 source, 1 target.
        names: the background, then the foreground classes or regions.
        pseudo_labels: whether the target's classes are the network's own predictions instead of labels.
    """

    values: np.ndarray
    classes: np.ndarray
    domains: np.ndarray
    names: tuple[str, ...]
    pseudo_labels: bool

    def missing(self, domain: int) -> list[str]:
        """Classes that no voxel of a domain was found for."""
        return [name for k, name in enumerate(self.names) if not (self.classes[self.domains == domain] == k).any()]


def collect_features(
    results_folder: str,
    source: Mapping[str, Case],
    target: Mapping[str, Case],
    fold: str = "0",
    checkpoint: str = "checkpoint_final.pth",
    layer: Literal["last", "deepest"] = "last",
    voxels: int = 200,
    device: torch.device = torch.device("cpu"),
    seed: int = 0,
) -> ClassFeatures:
    """Features of some voxels of each class and domain, as many from each case as there are.

    Every case is preprocessed as at prediction, source cases with the source's normalisation where the results folder
    knows it, and goes through the network window by window. A region's voxels are made exclusive in nnU-Net's order of
    painting. Of the prototypes' cycle these are G_T's features, of target images and of translated source images.

    Args:
        results_folder: <trainer>__<plans>__<configuration>, of nnuda's or nnU-Net's own.
        source: cases with labels.
        target: cases; where all have labels these are the classes, else what the network predicts.
        fold: number, or "all".
        checkpoint: file name.
        layer: "last", what the last segmentation layer reads; "deepest", the encoder's.
        voxels: largest number per class and domain.
        device: to compute on.
        seed: of the drawing of voxels.

    Raises:
        ResultsError: no such model.
        PredictorError: no network can be loaded from it.
        EvaluationError: no cases, a source case without labels, or a network without that layer.
    """
    if not source or not target:
        raise EvaluationError("Expected at least one case of the source and one of the target.")
    unlabelled = [case for case, (_, label) in source.items() if label is None]
    if unlabelled:
        raise EvaluationError(
            f"Expected a label file for every source case; there is none for {', '.join(unlabelled)}."
        )
    predictor = load_predictor(results_folder, [fold], checkpoint, device, step_size=1.0)
    predictor.network = getattr(predictor.network, "_orig_mod", predictor.network)  # a compiled one ignores new hooks
    predictor.network.to(device).eval()
    names = tuple(class_names(predictor.dataset_json))
    pseudo_labels = any(label is None for _, label in target.values())
    manager_s = PlansManager(read_plans(plans_of_source(results_folder)))
    planned, used = predictor.plans_manager, predictor.configuration_manager.configuration
    trained = next(n for n in planned.available_configurations if planned.get_configuration(n).configuration == used)
    rng, kept = np.random.default_rng(seed), []
    for domain, cases, manager in ((0, source, manager_s), (1, target, predictor.plans_manager)):
        configuration = manager.get_configuration(trained)
        if hasattr(predictor.network, "domain"):  # a network that tells the domains apart
            predictor.network.domain = DOMAINS[domain]
        of_cases = [
            _features_of_case(
                predictor, manager, configuration, case, domain == 1 and pseudo_labels, layer, voxels, rng
            )
            for case in cases.values()
        ]
        for k in range(len(names)):
            share = _equal_shares([features[k] for features in of_cases], voxels, rng)
            if not np.isfinite(share).all():
                raise EvaluationError(
                    f"{results_folder}, {checkpoint}: expected features that are finite numbers; there is NaN or infinity "
                    "among them. The training diverged, or the file was changed: take another checkpoint."
                )
            kept.append((share, np.full(len(share), k), np.full(len(share), domain)))
    values, classes, domains = (np.concatenate(parts) for parts in zip(*kept))
    return ClassFeatures(values, classes, domains, names, pseudo_labels)


def _features_of_case(
    predictor: nnUNetPredictor,
    manager: PlansManager,
    configuration: ConfigurationManager,
    case: Case,
    pseudo_labels: bool,
    layer: str,
    voxels: int,
    rng: np.random.Generator,
) -> list[np.ndarray]:
    """(n_k, A) for each class k, at most `voxels` of each."""
    images, label_file = case
    label_file = None if pseudo_labels else label_file
    preprocessor = configuration.preprocessor_class(verbose=False)
    image, label, _ = read_files(
        lambda: preprocessor.run_case(list(images), label_file, manager, configuration, predictor.dataset_json),
        [*images, *([label_file] if label_file else [])],
        "images, and labels, that can be preprocessed",
    )
    padded = [
        pad_nd_image(array, configuration.patch_size, "constant", {"constant_values": value})
        for array, value in ((image, 0), (label, -1))
    ]
    image, label = (torch.from_numpy(array.astype(np.float32)) for array in padded)
    found: list[list[np.ndarray]] = [[] for _ in class_names(predictor.dataset_json)]
    for window in predictor._internal_get_sliding_window_slicers(image.shape[1:]):
        features, logits = _forward(predictor.network, image[window][None].to(predictor.device), layer)
        size = features.shape[2:]
        if pseudo_labels:
            masks = confident_masks(logits, 0, size, predictor.label_manager.has_regions)
            masks &= nearest(label[window][None].to(masks.device), size) >= 0  # -1 is outside of the body's box
        else:
            masks = preprocessed_masks(label[window][None], predictor.label_manager, size)
        label[window] = -1  # windows overlap at the image's border: each voxel counts once
        values = features[0].float().flatten(1).T.cpu().numpy()
        for k, mask in enumerate(masks[0].flatten(1).cpu().numpy()):
            found[k].append(_draw_some(values[mask], voxels, rng))
    return [_draw_some(np.concatenate(parts), voxels, rng) for parts in found]


@torch.no_grad()
def _forward(network: nn.Module, image: Tensor, layer: str) -> tuple[Tensor, Tensor]:
    """Features (1, A, *s) and logits (1, C, *S) of one window."""
    seen: list[Tensor] = []
    with _listen(network, layer, seen):
        logits = network(image)
    return seen[0], logits[0] if isinstance(logits, (list, tuple)) else logits


@contextlib.contextmanager
def _listen(network: nn.Module, layer: str, seen: list[Tensor]) -> Iterator[None]:
    if not hasattr(network, "encoder") or not hasattr(getattr(network, "decoder", None), "seg_layers"):
        raise EvaluationError(
            f"{type(network).__name__} has no encoder and decoder of nnU-Net's kind to read features from."
        )
    if layer == "last":
        handle = network.decoder.seg_layers[-1].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    else:
        handle = network.encoder.register_forward_hook(lambda _, inputs, skips: seen.append(skips[-1]))
    try:
        yield
    finally:
        handle.remove()


def _draw_some(values: np.ndarray, number: int, rng: np.random.Generator) -> np.ndarray:
    return values if len(values) <= number else values[np.sort(rng.choice(len(values), number, replace=False))]


def _equal_shares(parts: Sequence[np.ndarray], number: int, rng: np.random.Generator) -> np.ndarray:
    """At most `number` rows, as evenly from all parts as these allow."""
    taken, left = [], number
    for rank, part in enumerate(sorted(parts, key=len)):  # what a small one leaves goes to the larger ones
        taken.append(_draw_some(part, left // (len(parts) - rank), rng))
        left -= len(taken[-1])
    return np.concatenate(taken)
