"""The MLP from pooled segmentation features to the embeddings of L_BSCL (UUDS, section 3.1.2)."""

from __future__ import annotations

from torch import nn


def contrast_projection(in_channels: int, channels: int) -> nn.Sequential:
    """Linear, ReLU, linear, as in supervised contrastive learning: (N, in_channels) -> (N, channels)."""
    return nn.Sequential(nn.Linear(in_channels, in_channels), nn.ReLU(inplace=True), nn.Linear(in_channels, channels))
