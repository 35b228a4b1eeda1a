"""open_clip models whose text tower takes learnable prompts."""

from __future__ import annotations

import difflib
from typing import Any

import open_clip

from nnuda.errors import NnudaError


class TextModelError(NnudaError, ValueError):
    """A text model that is unknown or does not fit, or weights of another."""


def model_config(model: str) -> dict[str, Any]:
    """Configuration of an open_clip model, checked for a text tower that prompts can be put into.

    Args:
        model: name of one of open_clip's configurations.

    Returns:
        open_clip's configuration: embed_dim, vision_cfg, text_cfg, quick_gelu.

    Raises:
        TextModelError: for an unknown name; for a text tower from Hugging Face, with a tokenizer of its own or with
            another pooling than CLIP's: learnable vectors are put among the token embeddings of open_clip's own
            transformer, and read off at its end-of-text token.
    """
    if model not in open_clip.list_models():
        nearest = difflib.get_close_matches(model, open_clip.list_models(), n=3, cutoff=0.4)
        raise TextModelError(
            f"Expected the name of an open_clip configuration, got {model!r}. "
            f"Nearest: {', '.join(nearest) or 'none'}; all: open_clip.list_models()."
        )
    config = open_clip.get_model_config(model)
    text = config["text_cfg"]
    own = not any(key in text for key in ("hf_model_name", "hf_tokenizer_name", "embed_cls", "proj_type", "proj_bias"))
    if not own or text.get("pool_type", "argmax") != "argmax":
        raise TextModelError(
            "Expected a model with CLIP's own text transformer, tokenizer and end-of-text pooling; "
            f"{model} has another. Take one of the RN50, RN101 or ViT-B-32 families, for example RN50-quickgelu."
        )
    return config
