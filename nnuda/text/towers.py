"""Text towers: the text half of a CLIP model, callable on embeddings so that learnable vectors can stand among them."""

from __future__ import annotations

from pathlib import Path

import open_clip
import torch
from open_clip.transformer import TextTransformer
from torch import Tensor, nn

from nnuda.text.clip_models import TextModelError
from nnuda.text.weights import is_jit_archive

JIT_CONSTANTS = ("input_resolution", "context_length", "vocab_size")
"""Numbers among the weights of OpenAI's archives."""


class TextTower(nn.Module):
    """CLIP's text encoder over the tokens that occur in the given prompts.

    The embedding table shrinks from 49408 rows to the tokens that occur: the others never get a gradient, but would
    fill two thirds of the optimizer's and the checkpoint's memory. Takes over the modules of `transformer`.

    Args:
        transformer: an open_clip text transformer, or a whole CLIP model whose text half is laid out as one.
        tokens: token ids of every prompt, (N, L), padded with 0.
    """

    def __init__(self, transformer: nn.Module, tokens: Tensor) -> None:
        super().__init__()
        used, compact = tokens.unique(return_inverse=True)
        table = transformer.token_embedding.weight.detach()[used].clone()
        self.token_embedding = nn.Embedding.from_pretrained(table, freeze=False)
        self.positional_embedding = transformer.positional_embedding
        self.transformer = transformer.transformer
        self.ln_final = transformer.ln_final
        self.text_projection = transformer.text_projection
        self.register_buffer("attention_mask", transformer.attn_mask, persistent=False)
        self.register_buffer("tokens", compact, persistent=False)
        self.register_buffer("end", tokens.argmax(1), persistent=False)  # end-of-text has the highest id

    @property
    def dimension(self) -> int:
        """Length D of a text vector."""
        return self.text_projection.shape[1]

    def embed(self) -> Tensor:
        """Token embeddings of the prompts, (N, L, width), positions not yet added."""
        return self.token_embedding(self.tokens)

    def forward(self, embeddings: Tensor) -> Tensor:
        """Text vectors (N, D) of prompts given as embeddings (N, L, width): the projection at end-of-text."""
        length = embeddings.shape[1]
        mask = None if self.attention_mask is None else self.attention_mask[:length, :length]
        features = self.ln_final(self.transformer(embeddings + self.positional_embedding[:length], attn_mask=mask))
        return features[torch.arange(len(features), device=features.device), self.end] @ self.text_projection


def load_clip(model: str, file: Path | None) -> nn.Module:
    """A whole open_clip model with the weights of a local file, or random ones.

    Args:
        model: name of an open_clip configuration.
        file: .safetensors, .pt or .bin state dict, or OpenAI's TorchScript archive; None for random weights.

    Raises:
        TextModelError: if the file's weights are not the model's.
    """
    if file is None:
        return open_clip.create_model(model)
    try:
        if not is_jit_archive(file):
            return open_clip.create_model(model, pretrained=str(file))
        weights = torch.jit.load(file, map_location="cpu").state_dict()
        clip = open_clip.create_model(model)
        clip.load_state_dict({key: value for key, value in weights.items() if key not in JIT_CONSTANTS})
        return clip
    except Exception as error:  # torch, safetensors, pickle and open_clip each have their own
        raise TextModelError(f"Expected weights of the open_clip model {model} in {file}: {error}") from error


def clip_tower(model: str, file: Path | None, tokens: Tensor) -> TextTower:
    """Text tower of an open_clip model; the image half is dropped."""
    clip = load_clip(model, file)
    return TextTower(getattr(clip, "text", clip), tokens)


def small_tower(tokens: Tensor, width: int) -> TextTower:
    """Two-layer text tower with random weights, for tokens (N, L)."""
    vocabulary = int(tokens.max()) + 1
    transformer = TextTransformer(
        context_length=tokens.shape[1], vocab_size=vocabulary, width=width, heads=4, layers=2, output_dim=width
    )
    return TextTower(transformer, tokens)
