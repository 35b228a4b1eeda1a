"""Class embeddings that a planning command asks for: made before any long work, stored beside the plan."""

from __future__ import annotations

import os
from dataclasses import dataclass

from nnunetv2.paths import nnUNet_preprocessed

from nnuda.datasets import Domain
from nnuda.errors import PlanningError
from nnuda.find_trainer import find_trainer
from nnuda.labels import class_names
from nnuda.settings import effective_settings
from nnuda.text.class_embeddings import ClassEmbeddings, encode_class_texts, load, read_embeddings_file, store
from nnuda.text.class_texts import default_texts, read_class_texts


@dataclass(frozen=True)
class TextRequest:
    """
    Attributes:
        model: --text-model.
        weights: --text-weights.
        texts: --class-texts, a file.
        embeddings: --class-embeddings, a file.
    """

    model: str | None = None
    weights: str | None = None
    texts: str | None = None
    embeddings: str | None = None


def make_class_embeddings(
    request: TextRequest, dataset_json: dict, channels_s: dict[str, str], channels_t: dict[str, str]
) -> ClassEmbeddings | None:
    """What the options ask for; None where they ask for nothing.

    Args:
        request: the options.
        dataset_json: the source's.
        channels_s: the source's channel names.
        channels_t: the target's.

    Raises:
        PlanningError: options that do not go together.
        ClassTextsError: files that do not fit.
        TextEncoderUnavailable, TextModelError: encoders that cannot be had here.
    """
    if request == TextRequest():
        return None
    if request.embeddings and (request.model or request.weights or request.texts):
        raise PlanningError(
            "--class-embeddings are vectors already: leave --text-model, --text-weights and --class-texts out."
        )
    if not request.embeddings and not request.model:
        raise PlanningError(
            "--text-weights and --class-texts are for a text model: name it with --text-model (an "
            "open_clip model, hf:NAME, ngrams)."
        )
    names = class_names(dataset_json)
    if request.embeddings:
        return read_embeddings_file(request.embeddings, names)
    texts = default_texts(names, channels_s, channels_t)
    texts = read_class_texts(request.texts, texts) if request.texts else texts
    return encode_class_texts(texts, request.model, request.weights)


def check_trainer(trainer: str, settings: dict, given: bool, old_key: dict, source: Domain) -> None:
    """Stop before any long work where a trainer would stop at its start.

    Args:
        trainer: -tr.
        settings: overrides of presets.
        given: whether the plan gets embeddings.
        old_key: of the plan that is extended; may have embeddings, too.
        source: the labelled dataset.

    Raises:
        PlanningError: the trainer reads embeddings and there are none.
        ClassTextsError: those of the plan are gone, or others.
        SettingsError: what the trainer's own check finds.
    """
    trainer_class, names = find_trainer(trainer), class_names(source.dataset_json)
    settings = effective_settings(trainer_class.preset, settings)
    reads = not given and trainer_class.reads_class_embeddings(settings)
    if reads and "class_embeddings" in old_key:
        load(old_key["class_embeddings"], os.path.join(nnUNet_preprocessed, source.name), names)
    elif reads:
        raise PlanningError(
            f"{trainer} reads class embeddings, and none were asked for. Add --text-model MODEL "
            "--text-weights WEIGHTS (an open_clip model), --text-model hf:NAME, --text-model ngrams "
            "(nothing to download) or --class-embeddings FILE; or switch off what reads them (--set, "
            f"see the {trainer_class.preset} settings)."
        )
    trainer_class.check(settings, names)


def with_class_embeddings(key: dict, embeddings: ClassEmbeddings | None, old_key: dict) -> dict:
    """The plan's key with new embeddings, which are stored here, or with those that the plan had."""
    if embeddings is not None:
        return {**key, "class_embeddings": store(embeddings, os.path.join(nnUNet_preprocessed, key["source"]))}
    return {**key, "class_embeddings": old_key["class_embeddings"]} if "class_embeddings" in old_key else key


def planned_class_embeddings(key: dict) -> ClassEmbeddings:
    """The embeddings of a plan.

    Raises:
        ClassTextsError: the plan has none, or the file is gone or changed.
    """
    entry = key.get("class_embeddings")
    return load(entry, os.path.join(nnUNet_preprocessed, key["source"]), entry["classes"] if entry else [])
