"""Models to export: one of plain nnU-Net's network, trained by the stock command, and one of a network of its own."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from harness import make_trainer
from plain_environment import PlainEnvironment
from toy import CPU, Toy

PLANS = "exported"


@pytest.fixture(scope="session")
def trained(toy: Toy) -> Path:
    """Results folder with fold_all, and two folds of other weights beside it; the teacher predicts."""
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    plans["domain_adaptation"]["settings"] |= {"training.num_epochs": 1, "training.predict_with": "teacher"}
    (toy.preprocessed / f"{PLANS}.json").write_text(json.dumps({**plans, "plans_name": PLANS}))
    toy.train("nnUDATrainerSourceOnly", "2d_toy", PLANS)
    folder = toy.results / f"nnUDATrainerSourceOnly__{PLANS}__2d_toy"
    for fold in (0, 1):
        shutil.copytree(folder / "fold_all", folder / f"fold_{fold}")
        checkpoint = torch.load(folder / f"fold_{fold}" / "checkpoint_final.pth", weights_only=False)
        torch.manual_seed(fold)
        for weight in checkpoint["network_weights"].values():
            weight += 0.1 * torch.randn_like(weight)
        torch.save(checkpoint, folder / f"fold_{fold}" / "checkpoint_final.pth")
    return folder


@pytest.fixture(scope="session")
def uuds(toy: Toy) -> Path:
    """Results folder of a UUDS model, as it starts."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**CPU, **toy.folders}.items():
            patch.setenv(name, value)
        trainer = make_trainer(toy, "nnUDATrainerUUDS", "2d_toy", "exported_uuds", {"teacher.weight": 1})
        trainer.on_train_start()
        trainer.save_checkpoint(f"{trainer.output_folder}/checkpoint_final.pth")
    return Path(trainer.output_folder_base)


@pytest.fixture(scope="session")
def plain(tmp_path_factory: pytest.TempPathFactory) -> PlainEnvironment:
    """An environment without nnuda and without a network."""
    return PlainEnvironment(tmp_path_factory.mktemp("plain"))
