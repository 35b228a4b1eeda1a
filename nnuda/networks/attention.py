"""Attention of text prompts over feature maps (UUDS, equation 3).

The printed equation, softmax(Q K^T / d) Nor(V) with a single query vector, gives one vector for a whole image, which
cannot be decoded into an image. The default reading keeps the image: the softmax over positions, times their number,
is a gate on each position, and uniform attention is the identity.

Everything here runs in float32 under autocast: softmax and statistics do not survive float16.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

DAM_FORMS = ("gate", "channel", "adain")


def full_precision(x: Tensor) -> Tensor:
    """`x` in float32, or untouched where it is float64 already."""
    return x if x.dtype == torch.float64 else x.float()


def instance_normalise(x: Tensor, eps: float = 1e-5) -> Tensor:
    """Nor of equation 3: each channel of each image to mean 0 and variance 1 over its positions.

    Args:
        x: Feature map (B, F, *S).
        eps: Added to the variance.

    Returns:
        The normalised map (B, F, *S); zeros where there is one position only.
    """
    axes = tuple(range(2, x.ndim))
    variance, mean = torch.var_mean(x, dim=axes, correction=0, keepdim=True)
    return (x - mean) * torch.rsqrt(variance + eps)


def spatial_gate(query: Tensor, key: Tensor, d: Tensor) -> Tensor:
    """Number of positions times softmax over positions of q . K / d (UUDS, equation 3); 1 everywhere for constant K.

    Args:
        query: One vector a prompt (N, c).
        key: Key map (B, c, *S).
        d: Positive scalar that divides the products.

    Returns:
        One gate a prompt (B, N, *S), mean 1 over the positions.
    """
    scores = torch.einsum("nc,bcp->bnp", query, key.flatten(2)) / d
    gate = scores.shape[-1] * torch.softmax(scores, dim=-1)
    return gate.unflatten(-1, key.shape[2:])


class SpatialGate(nn.Module):
    """Queries from text, keys from a feature map, and the learnable d of equation 3.

    Args:
        text_dimension: Length D of a text vector.
        key_channels: Channels of the map that the keys come from.
        channels: Channels c of queries and keys; d starts at sqrt(c).
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(self, text_dimension: int, key_channels: int, channels: int, conv_op: type[_ConvNd]) -> None:
        super().__init__()
        self.query = nn.Linear(text_dimension, channels)
        # a bias of the keys adds the same to each position's product, which the softmax takes out again
        self.key = conv_op(key_channels, channels, 1, bias=False)
        self.log_d = nn.Parameter(torch.tensor(0.5 * math.log(channels)))

    def forward(self, text: Tensor, features: Tensor) -> Tensor:
        """Gates (B, N, *S) of the text vectors (N, D) on a feature map (B, key_channels, *S)."""
        return spatial_gate(self.query(text), self.key(features), self.log_d.exp())


class GateAttention(SpatialGate):
    """DAM by a gate on the positions (default)."""

    def forward(self, text: Tensor, domain: Tensor, value: Tensor) -> Tensor:
        """hw * softmax_p(q . K_p / d) times Nor(V): (B, F, *S)."""
        return super().forward(text[None], domain) * value


class ChannelAttention(nn.Module):
    """DAM by a gate on the channels: F * softmax_F(q * GAP(K) / d) times Nor(V)."""

    def __init__(self, text_dimension: int, key_channels: int, channels: int, conv_op: type[_ConvNd]) -> None:
        super().__init__()
        self.query = nn.Linear(text_dimension, channels)
        self.key = conv_op(key_channels, channels, 1)
        self.log_d = nn.Parameter(torch.tensor(0.5 * math.log(channels)))

    def forward(self, text: Tensor, domain: Tensor, value: Tensor) -> Tensor:
        """Attended map (B, F, *S) of text (D,), domain features (B, F_d, *S) and Nor(V) (B, F, *S)."""
        key = self.key(domain).flatten(2).mean(-1)
        gate = key.shape[1] * torch.softmax(self.query(text) * key / self.log_d.exp(), dim=1)
        return gate.unflatten(1, (-1, *[1] * (value.ndim - 2))) * value


