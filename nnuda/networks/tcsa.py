"""nnU-Net's network with TCSA-UDA's fusion head in front of its last segmentation layer."""

from __future__ import annotations

from torch import Tensor, nn

from nnuda.networks.modality_fusion import ModalityFusion
from nnuda.networks.unet_features import UNetOutput, UNetWithFeatures


class TCSANetwork(UNetWithFeatures):
    """A PlainConvUNet or ResidualEncoderUNet under its own parameter names, and `fusion`.

    It starts as the plain network: the head adds nothing before it has learnt. The text is a buffer, so that a
    checkpoint predicts without any encoder. Coarser outputs of deep supervision are the plain network's.

    Args:
        network: what nnU-Net built from the plan; its encoder and decoder are taken over.
        text: (2, K, D), the class embeddings with the source's modality words and with the target's; zeros of that
            shape where a checkpoint is to follow.
        width: of the fusion's tokens.

    Attributes:
        domain: "target" or "source", whose modality words a forward without `num_source` takes. Prediction is on
            target; nnU-Net's validation cases are the source's.
    """

    def __init__(self, network: nn.Module, text: Tensor, width: int) -> None:
        super().__init__(network)
        layer, self.domain = self.segmentation_layer, "target"
        self.fusion = ModalityFusion(self.encoder.output_channels[-1], layer.in_channels, text, width, type(layer))

    def forward(
        self, x: Tensor, with_features: bool = False, num_source: int | None = None
    ) -> Tensor | list[Tensor] | UNetOutput:
        """(B, Cin, *S), the first `num_source` of the source, to logits as nnU-Net's network gives
        them or `UNetOutput`.

        Without `num_source` all images are of `domain`.

        Its features are those that enter the fusion, as the losses read them; the finest logits are made of what
        leaves it.
        """
        if num_source is None:
            num_source = len(x) if self.domain == "source" else 0
        skips = self.encoder(x)
        output = self.decode(skips)
        fused = self.segmentation_layer(self.fusion(output.features, output.bottleneck, num_source))
        logits = [fused, *output.logits[1:]] if self.decoder.deep_supervision else fused
        return output._replace(logits=logits) if with_features else logits
