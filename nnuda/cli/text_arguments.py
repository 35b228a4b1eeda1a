"""Options for class embeddings, which methods guided by text read."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nnuda.text.class_embeddings import ClassEmbeddings


def add_texts(parser: argparse.ArgumentParser) -> None:
    """What each class is called, and what makes vectors of it."""
    group = parser.add_argument_group("class embeddings", "vectors of the classes' names, for methods guided by text")
    group.add_argument(
        "--text-model",
        metavar="MODEL",
        help="an open_clip model (with --text-weights), hf:NAME (a text model of Hugging Face, needs "
        "nnuda[hf]), ngrams (words and letters of the descriptions, nothing to download), "
        "random[:SEED] (control)",
    )
    group.add_argument("--text-weights", metavar="WEIGHTS", help="of the open_clip model: hub tag or local file")
    group.add_argument(
        "--class-texts",
        metavar="FILE",
        help="JSON with descriptions of classes, modality words of both domains, templates (default: "
        "from both dataset.json)",
    )
    group.add_argument(
        "--class-embeddings",
        metavar="FILE",
        help="vectors of your own instead: .json {name: [numbers]} or .npz, one per class, background included",
    )


def read_texts(
    args: argparse.Namespace, dataset_json: dict, channels_s: dict[str, str], channels_t: dict[str, str]
) -> ClassEmbeddings | None:
    """Make the embeddings, and say what they are; None where no option asks for them.

    Raises:
        PlanningError, ClassTextsError, TextEncoderUnavailable, TextModelError: as `make_class_embeddings`.
    """
    from nnuda.planning.plan_embeddings import TextRequest, make_class_embeddings
    from nnuda.text.class_embeddings import describe

    request = TextRequest(args.text_model, args.text_weights, args.class_texts, args.class_embeddings)
    embeddings = make_class_embeddings(request, dataset_json, channels_s, channels_t)
    if embeddings is not None:
        print(f"Class embeddings: {describe(embeddings)}", flush=True)
    return embeddings
