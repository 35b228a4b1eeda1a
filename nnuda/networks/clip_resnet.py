"""A CLIP ResNet as nnU-Net's encoder (UUDS, section 4.1: "the ResNet version of CLIP is chosen as the backbone")."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from dynamic_network_architectures.building_blocks.simple_conv_blocks import ConvDropoutNormReLU
from torch import Tensor, nn
from torch.nn.functional import interpolate, scaled_dot_product_attention

from nnuda.errors import UnsupportedError
from nnuda.networks.attention import full_precision

FULL_RESOLUTION_CHANNELS = 32


def clip_strides() -> list[list[int]]:
    """Strides of the CLIP encoder's six stages, as in a plan's architecture; the last is CLIP's layer4."""
    return [[1, 1], *[[2, 2]] * 5]


def clip_visual(model: str) -> nn.Module:
    """The image tower of a CLIP ResNet with random weights.

    Args:
        model: Name of the open_clip model, for example "RN50".

    Raises:
        UnsupportedError: The name is unknown or that of another kind of image tower.
    """
    import open_clip  # takes seconds
    from open_clip.modified_resnet import ModifiedResNet

    config = open_clip.get_model_config(model) or {}
    vision = config.get("vision_cfg", {})
    if not isinstance(vision.get("layers"), list):
        raise UnsupportedError(
            f"uuds.clip.model must be a CLIP ResNet of open_clip, such as RN50; it is {model!r}. Correct the setting."
        )
    width = vision["width"]
    heads = width * 32 // vision.get("head_width", 64)
    return ModifiedResNet(vision["layers"], config["embed_dim"], heads, vision["image_size"], width)


class ClipImageEncoder(nn.Module):
    """CLIP ResNet with the features and attributes that nnU-Net's decoder asks for (2D).

    CLIP starts at half resolution: a convolution at full resolution is added. Features of layer1 to layer3 pass a 1x1
    convolution, for the decoder's sake: at CLIP's widths it would outweigh the encoder. X_c is layer4 as it is.

    Args:
        model: Name of the open_clip model.
        num_input_channels: Channels of the image; one is tiled to CLIP's three, other numbers pass a 1x1 convolution.
        arch_kwargs: Of the plan's architecture, imported: norm_op, nonlin and the like.
    """

    def __init__(self, model: str, num_input_channels: int, arch_kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.conv_op = nn.Conv2d
        self.conv_bias = arch_kwargs["conv_bias"]
        self.norm_op, self.norm_op_kwargs = arch_kwargs["norm_op"], arch_kwargs["norm_op_kwargs"]
        self.dropout_op, self.dropout_op_kwargs = arch_kwargs["dropout_op"], arch_kwargs["dropout_op_kwargs"]
        self.nonlin, self.nonlin_kwargs = arch_kwargs["nonlin"], arch_kwargs["nonlin_kwargs"]
        self.visual = clip_visual(model)
        width = self.visual.conv3.out_channels
        self.output_channels = [FULL_RESOLUTION_CHANNELS, width, 2 * width, 4 * width, 8 * width, 32 * width]
        self.strides = clip_strides()
        self.kernel_sizes = [[3, 3]] * len(self.strides)
        self.to_rgb = None if num_input_channels in (1, 3) else nn.Conv2d(num_input_channels, 3, 1)
        self.full_resolution = self._conv(num_input_channels, FULL_RESOLUTION_CHANNELS, 3)
        self.lateral = nn.ModuleList(self._conv(2 * channels, channels, 1) for channels in self.output_channels[2:5])

    def _conv(self, in_channels: int, out_channels: int, kernel_size: int) -> nn.Module:
        return ConvDropoutNormReLU(
            self.conv_op,
            in_channels,
            out_channels,
            kernel_size,
            1,
            self.conv_bias,
            self.norm_op,
            self.norm_op_kwargs,
            self.dropout_op,
            self.dropout_op_kwargs,
            self.nonlin,
            self.nonlin_kwargs,
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """Features of an image (B, C_in, H, W), H and W multiples of 32, at strides 1, 2, 4, 8, 16, 32."""
        visual = self.visual
        rgb = x.expand(-1, 3, -1, -1) if self.to_rgb is None else self.to_rgb(x)
        half = visual.act1(visual.bn1(visual.conv1(rgb)))
        half = visual.act2(visual.bn2(visual.conv2(half)))
        half = visual.act3(visual.bn3(visual.conv3(half)))
        layer1 = visual.layer1(visual.avgpool(half))
        layer2 = visual.layer2(layer1)
        layer3 = visual.layer3(layer2)
        lateral = [conv(layer) for conv, layer in zip(self.lateral, (layer1, layer2, layer3))]
        return [self.full_resolution(x), half, *lateral, visual.layer4(layer3)]


class ClipDomainFeatures(nn.Module):
    """X_d and x_g of CLIP's attention pool: its spatial tokens, which CLIP throws away, and its global token.

    Args:
        pool: open_clip's AttentionPool2d.
        text_dimension: Length D of x_g; a linear layer is added where CLIP's own differs.
    """

    def __init__(self, pool: nn.Module, text_dimension: int) -> None:
        super().__init__()
        self.pool = pool
        self.channels = pool.c_proj.out_features
        same = self.channels == text_dimension
        self.to_global = nn.Identity() if same else nn.Linear(self.channels, text_dimension)

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        """Domain features of X_c (B, F, h, w), for any grid.

        Returns:
            X_d (B, channels, h, w) and x_g (B, D), float32.
        """
        pool = self.pool
        with torch.autocast(content.device.type, enabled=False):
            tokens = full_precision(content).flatten(2).transpose(1, 2)
            tokens = torch.cat((tokens.mean(1, keepdim=True), tokens), dim=1)
            tokens = tokens + positions_on_grid(pool.positional_embedding, content.shape[2:])
            query, key, value = (
                project(tokens).unflatten(-1, (pool.num_heads, -1)).transpose(1, 2)
                for project in (pool.q_proj, pool.k_proj, pool.v_proj)
            )
            tokens = pool.c_proj(scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
            return tokens[:, 1:].transpose(1, 2).unflatten(2, content.shape[2:]), self.to_global(tokens[:, 0])


def positions_on_grid(embedding: Tensor, grid: Sequence[int]) -> Tensor:
    """Position embeddings (1 + n * n, F) of a global token and an n x n grid, for a grid (h, w): (1 + h * w, F)."""
    side = round((len(embedding) - 1) ** 0.5)
    spatial = embedding[1:].T.unflatten(1, (side, side))[None]
    resized = interpolate(spatial, size=tuple(grid), mode="bicubic", align_corners=False)
    return torch.cat((embedding[:1], resized[0].flatten(1).T))


def load_clip_weights(encoder: ClipImageEncoder, model: str, file: str) -> None:
    """Put the image tower of a CLIP checkpoint into the encoder.

    Args:
        encoder: The encoder, built for the same model.
        model: Name of the open_clip model.
        file: Local checkpoint of the whole CLIP model.

    Raises:
        ValueError: The file does not hold this model.
    """
    from nnuda.text.towers import load_clip

    visual = load_clip(model, Path(file)).visual.state_dict()
    if encoder.visual.attnpool is None:
        visual = {name: value for name, value in visual.items() if not name.startswith("attnpool.")}
    encoder.visual.load_state_dict(visual, strict=True)
