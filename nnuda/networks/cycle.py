"""The cycle of similarity-based prototypes (Ye et al., arXiv 2510.20596): two generators, one per domain."""

from __future__ import annotations

import math
from copy import deepcopy
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, logsigmoid

from nnuda.networks.generator import Generator, GeneratorOutput


class CycleOutput(NamedTuple):
    """The four streams of a training step.

    Attributes:
        source: G_S of x_s; its image is x_{s->t}.
        source_in_target: G_T of x_{s->t}, to which the source's labels belong as well; its image is x_{s->t->s}.
        target: G_T of x_t; its image is x_{t->s}.
        target_in_source: G_S of x_{t->s}; its image is x_{t->s->t}.
    """

    source: GeneratorOutput
    source_in_target: GeneratorOutput
    target: GeneratorOutput
    target_in_source: GeneratorOutput


class CycleNetwork(nn.Module):
    """G_S and G_T; prediction averages the probabilities of an image and of its translation.

    Both start from the same weights, so that their embeddings mean the same from the start.

    Args:
        generator: G_T; G_S becomes a copy of it.
        num_image_channels: C_in.
        regions: Whether the logits are sigmoid channels instead of a softmax.

    Attributes:
        domain: "target" or "source", the domain of the images that a forward of one batch segments. Prediction is on
            target; nnU-Net's validation cases are the source's.
    """

    def __init__(self, generator: Generator, num_image_channels: int, regions: bool) -> None:
        super().__init__()
        self.generator_t, self.generator_s = generator, deepcopy(generator)
        self.num_image_channels, self.regions, self.domain = num_image_channels, regions, "target"

    @property
    def encoder(self) -> nn.Module:
        """G_T's encoder."""
        return self.generator_t.encoder

    @property
    def decoder(self) -> nn.Module:
        """G_T's decoder; its `deep_supervision`, which nnU-Net sets, counts for both generators."""
        return self.generator_t.decoder

    def forward(
        self, x: Tensor, x_t: Tensor | None = None, augmented: Tensor | None = None
    ) -> Tensor | list[Tensor] | CycleOutput | tuple[CycleOutput, Tensor | list[Tensor]]:
        """Segment images, or with `x_t` run the whole cycle.

        Args:
            x: (B, C_in, *S) of `domain`; with `x_t` source images x_s.
            x_t: Target images (B_t, C_in, *S).
            augmented: (B, C_in, *S), an augmented view of x_s, which G_S segments besides.

        Returns:
            Logits (B, C, *S), or a list of them with deep supervision, whose softmax (sigmoid) is the average of both
            generators'; with `x_t` a CycleOutput; with `augmented` a pair of it and of the logits of that view.
        """
        if x_t is None:
            return self._average(x)
        source, target = self.generator_s(x), self.generator_t(x_t)
        streams = (source, self.generator_t(source.image), target, self.generator_s(target.image))
        cycle = CycleOutput(*(stream._replace(logits=self._supervised(stream.logits)) for stream in streams))
        if augmented is None:
            return cycle
        return cycle, self._supervised(self.generator_s.segment(augmented)[0])

    def _average(self, x: Tensor) -> Tensor | list[Tensor]:
        first, second = self.generator_t, self.generator_s
        if self.domain == "source":
            first, second = second, first
        own, features = first.segment(x)
        translated, _ = second.segment(first.image_head(features))
        if not self.decoder.deep_supervision:
            return average_logits(own[0], translated[0], self.regions)
        return [average_logits(*pair, self.regions) for pair in zip(own, translated)]

    def _supervised(self, logits: list[Tensor]) -> Tensor | list[Tensor]:
        return logits if self.decoder.deep_supervision else logits[0]


def average_logits(a: Tensor, b: Tensor, regions: bool = False) -> Tensor:
    """Logits of the average of two predictions, float32 under autocast.

    Args:
        a: (B, C, *S).
        b: Likewise.
        regions: False: log((softmax(a) + softmax(b)) / 2), which the softmax leaves as it is; True: logit of the
            average of the sigmoids.

    Returns:
        (B, C, *S).
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b = (x.to(torch.promote_types(x.dtype, torch.float32)) for x in (a, b))
        if regions:
            return torch.logaddexp(logsigmoid(a), logsigmoid(b)) - torch.logaddexp(logsigmoid(-a), logsigmoid(-b))
        return torch.logaddexp(log_softmax(a, 1), log_softmax(b, 1)) - math.log(2)
