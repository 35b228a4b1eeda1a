"""The networks of similarity-based prototypes' cycle for a plan and its settings."""

from __future__ import annotations

from typing import Any

from torch import nn

from nnuda.networks.cycle import CycleNetwork
from nnuda.networks.discriminator import build_discriminator
from nnuda.networks.generator import Generator
from nnuda.networks.unet_features import require_unet


def build_cycle_network(
    network: nn.Module,
    num_input_channels: int,
    num_output_channels: int,
    settings: dict[str, Any],
    num_foreground_classes: int,
) -> CycleNetwork:
    """Build G_S and G_T, each the plan's own network with an image head and a projection head.

    Args:
        network: What nnU-Net built from the plan; both generators start from its weights.
        num_input_channels: Channels of the image.
        num_output_channels: Channels of the logits: classes, or regions.
        settings: Effective settings, of which those under "prototypes." are read.
        num_foreground_classes: As many as the logits' channels where these are regions.

    Raises:
        NotImplementedError: the plan's network is no U-Net with an encoder and a decoder.
    """
    require_unet(network)
    generator = Generator(
        network,
        num_input_channels,
        settings["prototypes.image_head.rates"],
        settings["prototypes.projection.channels"],
        settings["prototypes.projection.stride"],
    )
    return CycleNetwork(generator, num_input_channels, regions=num_output_channels == num_foreground_classes)


def build_discriminators(network: CycleNetwork, settings: dict[str, Any]) -> nn.ModuleDict:
    """The cycle's discriminators; training only.

    Args:
        network: Gives channels, kernels and strides, those of its first three strided stages.
        settings: As `build_cycle_network`.

    Returns:
        "image_s" and "image_t", which tell a domain's images from those translated into it, and "segmentation", which
        tells the probabilities of source images from those of target images.
    """
    image, classes = network.num_image_channels, network.decoder.num_classes
    return nn.ModuleDict(
        {
            name: build_discriminator(network.encoder, in_channels, settings["prototypes.discriminator.channels"])
            for name, in_channels in (("image_s", image), ("image_t", image), ("segmentation", classes))
        }
    )
