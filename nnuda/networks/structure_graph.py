"""The graph network that assigns positions to clusters (GraphCL, the base of TransMedSeg)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class StructureGraph(nn.Module):
    """S = softmax(MLP(GCN(X))), GCN: Z = D^-1/2 A D^-1/2 X W with A = X X^T of unit features,
    negative affinities cut off.

    Args:
        in_channels: F'.
        channels: width of graph convolution and MLP.
        clusters: K.
    """

    def __init__(self, in_channels: int, channels: int, clusters: int) -> None:
        super().__init__()
        self.convolution = nn.Linear(in_channels, channels, bias=False)
        self.mlp = nn.Sequential(nn.Linear(channels, channels), nn.ELU(), nn.Linear(channels, clusters))

    def forward(self, features: Tensor) -> Tensor:
        """(N, F') to S (N, K)."""
        with torch.autocast(features.device.type, enabled=False):
            unit = F.normalize(features.float(), dim=1)
            affinity = (unit @ unit.T).clamp(min=0)
            scale = affinity.sum(1).clamp(min=1e-6).rsqrt()
            z = self.convolution((scale[:, None] * affinity * scale) @ unit)
            return self.mlp(F.elu(z)).softmax(1)
