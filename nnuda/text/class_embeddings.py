"""Fixed class embeddings: encoded once at planning, kept beside the plan, read by training."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnuda.errors import short
from nnuda.files import inside, read_arrays, read_json, replacing, sha256
from nnuda.settings import largest_seed
from nnuda.text.class_encoders import (
    HUGGING_FACE,
    NGRAMS,
    RANDOM,
    clip_encoder,
    hugging_face_encoder,
    ngram_vectors,
    random_vectors,
)
from nnuda.text.class_texts import ClassTexts, ClassTextsError

ENTRY = "class_embeddings"  # of the plan's key
VECTORS_SCHEMA = {
    "type": "object",
    "additionalProperties": {"type": "array", "minItems": 1, "items": {"type": ["number", "array"]}},
}
SAME = 1e-4  # relative distance below which two classes have the same vector


@dataclass(frozen=True)
class ClassEmbeddings:
    """
    Attributes:
        names: the background, then the foreground classes or regions.
        by_domain: (2, K, D) float32 unit vectors, with the source's modality words and with the target's; equal where
            no words enter.
        origin: what they were made by: model, weights, templates, texts.
    """

    names: tuple[str, ...]
    by_domain: np.ndarray
    origin: dict[str, Any]

    @property
    def mean(self) -> np.ndarray:
        """(K, D) unit vectors, the mean over both domains: what does not depend on the modality."""
        return unit(self.by_domain.astype(np.float64).mean(0)).astype(np.float32)


def encode_class_texts(texts: ClassTexts, model: str, weights: str | None = None) -> ClassEmbeddings:
    """Embeddings of class texts; with a text model the mean over a domain's prompts, then of unit length.

    Args:
        texts: names, descriptions, modality words, templates.
        model: name of an open_clip configuration, hf:NAME, ngrams, random, or random:SEED.
        weights: for an open_clip model its hub tag or local file.

    Raises:
        TextEncoderUnavailable: weights or package that cannot be had here; the message has the ways out.
        ClassTextsError: weights missing or superfluous; classes with the same vector.
        TextModelError: unknown model, or weights of another.
    """
    if model in (NGRAMS, RANDOM) or model.startswith((f"{RANDOM}:", HUGGING_FACE)):
        if weights is not None:
            raise ClassTextsError(
                f"--text-weights {weights} belongs to an open_clip model; --text-model {model} takes "
                "none. Leave it out."
            )
    elif weights is None:
        raise ClassTextsError(
            f"--text-model {model} needs --text-weights: a hub tag or a local file. Without weights "
            f"there are --text-model {NGRAMS} (words and letters of the descriptions) and "
            "--class-embeddings (vectors of your own)."
        )
    origin = {"model": model, "weights": None, "descriptions": dict(zip(texts.names, texts.descriptions))}
    if model == NGRAMS:
        return _checked(texts.names, np.stack([ngram_vectors(texts.descriptions)] * 2), origin)
    if model.partition(":")[0] == RANDOM:
        return _checked(texts.names, np.stack([random_vectors(len(texts.names), _seed(model))] * 2), origin)
    if model.startswith(HUGGING_FACE):
        encode, origin["weights"] = hugging_face_encoder(model.removeprefix(HUGGING_FACE))
    else:
        encode, origin["weights"] = clip_encoder(model, weights)
    words_s, words_t = map(list, texts.modalities)
    origin |= {"templates": list(texts.templates), "modalities": {"source": words_s, "target": words_t}}
    vectors = [[encode(texts.prompts(k, domain)).mean(0) for k in range(len(texts.names))] for domain in range(2)]
    return _checked(texts.names, np.array(vectors), origin)


def read_embeddings_file(file: str, names: list[str]) -> ClassEmbeddings:
    """Embeddings of one's own.

    Args:
        file: .json {name: [numbers]} or .npz with an array a name, one for each of `names`.
        names: the background, then the foreground classes or regions.

    Raises:
        FileError: no such file, damaged, or another form.
        ClassTextsError: classes without a vector, or vectors that are none.
    """
    what = "--class-embeddings: a .json {name: [numbers]} or .npz with one vector per class"
    content = read_arrays(file, what) if file.endswith(".npz") else read_json(file, what, VECTORS_SCHEMA)
    try:
        vectors = {name: np.asarray(vector, np.float64) for name, vector in content.items()}
    except (ValueError, TypeError, OverflowError) as error:
        raise ClassTextsError(f"{file}: expected {what}: {error}") from error
    missing, other = [name for name in names if name not in vectors], [name for name in vectors if name not in names]
    if missing or other:
        raise ClassTextsError(
            f"{file}: expected one vector for each of {', '.join(names)}; missing: "
            f"{', '.join(missing) or 'none'}; unknown: {', '.join(other) or 'none'}."
        )
    shapes = {vectors[name].shape for name in names}
    if len(shapes) > 1 or len(next(iter(shapes))) != 1:
        raise ClassTextsError(
            f"{file}: expected vectors of one length; got the shapes {', '.join(map(str, sorted(shapes)))}."
        )
    stacked = np.stack([vectors[name] for name in names])
    origin = {"model": "file", "weights": {"file": os.path.abspath(file), "sha256": sha256(file)}}
    return _checked(tuple(names), np.stack([stacked] * 2), origin, f"{file}: ")


def store(embeddings: ClassEmbeddings, folder: str) -> dict[str, Any]:
    """Write the .npz, named by its content, and return the entry of the plan's key."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        names=np.array(embeddings.names),
        by_domain=embeddings.by_domain,
        origin=np.array(json.dumps(embeddings.origin)),
    )
    content = buffer.getvalue()
    digest = hashlib.sha256(content).hexdigest()
    name = f"nnUDA_{ENTRY}_{digest[:12]}.npz"
    with replacing(os.path.join(folder, name)) as aside:
        Path(aside).write_bytes(content)
    return {
        "file": name,
        "sha256": digest,
        "dimension": embeddings.by_domain.shape[2],
        "classes": list(embeddings.names),
        **embeddings.origin,
    }