class AdaptiveInstanceNorm(nn.Module):
    """DAM by AdaIN: a scale and a shift of each channel from the domain prompt; the image's own domain has no say."""

    def __init__(self, text_dimension: int, channels: int) -> None:
        super().__init__()
        self.style = nn.Sequential(
            nn.Linear(text_dimension, channels), nn.ReLU(inplace=True), nn.Linear(channels, 2 * channels)
        )

    def forward(self, text: Tensor, domain: Tensor, value: Tensor) -> Tensor:
        """gamma * Nor(V) + beta: (B, F, *S), to be added to Nor(V), so that gamma = 0 is no change of scale."""
        gamma, beta = self.style(text).unflatten(0, (2, -1, *[1] * (value.ndim - 2)))
        return gamma * value + beta


class DomainAdaptationModule(nn.Module):
    """DAM (UUDS, equation 3): x^d = Nor(V) + attention(T^d, X_d) on Nor(V), with V = conv(X_c).

    Nor removes the image's own domain, the domain prompt decides what replaces it. The residual Nor(V) keeps the
    content where the attention is 0; without domain prompt it is all that is left (ablation).

    Args:
        content_channels: Channels of X_c.
        domain_channels: Channels of X_d.
        channels: Channels of x^d, and of queries and keys.
        text_dimension: Length D of the domain prompt's vector.
        conv_op: nn.Conv2d or nn.Conv3d.
        form: "gate", "channel", "adain", or None for no domain prompt.
    """

    def __init__(
        self,
        content_channels: int,
        domain_channels: int,
        channels: int,
        text_dimension: int,
        conv_op: type[_ConvNd],
        form: str | None = "gate",
    ) -> None:
        super().__init__()
        if form not in (None, *DAM_FORMS):
            raise ValueError(f"uuds.dam must be one of {', '.join(DAM_FORMS)}; it is {form!r}. Correct the setting.")
        self.value = conv_op(content_channels, channels, 1, bias=False)  # Nor takes a bias out again
        if form == "gate":
            self.attention = GateAttention(text_dimension, domain_channels, channels, conv_op)
        elif form == "channel":
            self.attention = ChannelAttention(text_dimension, domain_channels, channels, conv_op)
        elif form == "adain":
            self.attention = AdaptiveInstanceNorm(text_dimension, channels)
        else:
            self.attention = None

    def forward(self, content: Tensor, domain_text: Tensor, domain: Tensor | None) -> Tensor:
        """Adapted content.

        Args:
            content: X_c (B, content_channels, *S).
            domain_text: T^d (D,).
            domain: X_d (B, domain_channels, *S); None without domain prompt.

        Returns:
            x^d (B, channels, *S), float32.
        """
        with torch.autocast(content.device.type, enabled=False):
            value = instance_normalise(self.value(full_precision(content)))
            if self.attention is None:
                return value
            return value + self.attention(full_precision(domain_text), full_precision(domain), value)


class SegmentationAttentionModule(nn.Module):
    """SAM (UUDS, section 3.1.2): equation 3 with queries from T^s (the paper prints T^d), K, V from X_c, no Nor.

    One gate a foreground class. The classes enter X_c through a factor for each class and channel that starts at 0, so
    that an untrained module leaves the content as it is.

    Args:
        content_channels: Channels F of X_c.
        key_channels: Channels of queries and keys.
        num_foreground_classes: C_fg.
        text_dimension: Length D of a segmentation prompt's vector.
        conv_op: nn.Conv2d or nn.Conv3d.
    """

    def __init__(
        self,
        content_channels: int,
        key_channels: int,
        num_foreground_classes: int,
        text_dimension: int,
        conv_op: type[_ConvNd],
    ) -> None:
        super().__init__()
        self.gate = SpatialGate(text_dimension, content_channels, key_channels, conv_op)
        self.value = conv_op(content_channels, content_channels, 1)
        self.scale = nn.Parameter(torch.zeros(num_foreground_classes, content_channels))

    def forward(self, content: Tensor, segmentation_text: Tensor) -> tuple[Tensor, Tensor]:
        """Content that has seen the segmentation prompts.

        Args:
            content: X_c (B, F, *S).
            segmentation_text: T^s (C_fg, D).

        Returns:
            x^seg = X_c + sum_k scale_k * gate_k * V (B, F, *S), and gate_k * V of each class (B, C_fg, F, *S); float32.
        """
        with torch.autocast(content.device.type, enabled=False):
            content = full_precision(content)
            gate = self.gate(full_precision(segmentation_text), content)
            per_class = gate[:, :, None] * self.value(content)[:, None]
            return content + torch.einsum("kf,bkf...->bf...", self.scale, per_class), per_class
