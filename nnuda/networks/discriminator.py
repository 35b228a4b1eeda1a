"""The patch discriminator, for images and for segmentations."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_network_architectures.building_blocks.helper import get_matching_instancenorm, maybe_convert_scalar_to_list
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

NEGATIVE_SLOPE = 0.2  # of LeakyReLU, as in PatchGAN


class PatchDiscriminator(nn.Module):
    """PatchGAN (Isola et al., arXiv 1611.07004): a score for each patch instead of one for the image.

    Kernels and strides are those of the plan's network, so that anisotropic patches shrink as in its encoder. With
    three strided stages a score sees 47 voxels along an axis; PatchGAN's, with kernels of 4, sees 70.

    Args:
        in_channels: Channels of the image, or of the class probabilities.
        channels: Of the first convolution; doubled with each of the next, up to eight times as many.
        kernel_sizes: Of the strided convolutions, one entry per axis.
        strides: Likewise.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(
        self,
        in_channels: int,
        channels: int,
        kernel_sizes: Sequence[Sequence[int]],
        strides: Sequence[Sequence[int]],
        conv_op: type[_ConvNd],
    ) -> None:
        super().__init__()
        norm, last = get_matching_instancenorm(conv_op), kernel_sizes[-1]
        widths = [in_channels, *(channels * min(2**i, 8) for i in range(len(strides) + 1))]
        layers: list[nn.Module] = []
        for i, (kernel, stride) in enumerate(zip([*kernel_sizes, last], [*strides, 1], strict=True)):
            padding = [k // 2 for k in kernel]
            # a norm takes a bias out again
            layers.append(conv_op(widths[i], widths[i + 1], kernel, stride, padding, bias=i == 0))
            layers += [norm(widths[i + 1])] if i else []
            layers.append(nn.LeakyReLU(NEGATIVE_SLOPE, inplace=True))
        self.layers = nn.Sequential(*layers, conv_op(widths[-1], 1, last, padding=[k // 2 for k in last]))
        for layer in self.layers:
            if isinstance(layer, conv_op):
                nn.init.normal_(layer.weight, 0.0, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B, 1, *s) of images or probabilities (B, in_channels, *S); 1 is real."""
        return self.layers(x)


def build_discriminator(encoder: nn.Module, in_channels: int, channels: int) -> PatchDiscriminator:
    """A discriminator with kernels and strides of the first three strided stages of the plan's encoder.

    Args:
        encoder: of the network that nnU-Net built from the plan.
        in_channels: Of the image, or of the class probabilities.
        channels: Of the first convolution.
    """
    strided = [i for i, stride in enumerate(encoder.strides) if max(stride) > 1][:3]
    kernels = [maybe_convert_scalar_to_list(encoder.conv_op, encoder.kernel_sizes[i]) for i in strided]
    strides = [encoder.strides[i] for i in strided]
    return PatchDiscriminator(in_channels, channels, kernels, strides, encoder.conv_op)
