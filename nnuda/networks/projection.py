"""The MLP in front of a contrastive loss."""
from __future__ import annotations

from torch import nn


def contrast_projection(channels: int, embedding: int) -> nn.Sequential:
    """Linear - ReLU - Linear from pooled features (N, channels) to embeddings (N, embedding); SupContrast, arXiv 2004.11362, section 3.1."""
    return nn.Sequential(nn.Linear(channels, channels), nn.ReLU(inplace=True), nn.Linear(channels, embedding))
