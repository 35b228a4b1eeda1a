"""The network of UUDS: one graph that adapts and segments (section 3 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from nnuda.networks.attention import DomainAdaptationModule, SegmentationAttentionModule
from nnuda.networks.forward_frozen import forward_frozen
from nnuda.networks.image_decoder import ImageDecoder

MAX_ATTENTION_CHANNELS = 512  # nnU-Net's widest bottleneck; keeps DAM and SAM light on CLIP's 2048 channels


class UUDSOutput(NamedTuple):
    """What the losses of UUDS are computed from; the source's images come first along B.

    Attributes:
        logits: (B, C, *S), or a list of them, full resolution first, with deep supervision.
        image: Decoded images (B, C_in, *S): X~^s for source, X^{t->s} for target.
        x_g: Global domain vectors (B, D); None without domain prompt.
        x_g_synthetic: x_g of the decoded target images (B_t, D); None without domain prompt or target.
        segmentation_features: Content that each class's prompt attends to (B, C_fg, F, *s), for L_BSCL; None without
            segmentation prompt.
    """

    logits: Tensor | list[Tensor]
    image: Tensor
    x_g: Tensor | None
    x_g_synthetic: Tensor | None
    segmentation_features: Tensor | None


class UUDSNetwork(nn.Module):
    """Image encoder, DAM, image decoder, SAM and segmentation decoder of UUDS.

    With the weights of a plain nnU-Net in `encoder` and `decoder` and all else new, the logits are the plain nnU-Net's:
    the prompts and the generator's features enter the segmentation decoder through factors that start at 0.

    Args:
        encoder: Image encoder with nnU-Net's attributes: image -> features, full resolution first, X_c last.
        decoder: nnU-Net's decoder for these features.
        domain_features: X_c -> (X_d, x_g), with an attribute `channels`, those of X_d; None for no domain prompt.
        num_input_channels: Channels of the image.
        num_foreground_classes: C_fg, the number of segmentation prompts.
        text_dimension: Length D of a text vector.
        dam: Form of the domain adaptation module: "gate", "channel" or "adain".
        segmentation_prompt: False leaves SAM out (ablation).
        decoders: "shared", one image decoder for both domains, or "per_domain".
        distils_encoder: True lets L_DD pull the image encoder's features of both domains apart, as the paper's single
            graph implies; False keeps it to X_d, x_g, T^d and, through the re-encoded image, the generator.
        generator_detached: True lets the generator read the encoder's features without training the encoder.

    Attributes:
        joined: False keeps the prompts' attention and the generator's features out of the segmentation decoder, so that
            the network segments as a plain nnU-Net; what would let them in stays at 0.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        domain_features: nn.Module | None,
        num_input_channels: int,
        num_foreground_classes: int,
        text_dimension: int,
        dam: str = "gate",
        segmentation_prompt: bool = True,
        decoders: str = "shared",
        distils_encoder: bool = False,
        generator_detached: bool = False,
    ) -> None:
        super().__init__()
        self.generator_detached, self.joined = generator_detached, True
        if decoders not in ("shared", "per_domain"):
            raise ValueError(f"uuds.decoders must be shared or per_domain; it is {decoders!r}. Correct the setting.")
        self.encoder, self.decoder, self.domain_features = encoder, decoder, domain_features
        self.distils_encoder = distils_encoder
        conv_op, channels = encoder.conv_op, list(encoder.output_channels)
        self.content_channels = channels[-1]
        attention_channels = min(channels[-1], MAX_ATTENTION_CHANNELS)

        form, domain_channels = (None, 0) if domain_features is None else (dam, domain_features.channels)
        self.dam = DomainAdaptationModule(
            channels[-1], domain_channels, attention_channels, text_dimension, conv_op, form
        )
        self.sam = None
        if segmentation_prompt:
            self.sam = SegmentationAttentionModule(
                channels[-1], attention_channels, num_foreground_classes, text_dimension, conv_op
            )
        self.image_decoder = ImageDecoder(
            attention_channels, channels, encoder.kernel_sizes, num_input_channels, conv_op
        )
        # an equal start, so that what the segmentation decoder learns from source features means something for target
        self.source_image_decoder = deepcopy(self.image_decoder) if decoders == "per_domain" else None
        self.fusion = nn.ModuleList(
            conv_op(width, skip, 1, bias=False) for width, skip in zip(self.image_decoder.widths, channels[:-1])
        )
        for conv in self.fusion:
            nn.init.zeros_(conv.weight)
        self.register_buffer("domain_text", torch.zeros(text_dimension))
        self.register_buffer("segmentation_text", torch.zeros(num_foreground_classes, text_dimension))
        has_batch_norm = any(isinstance(module, _BatchNorm) for module in self.modules())
        self.one_forward_per_domain = has_batch_norm or decoders == "per_domain"

    def set_text(self, domain: Tensor, segmentation: Tensor) -> None:
        """Keep text vectors, domain (D,) and segmentation (C_fg, D), for forwards without text and for prediction."""
        with torch.no_grad():
            self.domain_text.copy_(domain)
            self.segmentation_text.copy_(segmentation)

    def forward(
        self,
        x: Tensor,
        text: Sequence[Tensor] | None = None,
        num_source: int = 0,
        reencode: bool = True,
    ) -> Tensor | list[Tensor] | UUDSOutput:
        """Segment images; with `text`, all that the losses of UUDS need as well.

        Args:
            x: Images (B, C_in, *S), source first.
            text: T^d (D,) and T^s (C_fg, D) with their graph; None takes the kept vectors and gives logits alone.
            num_source: How many of the images are source images.
            reencode: False leaves x_g_synthetic out, where no loss asks for it.

        Returns:
            Logits (B, C, *S), or a list of them with deep supervision; with `text` a UUDSOutput.
        """
        if text is None:
            return self._segment(x, (self.domain_text, self.segmentation_text), self.image_decoder)[0]
        if self.one_forward_per_domain and 0 < num_source < x.shape[0]:
            # with BatchNorm, a domain's images are normalised among themselves, and prediction is on target:
            # the running statistics are the target's
            with running_statistics_kept(self):
                source = self._adapt(x[:num_source], text, self.source_image_decoder or self.image_decoder)
            output = concatenate(source, self._adapt(x[num_source:], text, self.image_decoder))
        else:
            output = self._adapt(x, text, self.image_decoder)
        if not reencode or self.domain_features is None or num_source == x.shape[0]:
            return output
        with running_statistics_kept(self):
            encode = self.encoder if self.distils_encoder else partial(forward_frozen, self.encoder)
            _, x_g_synthetic = self.domain_features(encode(output.image[num_source:])[-1])
        return output._replace(x_g_synthetic=x_g_synthetic)

    def _segment(self, x: Tensor, text: Sequence[Tensor], image_decoder: ImageDecoder) -> tuple:
        domain_text, segmentation_text = text
        *skips, content = self.encoder(x)  # X_c
        domain, x_g = None, None  # X_d, x_g
        if self.domain_features is not None:
            domain, x_g = self.domain_features(content if self.distils_encoder else content.detach())
        read, *read_skips = (x.detach() if self.generator_detached else x for x in (content, *skips))
        adapted = self.dam(read, domain_text, domain)  # x^d
        generated = image_decoder(adapted, read_skips)  # multi-level features of the generator
        attended, per_class = content, None
        if self.sam is not None:
            attended, per_class = self.sam(content, segmentation_text)  # x^seg
        if not self.joined:  # times 0, so that every weight stays in the graph of DDP
            attended, generated_in = content + 0 * (attended - content), [0 * feature for feature in generated]
        else:
            generated_in = generated
        fused = [skip + conv(feature) for skip, conv, feature in zip(skips, self.fusion, generated_in)]
        return self.decoder([*fused, attended]), generated, x_g, per_class

    def _adapt(self, x: Tensor, text: Sequence[Tensor], image_decoder: ImageDecoder) -> UUDSOutput:
        logits, generated, x_g, per_class = self._segment(x, text, image_decoder)
        return UUDSOutput(logits, image_decoder.image(generated), x_g, None, per_class)


def concatenate(source: UUDSOutput, target: UUDSOutput) -> UUDSOutput:
    """One output of the outputs of each domain, along B."""

    def join(s: Tensor | list[Tensor] | None, t: Tensor | list[Tensor] | None) -> Tensor | list[Tensor] | None:
        if s is None or t is None:
            return None
        return [torch.cat(pair) for pair in zip(s, t)] if isinstance(s, list) else torch.cat((s, t))

    return UUDSOutput(*(join(s, t) for s, t in zip(source, target)))


@contextmanager
def running_statistics_kept(module: nn.Module) -> Iterator[None]:
    """BatchNorm layers in training mode normalise with the batch but leave their running statistics as they are."""
    layers = [layer for layer in module.modules() if isinstance(layer, _BatchNorm) and layer.track_running_stats]
    for layer in layers:
        layer.track_running_stats = False
    try:
        yield
    finally:
        for layer in layers:
            layer.track_running_stats = True
