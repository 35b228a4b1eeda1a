"""From decoder features to an image of the other domain."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from dynamic_network_architectures.building_blocks.helper import get_matching_instancenorm
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd


class ImageHead(nn.Module):
    """Atrous spatial pyramid pooling and a convolution to an image.

    The pyramid is DeepLab's (arXiv 1706.05587) without the branch of global pooling, which the instance norm behind it
    would take out again. The image is generated from scratch, not as a change of the one that was read: a generator that starts as
    the identity fulfils the cycle at once, and where the domains' contrasts are inverse it never leaves.

    Args:
        in_channels: Channels F of the features.
        num_image_channels: Channels of the image.
        kernel_size: One entry per axis; those of 1 are not dilated.
        rates: Dilations, one branch each.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(
        self,
        in_channels: int,
        num_image_channels: int,
        kernel_size: Sequence[int],
        rates: Sequence[int],
        conv_op: type[_ConvNd],
    ) -> None:
        super().__init__()
        norm, width = get_matching_instancenorm(conv_op), max(8, in_channels // 4)  # full resolution: few channels
        self.branches = nn.ModuleList(
            nn.Sequential(
                conv_op(
                    in_channels,
                    width,
                    kernel_size,
                    padding=[rate * (k // 2) for k in kernel_size],
                    dilation=rate,
                    bias=False,
                ),
                norm(width, affine=True),
                nn.LeakyReLU(inplace=True),
            )
            for rate in rates
        )
        self.merge = nn.Sequential(
            conv_op(len(rates) * width, width, 1, bias=False), norm(width, affine=True), nn.LeakyReLU(inplace=True)
        )
        self.to_image = conv_op(width, num_image_channels, kernel_size, padding=[k // 2 for k in kernel_size])
        self.apply(InitWeights_He(1e-2))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, *S) to (B, num_image_channels, *S), in normalised intensities."""
        return self.to_image(self.merge(torch.cat([branch(features) for branch in self.branches], 1)))
