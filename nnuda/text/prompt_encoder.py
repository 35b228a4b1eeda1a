"""The dual prompts of UUDS and their text encoder.

References: "Unified Uncertain Dual-prompts Cross-domain Segmentation Framework for Medical Image Segmentation" (UUDS),
ICLR 2025 submission, section 3.1; Zhou et al., "Learning to Prompt for Vision-Language Models" (CoOp), IJCV 2022, for
the layout of the learnable prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import open_clip
import torch
from torch import Tensor, nn

from nnuda.text.clip_models import model_config
from nnuda.text.dimension import SMALL_TOWER_WIDTH
from nnuda.text.towers import TextTower, clip_tower, small_tower
from nnuda.text.weights import find_weights

DOMAIN_PROMPT = "A photo of a source domain"


class TextVectors(NamedTuple):
    """Encoded prompts, with their graph."""

    domain: Tensor
    """T^d, (D,)."""
    segmentation: Tensor
    """T^s, one a foreground class, (C_fg, D)."""


class PromptTextEncoder(nn.Module):
    """Hard domain prompt and learnable segmentation prompts through one text tower (UUDS, section 3.1).

    The first prompt of the tower is the domain prompt, "A photo of a source domain"; the others are CoOp's
    [SOS][v_1]..[v_M][class name][.][EOS] with context vectors that all classes share, drawn from N(0, 0.02^2).
    Tower, embeddings and context vectors are all trained.

    Args:
        tower: text tower over the tokens of `prompt_tokens`.
        context_length: M, number of context vectors.
        from_scratch: whether the tower's weights are random.
    """

    def __init__(self, tower: TextTower, context_length: int, from_scratch: bool) -> None:
        super().__init__()
        self.tower = tower
        self.context = nn.Parameter(torch.empty(context_length, tower.token_embedding.embedding_dim))
        nn.init.normal_(self.context, std=0.02)
        self.from_scratch = from_scratch

    @property
    def dimension(self) -> int:
        """Length D of a text vector."""
        return self.tower.dimension

    def forward(self) -> TextVectors:
        """Encode both kinds of prompts; in fp32, since they are too few for half precision to save time."""
        with torch.autocast(self.context.device.type, enabled=False):
            domain, classes = self.tower.embed().split([1, len(self.tower.tokens) - 1])
            context = self.context.expand(len(classes), -1, -1)
            classes = torch.cat((classes[:, :1], context, classes[:, 1 + len(self.context) :]), 1)
            vectors = self.tower(torch.cat((domain, classes)))
            return TextVectors(vectors[0], vectors[1:])


def build_text_encoder(
    model: str | None,
    pretrained: str | None,
    class_names: Sequence[str],
    context_length: int = 16,
    domain_prompt: str = DOMAIN_PROMPT,
    width: int = SMALL_TOWER_WIDTH,
) -> PromptTextEncoder:
    """Text encoder of the dual prompts. Never touches the network.

    Args:
        model: name of an open_clip configuration; None for a two-layer tower over open_clip's tokens.
        pretrained: path of a local file, hub tag in the local cache, or None for random weights.
        class_names: the foreground classes or regions, in the order of the network's channels.
        context_length: M, number of learnable context vectors.
        domain_prompt: the hard prompt T^d.
        width: of the two-layer tower, where no model is named.

    Raises:
        TextEncoderUnavailable: if the weights are not on this machine.
        ValueError: for a model without CLIP's text transformer, weights that are not the model's, or a prompt that is
            longer than the model reads.
    """
    file = None if pretrained is None else find_weights(model, pretrained)
    config = None if model is None else model_config(model)["text_cfg"]
    tokenizer = open_clip.SimpleTokenizer() if model is None else open_clip.get_tokenizer(model)
    limit = None if config is None else config.get("context_length", open_clip.CLIPTextCfg.context_length)
    bidirectional = config is not None and config.get("no_causal_mask", False)
    tokens = prompt_tokens(tokenizer, domain_prompt, class_names, context_length, limit, pad=bidirectional)
    tower = small_tower(tokens, width) if model is None else clip_tower(model, file, tokens)
    return PromptTextEncoder(tower, context_length, from_scratch=file is None)


def prompt_tokens(
    tokenizer: open_clip.SimpleTokenizer,
    domain_prompt: str,
    class_names: Sequence[str],
    context_length: int,
    limit: int | None,
    pad: bool,
) -> Tensor:
    """Token ids of the domain prompt and of each class's prompt.

    Args:
        tokenizer: open_clip's byte-pair encoding.
        domain_prompt: hard prompt, first row.
        class_names: a row each; underscores read as spaces, as in CoOp.
        context_length: places after start-of-text that the context vectors take, filled with 0.
        limit: most tokens that the text tower reads; None for no limit.
        pad: fill to `limit`. What follows end-of-text matters to a tower without a causal mask alone; the others are
            faster without it.

    Returns:
        int64, (1 + C_fg, L).

    Raises:
        ValueError: for a prompt longer than `limit`.
    """
    start, end = tokenizer.sot_token_id, tokenizer.eot_token_id
    prompts = [[start, *tokenizer.encode(domain_prompt), end]]
    for name in class_names:
        prompts.append([start, *[0] * context_length, *tokenizer.encode(f"{name.replace('_', ' ')}."), end])
    longest = max(len(prompt) for prompt in prompts)
    if limit is not None and longest > limit:
        raise ValueError(
            f"Expected prompts of at most {limit} tokens, got one of {longest} with {context_length} context vectors. "
            "Take fewer context vectors, or shorter class names or domain prompt."
        )
    length = limit if pad else longest
    return torch.tensor([prompt + [0] * (length - len(prompt)) for prompt in prompts])
