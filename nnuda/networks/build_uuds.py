"""UUDS's network for a plan and its settings."""

from __future__ import annotations

from pydoc import locate
from typing import Any

import numpy as np
from dynamic_network_architectures.building_blocks.unet_decoder import UNetDecoder
from dynamic_network_architectures.initialization.weight_init import InitWeights_He
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn

from nnuda.errors import UnsupportedError
from nnuda.networks.clip_resnet import ClipDomainFeatures, ClipImageEncoder, clip_strides
from nnuda.networks.domain_features import DomainFeatures
from nnuda.networks.unet_features import require_unet
from nnuda.networks.uuds import UUDSNetwork
from nnuda.plan_network import build_network


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
        The network; with nnU-Net's encoder it starts from the weights that the plain nnU-Net of this plan would draw.
    """
    image = (configuration_manager, num_input_channels, num_output_channels, enable_deep_supervision)
    domain_features = None
    if settings["uuds.image_encoder"] == "clip":
        encoder, decoder = clip_encoder_and_decoder(*image, settings["uuds.clip.model"])
        if settings["uuds.domain_prompt"]:
            domain_features = ClipDomainFeatures(encoder.visual.attnpool, text_dimension)
        else:
            encoder.visual.attnpool = None  # a parameter without use stops DDP
    else:
        encoder, decoder = plain_encoder_and_decoder(*image)
        channels = encoder.output_channels[-1]
        if settings["uuds.domain_prompt"]:
            domain_features = DomainFeatures(channels, channels, text_dimension, encoder.conv_op)
    return UUDSNetwork(
        encoder,
        decoder,
        domain_features,
        num_input_channels,
        num_foreground_classes,
        text_dimension,
        dam=settings["uuds.dam"],
        segmentation_prompt=settings["uuds.segmentation_prompt"],
        decoders=settings["uuds.decoders"],
        distils_encoder=settings["uuds.domain_distillation.reach"] == "encoder",
        generator_detached=settings.get("uuds.generator.detached", False),  # a frozen configuration of 0.1 has none
    )


def plain_encoder_and_decoder(
    configuration: ConfigurationManager, num_input_channels: int, num_output_channels: int, deep_supervision: bool
) -> tuple[nn.Module, nn.Module]:
    """Encoder and decoder of the plain nnU-Net of a configuration, initialised as nnU-Net does."""
    plain = build_network(configuration, num_input_channels, num_output_channels, deep_supervision)
    require_unet(plain)
    return plain.encoder, plain.decoder


def clip_encoder_and_decoder(
    configuration: ConfigurationManager,
    num_input_channels: int,
    num_output_channels: int,
    deep_supervision: bool,
    model: str,
) -> tuple[nn.Module, nn.Module]:
    """CLIP's image encoder with random weights, and nnU-Net's decoder with the plan's layers on top of it."""
    patch, stride = configuration.patch_size, int(np.prod(clip_strides(), axis=0)[0])
    if len(patch) != 2:
        raise UnsupportedError(
            f"uuds.image_encoder=clip works on 2D images; the configuration's patches have {len(patch)} axes. "
            f"Train the 2d configuration, or set uuds.image_encoder=nnunet."
        )
    if any(size % stride for size in patch):
        raise UnsupportedError(
            f"uuds.image_encoder=clip needs patch sizes that are multiples of {stride}; the plan's are {list(patch)}. "
            f"Plan with another patch size, or set uuds.image_encoder=nnunet."
        )
    arch = dict(configuration.network_arch_init_kwargs)
    for name in configuration.network_arch_init_kwargs_req_import:
        arch[name] = locate(arch[name]) if arch[name] is not None else None
    encoder = ClipImageEncoder(model, num_input_channels, arch)
    convolutions = int(np.max(arch["n_conv_per_stage_decoder"]))
    decoder = UNetDecoder(encoder, num_output_channels, convolutions, deep_supervision)
    for module in (encoder.full_resolution, encoder.lateral, decoder.stages, decoder.transpconvs, decoder.seg_layers):
        module.apply(InitWeights_He(1e-2))
    return encoder, decoder
