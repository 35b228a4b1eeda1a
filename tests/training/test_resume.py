"""Train 2n steps == train n, stop, --c, train n; bit for bit on the CPU (release gate 2)."""
from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from harness import differences, make_trainer, run_epochs

from nnuda.training.random_state import get_random_state

EVERYTHING = {"training.num_epochs": 4, "training.augmentation": "strong", "teacher.weight": 1, "teacher.start": 0,
              "teacher.confidence": 0.3}
VARIANTS = {
    "source_only": ("nnUDATrainerSourceOnly", "2d_toy", {}),
    "teacher": ("nnUDATrainerSourceOnly", "2d_toy", {"training.predict_with": "teacher", "training.batch": "total"}),
    "uuds": ("nnUDATrainerUUDS", "2d_toy", {}),
    "uuds_paper_optimizer_3d": ("nnUDATrainerUUDS", "3d_toy",
                                {"training.optimizer": "paper", "uuds.decoders": "per_domain"}),
    "prototypes": ("nnUDATrainerPrototypes", "2d_toy",
                   {"prototypes.target.start": 0, "prototypes.target.confidence": 0.3}),
    "prototypes_cycle": ("nnUDATrainerPrototypes", "2d_toy",
                         {"prototypes.form": "cycle", "prototypes.target.start": 0, "teacher.weight": 0,
                          "prototypes.target.confidence": 0.3, "prototypes.segmentation_adversary.start": 0.3,
                          "prototypes.discriminator.channels": 8}),
    "tcsa": ("nnUDATrainerTCSA", "2d_toy", {"tcsa.target.confidence": 0}),
    "tcsa_everything_3d": ("nnUDATrainerTCSA", "3d_toy",
                           {"tcsa.target.confidence": 0, "tcsa.fusion": True, "tcsa.fusion.width": 8,
                            "tcsa.adversary.weight": 0.003, "tcsa.discriminator.channels": 4}),
    "transmedseg": ("nnUDATrainerTransMedSeg", "2d_toy", {"transmedseg.statistics.confidence": 0.3}),
    "transmedseg_everything_3d": ("nnUDATrainerTransMedSeg", "3d_toy",
                                  {"transmedseg.statistics.confidence": 0.3, "transmedseg.copy_paste.weight": 1,
                                   "transmedseg.copy_paste.start": 0, "transmedseg.structure.weight": 0.01,
                                   "transmedseg.statistics.covariance": "diagonal"}),
}


def state(trainer) -> dict:
    return {"network": trainer.network.state_dict(), "adaptation": trainer.adaptation_state(),
            "optimizer": trainer.optimizer.state_dict(),
            "rates": [group["lr"] for group in trainer.optimizer.param_groups], "random": get_random_state(),
            "epoch": trainer.current_epoch}


@pytest.mark.parametrize("variant", VARIANTS)
def test_resumed_training_equals_an_uninterrupted_one(toy_environment, variant, monkeypatch):
    monkeypatch.setattr("nnuda.training.trainer.plot_curves", lambda *arguments: None)  # most of a toy epoch
    trainer, configuration, settings = VARIANTS[variant]
    settings = {**EVERYTHING, **settings}
    whole = make_trainer(toy_environment, trainer, configuration, f"gate2_whole_{variant}", settings)
    run_epochs(whole, 4)

    name = f"gate2_halves_{variant}"
    first = make_trainer(toy_environment, trainer, configuration, name, settings)
    run_epochs(first, 2)
    assert differences(state(first), state(whole)) != []
    torch.rand(3)  # a new process has another random state
    second = make_trainer(toy_environment, trainer, configuration, name, settings, continue_training=True)
    second.load_checkpoint(f"{second.output_folder}/checkpoint_latest.pth")
    run_epochs(second, 2)

    assert differences(state(second), state(whole)) == []
    curves = [t.logger.local_logger.my_fantastic_logging for t in (second, whole)]
    for name in whole.logged_names():
        assert np.array_equal(*(curve[f"nnUDA/{name}"] for curve in curves), equal_nan=True), name
        of_a_class = name.startswith("distance/")  # none where the target was never predicted to show it
        assert of_a_class or not math.isnan(curves[0][f"nnUDA/{name}"][-1]), name


def test_checkpoint_holds_tensors_and_builtins_besides_nnunets_own(toy_environment):
    trainer = make_trainer(toy_environment, "nnUDATrainerUUDS", "2d_toy", "gate2_content", EVERYTHING)
    run_epochs(trainer, 1)
    checkpoint = torch.load(f"{trainer.output_folder}/checkpoint_latest.pth", weights_only=False)

    def foreign(value) -> list:
        if isinstance(value, dict):
            return [f for item in value.items() for part in item for f in foreign(part)]
        if isinstance(value, (list, tuple)):
            return [f for part in value for f in foreign(part)]
        return [] if isinstance(value, (torch.Tensor, str, int, float, bool, type(None))) else [type(value)]

    assert foreign(checkpoint["nnuda"]) == []
    assert foreign(checkpoint["network_weights"]) == []


def test_a_stock_checkpoint_is_not_continued(toy_environment):
    trainer = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "gate2_stock",
                           {"training.num_epochs": 2})
    run_epochs(trainer, 1)
    path = f"{trainer.output_folder}/checkpoint_latest.pth"
    checkpoint = torch.load(path, weights_only=False)
    del checkpoint["nnuda"]
    torch.save(checkpoint, path)
    again = make_trainer(toy_environment, "nnUDATrainerSourceOnly", "2d_toy", "gate2_stock",
                         {"training.num_epochs": 2}, continue_training=True)
    with pytest.raises(RuntimeError, match="training.init_from"):
        again.load_checkpoint(path)
