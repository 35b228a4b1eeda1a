"""Steps under autocast on the CPU, in the place of nnU-Net's on a GPU."""

from __future__ import annotations

import math

import pytest
import torch
from harness import make_trainer, train_steps
from methods import methods, settings_of

METHODS = methods("autocast")


@pytest.mark.parametrize("name", METHODS)
def test_low_precision_stays_in_the_networks(toy_environment, monkeypatch, name):
    """Losses are float32 and finite, and so is all that they train and fill."""
    method = METHODS[name]
    trainer = make_trainer(
        toy_environment, method.trainer, method.configuration, f"autocast_{name}", settings_of(method)
    )
    monkeypatch.setattr(
        trainer, "mixed_precision", lambda enabled=True: torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled)
    )
    seen = {}
    update = trainer.epoch_means.update

    def keep(term: str, value: torch.Tensor, *counted: torch.Tensor) -> None:
        seen[term] = value.detach()
        update(term, value, *counted)

    monkeypatch.setattr(trainer.epoch_means, "update", keep)
    parameters = train_steps(trainer, 3)
    assert {"source", *(name for name, term in trainer.loss_terms.items() if term.start == 0)} <= set(seen)
    assert {term: value.dtype for term, value in seen.items()} == dict.fromkeys(seen, torch.float32)
    assert all(math.isfinite(value) for term, value in seen.items() if not term.startswith("distance/")), seen
    kept = [
        parameters,
        trainer.extra_modules.state_dict(),
        trainer.statistics.state_dict(),
        trainer.adversary.state_dict(),
    ]
    assert all(value.isfinite().all() for state in kept for value in state.values())
