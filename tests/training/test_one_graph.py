"""What a method computes in a step is one graph: nothing waits for the device, no flow or shape depends on data."""

from __future__ import annotations

from contextlib import suppress
from types import SimpleNamespace

import pytest
import torch
from harness import make_trainer
from methods import methods, settings_of

from nnuda.data.domain_batch import to_device

METHODS = methods("graph")


def snapshot(manager: object) -> SimpleNamespace:
    """nnU-Net's label manager with its properties as they are: it looks them up in ways that cannot be traced."""
    values = {name: value for name, value in vars(manager).items() if not name.startswith("_")}
    for name, kind in vars(type(manager)).items():
        if isinstance(kind, property):
            with suppress(TypeError):  # regions, where there are none
                values[name] = getattr(manager, name)
    return SimpleNamespace(**values)


@pytest.mark.parametrize("name", METHODS)
def test_losses_compile_as_one_graph_to_the_same_values(toy_environment, name):
    """`adaptation_losses`, which also fills the statistics, through torch.compile(fullgraph=True)."""
    method, values = METHODS[name], []
    for compiled in (False, True):
        trainer = make_trainer(
            toy_environment, method.trainer, method.configuration, f"graph_{name}", settings_of(method)
        )
        trainer.on_train_start()
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        source, target = to_device(next(trainer.dataloader_train), torch.device("cpu"))
        torch.manual_seed(0)
        outputs = trainer.forward_domains(source, target)
        trainer.label_manager = snapshot(trainer.label_manager)
        if trainer.enable_deep_supervision:  # nnU-Net branches on NumPy's numbers, which cannot be traced
            trainer.loss.weight_factors = tuple(map(float, trainer.loss.weight_factors))
        losses = trainer.adaptation_losses
        if compiled:
            torch.compiler.reset()
            losses = torch.compile(losses, fullgraph=True, backend="eager")
        torch.manual_seed(1)
        values.append({**losses(source, target, outputs), "statistics": trainer.statistics.state_dict()})
    torch.testing.assert_close(values[1], values[0], equal_nan=True)
