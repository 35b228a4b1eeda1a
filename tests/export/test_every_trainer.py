"""Every trainer, by discovery: exported where the README calls its test-time network nnU-Net's, refused where not."""

from __future__ import annotations

import pytest
import torch
from harness import make_trainer
from methods import TRAINERS, predicting_network

from nnuda.export.export_model import export_model
from nnuda.export.plain import check_network
from nnuda.export.trained_model import ExportError, TrainedModel, find_model


@pytest.mark.parametrize("name", TRAINERS)
def test_exports_as_the_readme_says(toy_environment, name, tmp_path):
    trainer = make_trainer(toy_environment, name, "2d_toy", "every")
    trainer.on_train_start()
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    model = find_model("501", name, "every", "2d_toy", ["all"], "checkpoint_final.pth")

    network = predicting_network(name)
    if network is None:  # a trainer outside of the clone: what its weights are says whose network it is
        network = "nnU-Net's" if stock_network(model) else "its own"
    if network.startswith("nnU-Net's"):
        [case] = export_model(model, None, torch.device("cpu"), str(tmp_path)).checks
        assert case.differing == 0 and case.foreground > 0
    else:
        with pytest.raises(ExportError, match=f"{name} predicts with a network of its own"):
            export_model(model, None, torch.device("cpu"), str(tmp_path))


def stock_network(model: TrainedModel) -> bool:
    try:
        check_network(model)
    except ExportError:
        return False
    return True
