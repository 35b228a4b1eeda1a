"""The network that a plan describes, or one error that says why there is none."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pydoc import locate
from typing import Any

import numpy as np
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import ConfigurationManager, PlansManager
from torch import nn
from torch.nn.modules.conv import _ConvNd

from nnuda.errors import PlanningError, short


def build_network(
    configuration: ConfigurationManager, channels: int, heads: int, deep_supervision: bool | None = None
) -> nn.Module:
    """The network of a configuration, with nnU-Net's initial weights, after a look at whether its layers go together.

    Args:
        configuration: of a plan.
        channels: of an image.
        heads: classes (regions) that it tells apart.
        deep_supervision: whether it has an output at each resolution; None: as its class has it.

    Raises:
        PlanningError: the plan describes no network, or one that takes no image.
    """
    network = network_of(
        configuration.network_arch_class_name,
        configuration.network_arch_init_kwargs,
        configuration.network_arch_init_kwargs_req_import,
        channels,
        heads,
        deep_supervision=deep_supervision,
    )
    strides = configuration.network_arch_init_kwargs.get("strides")
    if strides and hasattr(network, "compute_conv_feature_map_size"):  # nnU-Net's U-Nets take images of many sizes
        with _one_error(configuration.network_arch_class_name, channels):
            _try(network, channels, strides)
    return network


def check_networks(plans: dict, names: Iterable[str]) -> None:
    """Stop before long work by a configuration whose network cannot be built.

    Args:
        plans: a plan.
        names: of the configurations that are meant; of the others the network's package may lie on another machine.

    Raises:
        PlanningError: names the plan and the configuration.
    """
    for name in names:
        configuration = PlansManager(plans).get_configuration(name)
        try:
            check_network(configuration, len(configuration.normalization_schemes))
        except PlanningError as error:
            raise PlanningError(f"Plan {plans['plans_name']}, configuration {name}: {error}") from error


def check_network(configuration: ConfigurationManager, channels: int) -> None:
    """Stop before long work by a configuration whose network cannot be built.

    Args:
        configuration: of a plan.
        channels: of an image.

    Raises:
        PlanningError: as `build_network`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a class that is not where its name says; the error says it
        with suppress(PlanningError), torch.device("meta"):  # takes no memory, and draws no weights
            build_network(configuration, channels, 2)
            return
        build_network(configuration, channels, 2)  # some look at numbers of their own, of which meta has none


def network_of(
    class_name: str, arguments: dict[str, Any], imported: Sequence[str], channels: int, heads: int, **options: Any
) -> nn.Module:
    """nnU-Net's `get_network_from_plans`, which takes a name that Python does not find for no layer.

    Args:
        class_name: of the network.
        arguments: it is called with (arch_kwargs).
        imported: names of those that stand for Python objects, such as conv_op.
        channels, heads: as `build_network`.
        options: as nnU-Net's.

    Raises:
        PlanningError: a name that is not there, or arguments that make no network.
    """
    with _one_error(class_name, channels):
        for name in imported:
            if arguments[name] is not None and locate(arguments[name]) is None:
                raise ImportError(f"{name}: Python finds no {arguments[name]}")
        return get_network_from_plans(class_name, arguments, imported, channels, heads, **options)


@contextmanager
def _one_error(class_name: str, channels: int) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # any class of any package, called with what stands in the plan
        raise PlanningError(
            f"The plan's network {class_name} cannot be built for images of {channels} channels: "
            f"{short(f'{type(error).__name__}: {error}')}. Put the architecture back as it was."
        ) from error


def _try(network: nn.Module, channels: int, strides: Sequence[Sequence[int]]) -> None:
    """The smallest image, with two voxels where the network has its fewest: a norm layer refuses one."""
    size = np.prod(strides, axis=0)
    size[-1] *= 2
    for name, layer in network.named_modules():  # torch looks at it, but not on its meta device
        if isinstance(layer, _ConvNd) and len(layer.kernel_size) != len(size):
            raise RuntimeError(f"{name}: a kernel of {len(layer.kernel_size)} axes for images of {len(size)}")
    network.eval()  # nothing is drawn, nothing remembered
    with torch.no_grad():
        network(torch.zeros(1, channels, *size.tolist()))
    network.train()
