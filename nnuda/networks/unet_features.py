"""nnU-Net's own network, with a view on the features that its last segmentation layer reads."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from nnuda.errors import UnsupportedError


class UNetOutput(NamedTuple):
    """What `UNetWithFeatures` gives a loss.

    Attributes:
        logits: (B, C, *S), or a list of them with deep supervision, finest first.
        features: (B, F, *S), exactly what the last 1x1 segmentation layer reads: W features + b = finest logits.
        bottleneck: (B, F', *S'), the encoder's deepest features.
    """

    logits: Tensor | list[Tensor]
    features: Tensor
    bottleneck: Tensor


class UNetWithFeatures(nn.Module):
    """A PlainConvUNet or ResidualEncoderUNet under its own parameter names,
    whose forward can return features beside logits.

    A forward hook would break under torch.compile; the state_dict is the plain network's, so checkpoints go both ways.

    Args:
        network: what nnU-Net built from the plan; its encoder and decoder are taken over.

    Raises:
        UnsupportedError: it is no U-Net with an encoder and a decoder.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        require_unet(network)
        self.encoder = network.encoder
        self.decoder = network.decoder

    @property
    def segmentation_layer(self) -> nn.Module:
        """The 1x1 convolution that makes the finest logits, W (C, F, 1, ...) and b (C,)."""
        return self.decoder.seg_layers[-1]

    def forward(self, x: Tensor, with_features: bool = False) -> Tensor | list[Tensor] | UNetOutput:
        """(B, Cin, *S) to logits as nnU-Net's network gives them, or to a `UNetOutput`."""
        skips = self.encoder(x)
        if not with_features:
            return self.decoder(skips)
        return self.decode(skips)

    def decode(self, skips: list[Tensor]) -> UNetOutput:
        """nnU-Net's decoder, layer by layer."""
        decoder, x, logits = self.decoder, skips[-1], []
        for upsample, stage, head, skip in zip(decoder.transpconvs, decoder.stages, decoder.seg_layers, skips[-2::-1]):
            x = stage(torch.cat((upsample(x), skip), 1))
            if decoder.deep_supervision:
                logits.insert(0, head(x))
        return UNetOutput(logits if decoder.deep_supervision else self.segmentation_layer(x), x, skips[-1])


def require_unet(network: nn.Module) -> None:
    """Stop where a plan's network has no encoder, or no decoder of nnU-Net's kind.

    Raises:
        UnsupportedError: says which network the plan asks for.
    """
    if not hasattr(network, "encoder") or not hasattr(getattr(network, "decoder", None), "seg_layers"):
        raise UnsupportedError(
            "Expected a U-Net with an encoder and a decoder, such as PlainConvUNet or "
            "ResidualEncoderUNet; the plan asks for "
            f"{type(network).__module__}.{type(network).__qualname__}. Plan with nnUDAPlanner or "
            "one of its ResEnc variants."
        )
