"""A plan that describes no network is one error that says why."""

from __future__ import annotations

import pytest
import torch
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from nnunetv2.utilities.plans_handling.plans_handler import PlansManager
from whole_plan import whole_plan

from nnuda.errors import PlanningError
from nnuda.plan_network import build_network, check_network
from nnuda.training.frozen import FrozenConfigurationError
from nnuda.training.trainer import nnUDATrainer


def configuration(network: str | None = None, imported: list[str] | None = None, **arguments: object):
    plans = whole_plan("Dataset001_A", "p")
    architecture = plans["configurations"]["2d"]["architecture"]
    architecture["arch_kwargs"] |= arguments
    architecture["network_class_name"] = network or architecture["network_class_name"]
    architecture["_kw_requires_import"] = imported or architecture["_kw_requires_import"]
    return PlansManager(plans).get_configuration("2d")


@pytest.mark.parametrize("norm", ["torch.nn.InstanceNorm2d", "torch.nn.BatchNorm2d", None])
def test_it_is_nnunets_to_the_bit(norm):
    """The look at it draws no number, and leaves no statistics behind."""
    of_2d = configuration(norm_op=norm, dropout_op="torch.nn.Dropout2d", dropout_op_kwargs={"p": 0.5})
    torch.manual_seed(1)
    ours, next_number = build_network(of_2d, 1, 3, True), torch.rand(1)
    torch.manual_seed(1)
    architecture = of_2d.configuration["architecture"].values()
    stock = get_network_from_plans(*architecture, 1, 3, allow_init=True, deep_supervision=True)
    assert next_number == torch.rand(1) and ours.training
    ours, stock = ours.state_dict(), stock.state_dict()
    assert list(ours) == list(stock) and all(torch.equal(ours[name], stock[name]) for name in stock)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"network": "a.b.Nope"}, "could not be found"),
        ({"network": "os.getcwd"}, "TypeError"),
        ({"imported": ["zz"]}, "KeyError: 'zz'"),
        ({"conv_op": "torch.nn.Nope"}, "conv_op: Python finds no torch.nn.Nope"),
        ({"norm_op": "a.b"}, "norm_op: Python finds no a.b"),  # nnU-Net would train without any
        ({"norm_op": "torch.nn.InstanceNorm3d"}, "ValueError"),
        ({"conv_op": "torch.nn.Conv3d"}, "RuntimeError"),
        ({"n_stages": 9}, "must have as many entries"),
        ({"features_per_stage": [4]}, "features_per_stage must have as many entries"),
        ({"features_per_stage": [-4, 8]}, "RuntimeError"),
        ({"features_per_stage": [0, 0]}, "RuntimeError"),
        ({"features_per_stage": ["a", "b"]}, "TypeError"),
        ({"kernel_sizes": [[3, 3]]}, "kernel_sizes must have as many entries"),
        ({"kernel_sizes": [[3, 3, 3], [3, 3, 3]]}, "RuntimeError"),
        ({"kernel_sizes": [[2, 2], [2, 2]]}, "RuntimeError"),
        ({"strides": [[1, 1]]}, "strides must have as many entries"),
        ({"strides": "none at all"}, "Error"),
        ({"odd": 1}, "unexpected keyword argument 'odd'"),
        ({"nonlin": "torch.nn.Linear"}, "TypeError"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_plan_that_describes_no_network(change, says):
    for of_it in (lambda plan: build_network(plan, 1, 3, True), lambda plan: check_network(plan, 1)):
        with pytest.raises(PlanningError, match=f"(?s)The plan's network .* cannot be built .*{says}.*as it was"):
            of_it(configuration(**change))


class OfOneSize(torch.nn.Conv2d):
    """A network without strides, as transformers are: which images it takes is its own affair."""

    def __init__(self, input_channels: int, num_classes: int) -> None:
        super().__init__(input_channels, num_classes, 1)

    def compute_conv_feature_map_size(self, size: list[int]) -> int:
        raise NotImplementedError

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        raise ValueError("expected the one size")


class OfItsNumbers(OfOneSize):
    """Asks a tensor for its value, as transformers do for the rates of what they drop."""

    def __init__(self, *channels: int, **of_both: int) -> None:
        super().__init__(*channels, **of_both)
        self.rates = torch.linspace(0, 1, 3).tolist()


@pytest.mark.parametrize("network", [OfOneSize, OfItsNumbers])
def test_a_network_without_strides_is_built_and_not_tried(network):
    of_2d = configuration(network=f"{__name__}.{network.__name__}", imported=["conv_op"])
    of_2d.configuration["architecture"].update(arch_kwargs={}, _kw_requires_import=[])
    assert isinstance(build_network(of_2d, 1, 3), network)
    check_network(of_2d, 1)


def test_a_look_at_a_network_takes_no_memory_and_draws_no_number():
    of_2d = configuration(features_per_stage=[2**14, 2**15])  # 55 GB
    before = torch.get_rng_state()
    check_network(of_2d, 1)
    assert torch.equal(before, torch.get_rng_state())


def test_a_trainer_predicts_by_what_training_left():
    """A plan without nnuda's key normalises as the source needs it, not the target."""
    plans = PlansManager(whole_plan("Dataset001_A", "p"))
    with pytest.raises(FrozenConfigurationError, match="Plan p: expected the plans.json that a training of nnuda left"):
        nnUDATrainer.build_network_architecture(plans, plans.get_configuration("2d"), 1, 3, False)
