from __future__ import annotations

from types import SimpleNamespace

import torch
from network_cases import CHANNELS, CLASSES, configuration, patch, plain_network
from torch import nn

from nnuda.networks.build_prototypes import build_cycle_network
from nnuda.networks.cycle import CycleNetwork

SETTINGS = {
    "prototypes.image_head.rates": [1, 2, 4],
    "prototypes.projection.channels": 16,
    "prototypes.projection.stride": 4,
    "prototypes.discriminator.channels": 4,
}


def cycle_network(config: SimpleNamespace, deep_supervision: bool = True, regions: bool = False) -> CycleNetwork:
    foreground = CLASSES if regions else CLASSES - 1
    return build_cycle_network(plain_network(config, deep_supervision), CHANNELS, CLASSES, SETTINGS, foreground)


def shallow_configuration() -> SimpleNamespace:
    """Two stages in 2D, for what takes its time."""
    config = configuration()
    arch = config.network_arch_init_kwargs
    for name in ("features_per_stage", "kernel_sizes", "strides", "n_conv_per_stage"):
        arch[name] = arch[name][:2]
    arch.update(n_stages=2, n_conv_per_stage_decoder=[1])
    return config


def awake(config: SimpleNamespace | int = 2, **kwargs: bool) -> CycleNetwork:
    """Two generators that differ, as after some steps of training; of a configuration or a dimension."""
    network = cycle_network(configuration(config) if isinstance(config, int) else config, **kwargs)
    with torch.no_grad():
        for generator in (network.generator_t, network.generator_s):
            generator.image_head.to_image.weight.normal_()
            for layer in generator.decoder.seg_layers:
                layer.weight.normal_()
    return network


def cycle_images(dimension: int = 2, batch: int = 2) -> torch.Tensor:
    return torch.randn(batch, CHANNELS, *patch(dimension))


def without_gradient(module: nn.Module) -> list[str]:
    """Parameters that did not learn; not the biases ahead of an instance norm, which have no effect."""
    still = [name for name, p in module.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0]
    return [name for name in still if not (name.endswith("bias") and ".conv" in name)]
