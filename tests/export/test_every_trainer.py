"""Every trainer, by discovery: exported where the README calls its test-time network nnU-Net's, refused where not."""
from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from harness import make_trainer

from nnuda.export.export_model import export_model
from nnuda.export.trained_model import ExportError, find_model
from nnuda.registration import trainers_folder

TRAINERS = sorted(path.stem for path in Path(trainers_folder()).glob("nnUDATrainer*.py"))
README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", TRAINERS)
def test_exports_as_the_readme_says(toy_environment, name, tmp_path):
    trainer = make_trainer(toy_environment, name, "2d_toy", "every")
    trainer.on_train_start()
    trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    model = find_model("501", name, "every", "2d_toy", ["all"], "checkpoint_final.pth")

    network = re.search(rf"^\| `{name}` \|.*\| ([^|]+) \|$", README, re.MULTILINE)[1]
    if network.startswith("nnU-Net's"):
        [case] = export_model(model, None, torch.device("cpu"), str(tmp_path)).checks
        assert case.differing == 0 and case.foreground > 0
    else:
        assert network.startswith("its own")
        with pytest.raises(ExportError, match=f"{name} predicts with a network of its own"):
            export_model(model, None, torch.device("cpu"), str(tmp_path))
