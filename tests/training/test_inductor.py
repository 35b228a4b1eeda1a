"""torch.compile to the end, on the CPU: nnU-Net compiles the network of every trainer by default."""

from __future__ import annotations

import shutil

import pytest
import torch
from fake_cuda import made_up_batch
from harness import make_trainer
from methods import TRAINERS, Method, settings_of

from nnuda.data.domain_batch import to_device
from nnuda.training.outputs import resolutions


@pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler")
@pytest.mark.parametrize("name", TRAINERS)
def test_a_compiled_network_gives_the_same_logits(toy_environment, name):
    trainer = make_trainer(toy_environment, name, "2d_toy", f"inductor_{name}", settings_of(Method(name)))
    trainer.initialize()
    trainer.load_initial_weights()
    trainer.network.train()
    source, target = to_device(made_up_batch(trainer), torch.device("cpu"))
    with torch.no_grad():
        torch.manual_seed(0)  # MIC masks the target at random
        expected = trainer.forward_domains(source, target)
        torch.compiler.reset()
        trainer.network = torch.compile(trainer.network)
        torch.manual_seed(0)
        outputs = trainer.forward_domains(source, target)
    for domain in ("source", "target"):
        for logits, wanted in zip(*(resolutions(getattr(given, domain)) for given in (outputs, expected))):
            torch.testing.assert_close(logits, wanted, rtol=1e-4, atol=1e-4)
