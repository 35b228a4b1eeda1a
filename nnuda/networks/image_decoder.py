"""The image decoder of UUDS: adapted content back to an image, and features of every resolution on the way."""

from __future__ import annotations

from collections.abc import Sequence

from dynamic_network_architectures.building_blocks.helper import convert_conv_op_to_dim, get_matching_instancenorm
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.conv import _ConvNd


def decoder_widths(encoder_channels: Sequence[int]) -> list[int]:
    """Channels of the decoder at each resolution but the lowest: half of the encoder's (a quarter at full resolution,
    where the memory goes), at least 8."""
    full, *lower = encoder_channels[:-1]
    return [max(8, full // 4), *(max(8, channels // 2) for channels in lower)]


class ImageDecoderStage(nn.Module):
    """One resolution: upsampled features + normalised encoder features, then a residual block.

    The encoder's features pass an instance norm: they bring where things are, not how their domain looks.

    Args:
        below: Channels of the features of the next lower resolution.
        skip: Channels of the encoder's features.
        width: Channels of the result.
        kernel_size: Of the residual block, one entry per axis.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(self, below: int, skip: int, width: int, kernel_size: Sequence[int], conv_op: type[_ConvNd]) -> None:
        super().__init__()
        norm = get_matching_instancenorm(conv_op)
        padding = [k // 2 for k in kernel_size]
        self.from_below = conv_op(below, width, 1)
        self.from_encoder = nn.Sequential(conv_op(skip, width, 1, bias=False), norm(width))
        self.block = nn.Sequential(
            conv_op(width, width, kernel_size, padding=padding, bias=False),
            norm(width, affine=True),
            nn.LeakyReLU(inplace=True),
            conv_op(width, width, kernel_size, padding=padding),
        )
        self.nonlin = nn.LeakyReLU(inplace=True)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        """Features (B, width, *S) from those below (B, below, *S / stride) and the encoder's (B, skip, *S)."""
        merged = interpolate(self.from_below(below), size=skip.shape[2:]) + self.from_encoder(skip)
        return self.nonlin(merged + self.block(merged))


class ImageDecoder(nn.Module):
    """Generator of UUDS (section 3.1.1): ResBlocks and upsampling from x^d to the image, one light block a stage.

    The segmentation decoder uses the features of each resolution; the image itself is asked for in training only.

    Args:
        adapted_channels: Channels of x^d.
        encoder_channels: Channels of the encoder's features, full resolution first, the bottleneck last.
        kernel_sizes: Kernel sizes of the encoder's stages in the same order.
        num_image_channels: Channels of the image.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(
        self,
        adapted_channels: int,
        encoder_channels: Sequence[int],
        kernel_sizes: Sequence[int | Sequence[int]],
        num_image_channels: int,
        conv_op: type[_ConvNd],
    ) -> None:
        super().__init__()
        self.widths = decoder_widths(encoder_channels)
        below = [*self.widths[1:], adapted_channels]
        dimension = convert_conv_op_to_dim(conv_op)
        kernels = [[k] * dimension if isinstance(k, int) else list(k) for k in kernel_sizes]
        self.stages = nn.ModuleList(
            ImageDecoderStage(*channels, kernel, conv_op)
            for *channels, kernel in zip(below, encoder_channels[:-1], self.widths, kernels[:-1], strict=True)
        )
        self.apply(InitWeights_He(1e-2))
        self.to_image = conv_op(self.widths[0], num_image_channels, 1)

    def forward(self, adapted: Tensor, skips: Sequence[Tensor]) -> list[Tensor]:
        """Generator features of each resolution.

        Args:
            adapted: x^d (B, adapted_channels, *S of the bottleneck).
            skips: Encoder features without the bottleneck, full resolution first.

        Returns:
            One map a skip, at its resolution, in the same order.
        """
        features: list[Tensor] = []
        below = adapted
        for stage, skip in zip(reversed(self.stages), reversed(skips), strict=True):
            below = stage(below, skip)
            features.append(below)
        return features[::-1]

    def image(self, features: Sequence[Tensor]) -> Tensor:
        """Image (B, num_image_channels, *S) of the generator's features: X~^s of source, X^{t->s} of target images."""
        return self.to_image(features[0])
