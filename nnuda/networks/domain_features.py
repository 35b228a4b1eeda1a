"""What an image says about its domain (UUDS, section 3.1.1): the map X_d and the global vector x_g."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from torch.nn.modules.conv import _ConvNd

from nnuda.networks.attention import full_precision


class DomainFeatures(nn.Module):
    """X_d and x_g for an image encoder without an attention layer of its own.

    X_d = t + attention(norm(t)) with t = conv(X_c); x_g = linear(mean over positions of X_d). This stands for the
    paper's "ViT layer of the CLIP image encoder". Runs in float32 under autocast.

    Args:
        content_channels: Channels of X_c.
        channels: Channels of X_d.
        text_dimension: Length D of x_g, that of the domain prompt's vector.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(self, content_channels: int, channels: int, text_dimension: int, conv_op: type[_ConvNd]) -> None:
        super().__init__()
        self.channels = channels
        self.num_heads = max(heads for heads in range(1, max(1, channels // 64) + 1) if channels % heads == 0)
        self.embed = conv_op(content_channels, channels, 1)
        self.norm = nn.LayerNorm(channels)
        # a bias of the keys cancels in the softmax, so none of the three has one
        self.query_key_value = nn.Linear(channels, 3 * channels, bias=False)
        self.project = nn.Linear(channels, channels)
        self.to_global = nn.Linear(channels, text_dimension)

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Domain features of X_c (B, content_channels, *S).

        Returns:
            X_d (B, channels, *S) and x_g (B, D), float32.
        """
        with torch.autocast(content.device.type, enabled=False):
            embedded = self.embed(full_precision(content))
            tokens = embedded.flatten(2).transpose(1, 2)
            tokens = tokens + self._self_attention(self.norm(tokens))
            x_g = self.to_global(tokens.mean(1))
            return tokens.transpose(1, 2).unflatten(2, embedded.shape[2:]), x_g

    def _self_attention(self, tokens: Tensor) -> Tensor:
        heads = self.query_key_value(tokens).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.project(scaled_dot_product_attention(*heads.unbind(0)).transpose(1, 2).flatten(2))
