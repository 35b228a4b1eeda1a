"""The projection head of similarity-based prototypes: decoder features to embeddings."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.nn.modules.conv import _ConvNd


class EmbeddingHead(nn.Module):
    """1x1 convolution, ReLU, 1x1 convolution on every n-th voxel of the features along each axis (Ye et al., arXiv 2510.20596).

    The voxels are those of torch's "nearest", as are those of the labels in `nnuda.losses.class_prototypes.nearest`.

    Args:
        in_channels: Channels F of the features.
        channels: D, length of an embedding.
        stride: Step between the voxels, along every axis.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(self, in_channels: int, channels: int, stride: int, conv_op: type[_ConvNd]) -> None:
        super().__init__()
        self.stride = stride
        self.project = nn.Sequential(conv_op(in_channels, channels, 1), nn.ReLU(), conv_op(channels, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, F, *S) to (B, D, *S / stride), not normalised; an axis keeps at least one voxel."""
        size = [max(1, extent // self.stride) for extent in features.shape[2:]]
        return self.project(interpolate(features, size=size, mode="nearest"))
