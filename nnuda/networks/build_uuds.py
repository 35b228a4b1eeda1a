"""UUDS's network for a plan and its settings."""

from __future__ import annotations

from typing import Any

from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnuda.networks.domain_features import DomainFeatures
from nnuda.networks.uuds import UUDSNetwork


def build_uuds_network(
    plans_manager: PlansManager,
    configuration_manager: ConfigurationManager,
    num_input_channels: int,
    num_output_channels: int,
    enable_deep_supervision: bool,
    settings: dict[str, Any],
    num_foreground_classes: int,
    text_dimension: int,
) -> UUDSNetwork:
    """Build UUDS's network; no weights are read, so that it serves prediction as well as training.

    Args:
        plans_manager: The plan (nnU-Net's order of arguments).
        configuration_manager: The plan's configuration.
        num_input_channels: Channels of the image.
        num_output_channels: Channels of the logits: classes, or regions.
        enable_deep_supervision: Whether the decoder gives logits of all resolutions.
        settings: Effective settings, of which those under "uuds." are read.
        num_foreground_classes: C_fg, the number of segmentation prompts.
        text_dimension: Length D of a text vector.

    Returns:
        The network; its encoder and decoder drew the random numbers that the plain nnU-Net of this plan would draw.
    """
    encoder, decoder = plain_encoder_and_decoder(
        configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision
    )
    channels = encoder.output_channels[-1]
    domain_features = DomainFeatures(channels, channels, text_dimension, encoder.conv_op)
    return UUDSNetwork(
        encoder,
        decoder,
        domain_features if settings["uuds.domain_prompt"] else None,
        num_input_channels,
        num_foreground_classes,
        text_dimension,
        dam=settings["uuds.dam"],
        segmentation_prompt=settings["uuds.segmentation_prompt"],
        decoders=settings["uuds.decoders"],
    )


def plain_encoder_and_decoder(
    configuration: ConfigurationManager, num_input_channels: int, num_output_channels: int, deep_supervision: bool
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the plain nnU-Net of a configuration, initialised as nnU-Net does."""
    plain = get_network_from_plans(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        num_input_channels,
        num_output_channels,
        allow_init=True,
        deep_supervision=deep_supervision,
    )
    if not hasattr(plain, "encoder") or not hasattr(getattr(plain, "decoder", None), "stages"):
        raise NotImplementedError(
            f"UUDS needs a U-Net with an encoder and a decoder, such as PlainConvUNet or ResidualEncoderUNet; the plan "
            f"asks for {configuration.network_arch_class_name}. Plan with nnUDAPlanner or one of its ResEnc variants."
        )
    return plain.encoder, plain.decoder
