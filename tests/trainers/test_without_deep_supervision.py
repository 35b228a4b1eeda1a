"""Every trainer where nnU-Net's deep supervision is off, as in nnUNetTrainerNoDeepSupervision: one resolution, not a list."""

import pytest
import torch
from harness import make_trainer, train_steps
from methods import TRAINERS


@pytest.mark.parametrize("name", TRAINERS)
def test_it_learns(toy_environment, name):
    settings = {"teacher.start": 0, "training.num_epochs": 1}
    trainer = make_trainer(toy_environment, name, "2d_toy", f"one_resolution_{name}", settings)
    trainer.enable_deep_supervision = False
    trainer.initialize()
    before = {key: value.clone() for key, value in trainer.bare_network.state_dict().items()}
    for value in train_steps(trainer, 2).values():
        assert torch.isfinite(value).all()
    after = trainer.bare_network.state_dict()
    head = [key for key in after if key.endswith("seg_layers.1.weight")]
    assert head and not all(torch.equal(before[key], after[key]) for key in head)
