from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from torch import nn

from nnuda.networks.build_uuds import build_uuds_network
from nnuda.networks.uuds import UUDSNetwork

CHANNELS, CLASSES, TEXT = 1, 4, 16
SETTINGS = {
    "uuds.image_encoder": "nnunet",
    "uuds.clip.model": "RN50",
    "uuds.decoders": "shared",
    "uuds.domain_distillation.reach": "branch",
    "uuds.dam": "gate",
    "uuds.domain_prompt": True,
    "uuds.segmentation_prompt": True,
}


def configuration(dimension: int = 2, architecture: str = "PlainConvUNet", norm: str = "Instance") -> SimpleNamespace:
    """A small configuration as a plan holds it; in 3D with anisotropic kernels and strides."""
    kernels, strides = [[3] * dimension] * 4, [[1] * dimension, *[[2] * dimension] * 3]
    if dimension == 3:
        kernels, strides = [[1, 3, 3], *kernels[1:]], [strides[0], [1, 2, 2], *strides[2:]]
    arch = {
        "n_stages": 4,
        "features_per_stage": [8, 16, 24, 32],
        "conv_op": f"torch.nn.modules.conv.Conv{dimension}d",
        "kernel_sizes": kernels,
        "strides": strides,
        "conv_bias": True,
        "norm_op": f"torch.nn.modules.{norm.lower()}norm.{norm}Norm{dimension}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "dropout_op": None,
        "dropout_op_kwargs": None,
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
        "n_conv_per_stage_decoder": [1, 1, 1],
    }
    arch["n_conv_per_stage" if architecture == "PlainConvUNet" else "n_blocks_per_stage"] = [1, 1, 1, 1]
    return SimpleNamespace(
        network_arch_class_name=f"dynamic_network_architectures.architectures.unet.{architecture}",
        network_arch_init_kwargs=arch,
        network_arch_init_kwargs_req_import=["conv_op", "norm_op", "dropout_op", "nonlin"],
        patch_size=patch(dimension),
    )


def patch(dimension: int) -> list[int]:
    return [64, 32] if dimension == 2 else [8, 32, 16]


def plain_network(config: SimpleNamespace, deep_supervision: bool = True) -> nn.Module:
    return get_network_from_plans(
        config.network_arch_class_name,
        config.network_arch_init_kwargs,
        config.network_arch_init_kwargs_req_import,
        CHANNELS,
        CLASSES,
        allow_init=True,
        deep_supervision=deep_supervision,
    )


def uuds_network(
    config: SimpleNamespace, deep_supervision: bool = True, num_input_channels: int = CHANNELS, **settings: Any
) -> UUDSNetwork:
    """UUDS network of a configuration; settings by their last word, for example dam="adain"."""
    overrides = {f"uuds.{name}": value for name, value in settings.items()}
    return build_uuds_network(
        None,
        config,
        num_input_channels,
        CLASSES,
        deep_supervision,
        {**SETTINGS, **overrides},
        num_foreground_classes=CLASSES - 1,
        text_dimension=TEXT,
    )


def text_vectors() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(TEXT, requires_grad=True), torch.randn(CLASSES - 1, TEXT, requires_grad=True)


def awaken(network: UUDSNetwork) -> UUDSNetwork:
    """Random values for the factors that start at 0, as after some steps of training."""
    with torch.no_grad():
        for conv in network.fusion:
            conv.weight.normal_(std=0.1)
        if network.sam is not None:
            network.sam.scale.normal_(std=0.1)
    return network
