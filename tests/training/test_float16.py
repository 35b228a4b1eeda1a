"""Steps in float16 with a GradScaler, on the CPU: what nnU-Net's autocast does on a GPU.

NNUDA_FLOAT16_STEPS=200 makes them as many; the default is for the suite.
"""

from __future__ import annotations

import os

import pytest
import torch
from fake_cuda import made_up_batch
from harness import make_trainer
from methods import methods, settings_of

METHODS = methods("autocast")
STEPS = int(os.environ.get("NNUDA_FLOAT16_STEPS", 12))
GROWS_AFTER = 10  # steps without an overflow; torch's 2000 would never raise the scale here


@pytest.mark.parametrize("name", METHODS)
def test_nothing_overflows_for_good_and_the_scale_settles(toy_environment, monkeypatch, name):
    method = METHODS[name]
    settings = {**settings_of(method), "training.num_epochs": 1, "training.num_iterations_per_epoch": STEPS}
    trainer = make_trainer(toy_environment, method.trainer, method.configuration, f"float16_{name}", settings)
    monkeypatch.setattr(
        trainer, "mixed_precision", lambda enabled=True: torch.autocast("cpu", dtype=torch.float16, enabled=enabled)
    )
    trainer.grad_scaler = torch.amp.GradScaler("cpu", growth_interval=GROWS_AFTER)
    trainer.initialize()
    trainer.load_initial_weights()
    trainer.network.train()
    torch.manual_seed(0)
    scales, losses = [], []
    for _ in range(STEPS):
        losses.append(float(trainer.train_step(made_up_batch(trainer))["loss"]))
        scales.append(trainer.grad_scaler.get_scale())
    kept = {
        "network": trainer.bare_network,
        "modules beside": trainer.extra_modules,
        "statistics": trainer.statistics,
        "discriminators": trainer.adversary,
        "teacher": trainer.teacher,
    }
    for part, module in kept.items():
        for key, value in ({} if module is None else module.state_dict()).items():
            assert value.isfinite().all(), (part, key)
    assert all(loss == loss for loss in losses), losses
    skipped = sum(later < sooner for sooner, later in zip([65536.0, *scales], scales))
    print(f"{name}: scale {min(scales):g} to {max(scales):g}, last {scales[-1]:g}, {skipped} of {STEPS} steps skipped")
    assert min(scales) >= 16 and skipped <= 4 + STEPS / GROWS_AFTER, scales
