"""Features of both domains in the plane, of this run and of a model before it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from batchgenerators.utilities.file_and_folder_operations import isfile, join
from nnunetv2.paths import nnUNet_raw
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

from nnuda.datasets import label_files, load_dataset, spread
from nnuda.errors import NnudaError
from nnuda.evaluation.class_features import Case, ClassFeatures, collect_features
from nnuda.evaluation.feature_embedding import draw, embed, neighbours
from nnuda.report.page import Picture, Pictures, Section, Text
from nnuda.report.predictions import Predictions
from nnuda.report.run import ReportError, Run
from nnuda.results import FOLD, find_checkpoint, find_fold, folds_in, split_fold

TITLE = "Features of both domains"
READING = (
    "Voxels as the network sees them in front of its last layer, put in the plane by t-SNE: circles are the "
    "source, triangles the target, colours the classes. Aligned domains lie on each other, class by class. "
    "Distances between clusters mean nothing in such a picture, and places in two pictures cannot be compared."
)
NOT_CHEAP = "Not plotted: not asked for, or a 3D network without a GPU, which takes long. --feature-cases 3 draws them."


@dataclass(frozen=True)
class Model:
    """A trained network: results folder <trainer>__<plans>__<configuration>, fold and checkpoint."""

    folder: str
    fold: str
    checkpoint: str


def model_of(run: Run) -> Model:
    """The run's own."""
    return Model(*split_fold(run.folder), run.checkpoint_name)


def find_before(folder: str, run: Run) -> Model:
    """The model before the adaptation: a fold folder, or a results folder with the run's fold or one fold alone.

    Raises:
        ResultsError: no trained model there.
    """
    above, fold = split_fold(folder)
    if not os.path.basename(os.path.abspath(folder)).startswith(FOLD):
        above, folds, fold = os.path.abspath(folder), folds_in(folder), split_fold(run.folder)[1]
        if fold not in folds and len(folds) == 1:
            fold = folds[0]
    file = find_checkpoint(find_fold(above, fold, "--before"), option="--before")
    return Model(above, fold, os.path.basename(file))


def is_cheap(run: Run) -> bool:
    """Whether a few cases through the network take seconds: on a GPU, or a 2D network."""
    patch = PlansManager(run.plans).get_configuration(run.configuration).patch_size
    return torch.cuda.is_available() or len(patch) == 2


def _cases(run: Run, predictions: Predictions | None, limit: int) -> tuple[dict[str, Case], dict[str, Case]]:
    """Source cases with labels; target cases with references where there are some, else predicted ones, else those
    of the planned dataset, without labels.

    Raises:
        ReportError, DatasetError: images that are not found in nnUNet_raw.
    """
    if not nnUNet_raw.is_set():
        raise ReportError("nnUNet_raw is not set.")
    source = load_dataset(run.source)
    labels = label_files(source)
    chosen_s = {case: (source.images[case], labels[case]) for case in spread(list(source.images), limit)}
    if predictions and predictions.references and predictions.images:
        ending = run.dataset_json["file_ending"]
        known = [case for case in predictions.images if isfile(join(predictions.references, case + ending))]
        return chosen_s, {
            case: (predictions.images[case], join(predictions.references, case + ending))
            for case in spread(known, limit)
        }
    images = predictions.images if predictions and predictions.images else load_dataset(run.target).images
    return chosen_s, {case: (images[case], None) for case in spread(list(images), limit)}


def features_section(run: Run, predictions: Predictions | None, before: Model | None, limit: int) -> Section:
    """A picture a model.

    Args:
        run: the run.
        predictions: target cases with references, if there are some.
        before: a model to compare with.
        limit: cases per domain; 0 leaves the pictures out.
    """
    if not limit:
        return Section(TITLE, [Text(NOT_CHEAP)])
    models = {**({"before": before} if before else {}), "this run": model_of(run)}
    try:
        collected = _collect(models, *_cases(run, predictions, limit))
        pictures = [_picture(title, features) for title, features in collected.items()]
    except NnudaError as error:
        return Section(TITLE, [Text(f"Not drawn. {error}")])
    except RuntimeError as error:  # a GPU that a training has to itself
        return Section(
            TITLE,
            [
                Text(
                    f"Not drawn. The network did not run: {error}. Make the report when the GPU is "
                    "free, or leave this out with --feature-cases 0."
                )
            ],
        )
    pseudo = next(iter(collected.values())).pseudo_labels
    kind = "what the network predicts" if pseudo else "their reference labels (oracle: true)"
    texts = [READING, f"At most {limit} cases per domain; classes of target voxels are {kind}."]
    texts += [] if before else ["To see it before the adaptation, name a source-only model with --before."]
    return Section(TITLE, [Pictures(pictures), *map(Text, texts)])


def _collect(models: Mapping[str, Model], source: dict[str, Case], target: dict[str, Case]) -> dict[str, ClassFeatures]:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    found = {}
    for title, model in models.items():
        print(f"Features, {title}: {len(source)} source and {len(target)} target cases", flush=True)
        found[title] = collect_features(model.folder, source, target, model.fold, model.checkpoint, device=device)
    return found


def _picture(title: str, features: ClassFeatures) -> Picture:
    other, same = neighbours(features)
    with tempfile.TemporaryDirectory() as folder:
        file = join(folder, "features.png")
        draw({title: (features, embed(features))}, file)
        with open(file, "rb") as content:
            return Picture(
                content.read(),
                f"features of both domains, {title}",
                f"{title}: of the nearest neighbours {100 * other:.0f} % are of the other domain (50 % "
                f"where both are mixed), {100 * same:.0f} % of the same class",
            )