def load(entry: dict[str, Any] | None, folder: str, names: list[str], plans_name: str = "PLANS") -> ClassEmbeddings:
    """The embeddings that a plan names.

    Args:
        entry: the plan's `domain_adaptation.class_embeddings`, or None.
        folder: where the plan lies.
        names: the classes that they must be for, background first.
        plans_name: of the plan, for the message.

    Raises:
        ClassTextsError: none in the plan, file gone or changed, or other classes.
    """
    again = (
        f"Make a plan with them: nnUDA_configure -d {os.path.basename(folder)} -p {plans_name} --as NAME "
        f"--text-model MODEL --text-weights WEIGHTS (nothing to download: --text-model {NGRAMS})."
    )
    if entry is None:
        raise ClassTextsError(f"The plan {plans_name} has no class embeddings. {again}")
    file = inside(folder, entry["file"], "class embeddings of the plan")
    if not os.path.isfile(file) or sha256(file) != entry["sha256"]:
        raise ClassTextsError(
            f"Expected the class embeddings that the plan was made with in {file} (sha256 "
            f"{entry['sha256'][:12]}...); they are gone or others. Put the file back. {again}"
        )
    arrays = read_arrays(file, "the class embeddings of a plan", again)
    try:
        origin = json.loads(str(arrays["origin"]))
        embeddings = ClassEmbeddings(tuple(arrays["names"].tolist()), arrays["by_domain"], origin)
    except (KeyError, ValueError) as error:
        raise ClassTextsError(f"{file}: expected class embeddings as planning stores them. {again}") from error
    if list(embeddings.names) != list(names):
        raise ClassTextsError(
            f"{file}: expected embeddings of {', '.join(names)}; got {', '.join(embeddings.names)}. {again}"
        )
    return embeddings


def describe(embeddings: ClassEmbeddings) -> str:
    """One line on where embeddings come from, without flattery."""
    model = embeddings.origin["model"]
    what = {NGRAMS: "n-grams: letters and words of the descriptions, no language model", "file": "vectors from a file"}
    what = what.get(model, model)
    if model.partition(":")[0] == RANDOM:
        what = f"{model}: RANDOM vectors, a control that knows nothing of the classes"
    words = {word for words in embeddings.origin.get("modalities", {}).values() for word in words}
    of = f", mean over {', '.join(sorted(words))}" if words else ""
    return f"{what}; {len(embeddings.names)} classes, {embeddings.by_domain.shape[2]} numbers each{of}"


def unit(vectors: np.ndarray) -> np.ndarray:
    """Rows of unit length."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _checked(names: tuple[str, ...], by_domain: np.ndarray, origin: dict[str, Any], where: str = "") -> ClassEmbeddings:
    by_domain = by_domain.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(by_domain, axis=-1)
    # the length of a vector of 1e308 is infinite, that of one of 1e-200 is 0: neither has a direction
    wrong = [name for k, name in enumerate(names) if not np.isfinite(lengths[:, k]).all() or not lengths[:, k].all()]
    if wrong:
        raise ClassTextsError(
            f"{where}expected finite class embeddings that are not 0, nor so large that their length overflows; got "
            f"others for {', '.join(wrong)}."
        )
    by_domain = unit(by_domain)
    mean = unit(by_domain.mean(0))
    for a in range(len(names)):
        for b in range(a):
            if np.linalg.norm(mean[a] - mean[b]) < SAME:
                raise ClassTextsError(
                    f"The classes {names[b]} and {names[a]} have the same embedding: no loss can "
                    "tell them apart. Describe them in other words (--class-texts)."
                )
    return ClassEmbeddings(tuple(names), by_domain.astype(np.float32), origin)


def _seed(model: str) -> int:
    seed = model.partition(":")[2] or "0"
    if not re.fullmatch(r"\d{1,18}", seed, re.ASCII) or int(seed) > largest_seed():
        raise ClassTextsError(
            f"--text-model {RANDOM}:SEED: expected a whole number from 0 to {largest_seed()}; got {short(model)!r}."
        )
    return int(seed)
