"""Encoders of fixed class texts: CLIP, a text model of Hugging Face, and two that need no weights."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from nnuda.errors import short
from nnuda.files import sha256
from nnuda.text.class_texts import ClassTextsError

if TYPE_CHECKING:
    import torch

NGRAMS, RANDOM, HUGGING_FACE = "ngrams", "random", "hf:"
RANDOM_DIMENSION = 512  # as CLIP ViT-B/32
WEIGHT_FILES = ("*.safetensors", "*pytorch_model*.bin")
OPEN_CLIP_CONFIG = "open_clip_config.json"  # of repositories that open_clip reads, BiomedCLIP's among them
Encoder = Callable[[Sequence[str]], np.ndarray]


def ngram_vectors(descriptions: Sequence[str]) -> np.ndarray:
    """Term vectors: how often each word and each three characters occur in a description.

    They say what texts share in letters, not in meaning.

    Args:
        descriptions: K texts.

    Returns:
        (K, D) counts over the D terms that occur, in the order of their letters.
    """
    counts = [Counter(_terms(text)) for text in descriptions]
    terms = sorted(set().union(*counts))
    return np.array([[float(count[term]) for term in terms] for count in counts])


def _terms(text: str) -> list[str]:
    words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
    padded = [f" {word} " for word in words]
    return [f"word {word}" for word in words] + [word[i : i + 3] for word in padded for i in range(len(word) - 2)]


def random_vectors(number: int, seed: int) -> np.ndarray:
    """Independent normal vectors, (number, 512): the control without any knowledge of the classes."""
    return np.random.default_rng(seed).standard_normal((number, RANDOM_DIMENSION))


def clip_encoder(model: str, pretrained: str) -> tuple[Encoder, dict[str, str]]:
    """Text tower of an open_clip model.

    Args:
        model: name of an open_clip configuration.
        pretrained: hub tag or local file.

    Returns:
        The encoder, (N texts) -> (N, D); file and SHA-256 of its weights.

    Raises:
        TextEncoderUnavailable, TextModelError: as `nnuda.text.weights.resolve_weights`.
    """
    import open_clip  # takes seconds

    from nnuda.text.towers import load_clip
    from nnuda.text.weights import TextEncoderUnavailable, resolve_weights

    try:
        weights = resolve_weights(model, pretrained)
    except TextEncoderUnavailable as error:
        raise TextEncoderUnavailable(
            f"{error.reason} Three ways out:\n"
            f"  1. a local file: {error.fetch}, and give its path: --text-weights FILE;\n"
            f"  2. another encoder: --text-model {HUGGING_FACE}FOLDER, or --text-model {NGRAMS}, which needs none;\n"
            "  3. --class-embeddings FILE: vectors that were made elsewhere.",
            error.reason,
            error.fetch,
        ) from error
    return _clip_texts(load_clip(model, Path(weights["file"])), open_clip.get_tokenizer(model)), weights


def _refuse_long(texts: Sequence[str], lengths: Sequence[int], limit: int) -> None:
    """A tokenizer cuts off what an encoder does not read, without a word: the end of a description, often its point."""
    for text, length in zip(texts, lengths):
        if length > limit:
            raise ClassTextsError(
                f"Expected texts of at most {limit} tokens, which is all that this encoder reads; got {length}: "
                f"{short(text)!r}. Describe the class in fewer words (--class-texts)."
            )


def _clip_texts(clip: torch.nn.Module, tokenizer: Callable) -> Encoder:
    import torch

    clip.eval()

    def encode(texts: Sequence[str]) -> np.ndarray:
        if hasattr(tokenizer, "encode"):  # open_clip's own; it marks beginning and end
            _refuse_long(texts, [len(tokenizer.encode(text)) + 2 for text in texts], tokenizer.context_length)
        with torch.no_grad():
            return clip.encode_text(tokenizer(list(texts))).float().numpy()

    return encode


def hugging_face_encoder(name: str) -> tuple[Encoder, dict[str, str]]:
    """A text model of Hugging Face.

    A text's vector is what open_clip makes of it where the repository is one of open_clip's, such as BiomedCLIP; else
    the mean over its tokens in the last layer.

    Args:
        name: repository, or a local folder with the model and its tokenizer.

    Returns:
        As `clip_encoder`; the hash is over all files of weights.

    Raises:
        TextEncoderUnavailable: transformers is not installed, or the model cannot be had here.
    """
    from nnuda.text.hub import hub_folder
    from nnuda.text.weights import TextEncoderUnavailable

    if (Path(name).expanduser() / OPEN_CLIP_CONFIG).is_file():
        return _open_clip_folder(Path(name).expanduser().absolute())
    try:
        from transformers import AutoModel, AutoTokenizer
    except ImportError as error:
        raise TextEncoderUnavailable(
            f'--text-model {HUGGING_FACE}{name} needs transformers: pip install "nnuda[hf]". Without it '
            f"there are an open_clip model with --text-weights, {NGRAMS}, and --class-embeddings with vectors of "
            "your own."
        ) from error
    import torch

    folder = hub_folder(name, ["*.json", "*.txt", "*.model", *WEIGHT_FILES])
    if (folder / OPEN_CLIP_CONFIG).is_file():
        return _open_clip_folder(folder)
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model = AutoModel.from_pretrained(folder, local_files_only=True).eval()
    except Exception as error:  # transformers raises a dozen kinds
        raise TextEncoderUnavailable(f"Expected a text model with its tokenizer in {folder}: {error}") from error
    model = getattr(model, "text_model", model)
    limit = getattr(tokenizer, "model_max_length", None)

    def encode(texts: Sequence[str]) -> np.ndarray:
        if limit is not None:
            ids = tokenizer(list(texts), padding=False, truncation=False)["input_ids"]
            _refuse_long(texts, [len(of_text) for of_text in ids], limit)
        tokens = tokenizer(list(texts), padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            vectors = model(**tokens).last_hidden_state.float()
        read = tokens["attention_mask"][:, :, None]
        return ((vectors * read).sum(1) / read.sum(1)).numpy()

    return encode, _hashed(folder)


def _open_clip_folder(folder: Path) -> tuple[Encoder, dict[str, str]]:
    import open_clip

    from nnuda.text.weights import TextEncoderUnavailable

    try:
        clip = open_clip.create_model(f"local-dir:{folder}", require_pretrained=True)
        tokenizer = open_clip.get_tokenizer(f"local-dir:{folder}")
    except Exception as error:  # open_clip and transformers raise a dozen kinds
        raise TextEncoderUnavailable(
            f"Expected a model of open_clip's with its weights in {folder}: {error}\nA text tower of Hugging Face's "
            "(BiomedCLIP has one) needs nnuda[hf], and the configuration that hf_model_name in "
            f"{OPEN_CLIP_CONFIG} names: a folder, or a repository in the local cache."
        ) from error
    return _clip_texts(clip, tokenizer), _hashed(folder)


def _hashed(folder: Path) -> dict[str, Any]:

    files = sorted({file for pattern in WEIGHT_FILES for file in folder.glob(pattern)})
    digest = hashlib.sha256("".join(sha256(file) for file in files).encode())
    return {"file": str(folder), "sha256": digest.hexdigest()}
