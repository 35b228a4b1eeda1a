"""Length of a text vector, known without building an encoder or reading weights."""

from __future__ import annotations

SMALL_TOWER_WIDTH = 64
"""Width of the text tower that is trained from scratch where no model is named."""


def text_dimension(model: str | None) -> int:
    """Length D of the vectors that the text encoder of a model gives.

    Args:
        model: name of an open_clip configuration, or None for the small text tower.

    Returns:
        The model's joint embedding dimension, 1024 for RN50.

    Raises:
        ValueError: for a model that open_clip does not know or whose text tower takes no learnable prompts.
    """
    if model is None:
        return SMALL_TOWER_WIDTH
    # Imports open_clip, which takes seconds and which prediction without a named model can do without.
    from nnuda.text.clip_models import model_config

    return model_config(model)["embed_dim"]
