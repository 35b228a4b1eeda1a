"""Trainers in this process, without the stock command around them."""

from __future__ import annotations

import json
from functools import cache

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from toy import Toy

from nnuda.data.domain_batch import to_device
from nnuda.trainer_files import own_trainers
from nnuda.training import epochs
from nnuda.training.random_state import seed_everything
from nnuda.training.trainer import nnUDATrainer

epochs.plot_curves = lambda *_: None  # pictures would take most of a toy epoch


def trainer_class(name: str) -> type[nnUNetTrainer]:
    """The class that nnU-Net finds; nnuda's own are looked for once."""
    return own_trainer(name) if name in own_trainers() else recursive_find_trainer_class_by_name(name)


own_trainer = cache(recursive_find_trainer_class_by_name)


def make_trainer(
    toy: Toy,
    trainer: str | type,
    configuration: str,
    plans_name: str,
    settings: dict | None = None,
    continue_training: bool = False,
    device: torch.device = torch.device("cpu"),
    fold: int | str = "all",
) -> nnUNetTrainer:
    """A trainer on the toy's plan, renamed so that its results folder is its own."""
    plans = json.loads((toy.preprocessed / "nnUNetPlans.json").read_text())
    plans |= {"plans_name": plans_name, "continue_training": continue_training}
    plans["domain_adaptation"]["settings"] |= settings or {}
    made = trainer_class(trainer) if isinstance(trainer, str) else trainer
    trainer = made(plans, configuration, fold, json.loads((toy.preprocessed / "dataset.json").read_text()), device)
    trainer.logger.plot_progress_png = lambda *_: None
    if isinstance(trainer, nnUDATrainer):
        trainer.selection.draw = lambda *_: None
    return trainer


def train_steps(trainer: nnUNetTrainer, steps: int, seed: int | None = 7) -> dict[str, torch.Tensor]:
    """Start a training and take some steps; returns the network's parameters."""
    if seed is not None:
        seed_everything(seed)
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    for _ in range(steps):
        trainer.train_step(next(trainer.dataloader_train))
    return trainer.network.state_dict()


def started(toy: Toy, trainer: str, plans_name: str, settings: dict):
    """A trainer in 2D before its first step, a batch of both domains, and the network's outputs for it."""
    trainer = make_trainer(toy, trainer, "2d_toy", plans_name, settings)
    trainer.on_train_start()
    trainer.on_epoch_start()
    trainer.on_train_epoch_start()
    source, target = to_device(next(trainer.dataloader_train), torch.device("cpu"))
    return trainer, source, target, trainer.forward_domains(source, target)


def learns(module: torch.nn.Module) -> bool:
    """Whether any parameter has a gradient other than 0."""
    return any(parameter.grad is not None and parameter.grad.any() for parameter in module.parameters())


def run_epochs(trainer: nnUNetTrainer, epochs: int) -> None:
    """nnU-Net's training loop for some epochs, then silence, as when a job is killed."""
    trainer.on_train_start()
    for _ in range(epochs):
        trainer.on_epoch_start()
        trainer.on_train_epoch_start()
        trainer.on_train_epoch_end(
            [trainer.train_step(next(trainer.dataloader_train)) for _ in range(trainer.num_iterations_per_epoch)]
        )
        with torch.no_grad():
            trainer.on_validation_epoch_start()
            trainer.on_validation_epoch_end(
                [
                    trainer.validation_step(next(trainer.dataloader_val))
                    for _ in range(trainer.num_val_iterations_per_epoch)
                ]
            )
        trainer.on_epoch_end()


def differences(state: object, expected: object, path: str = "") -> list[str]:
    """Where two nested structures of tensors and builtins differ, bit for bit."""
    if isinstance(expected, torch.Tensor):
        return [] if isinstance(state, torch.Tensor) and torch.equal(state, expected) else [path]
    if isinstance(expected, dict):
        if not isinstance(state, dict) or state.keys() != expected.keys():
            return [f"{path}: other keys"]
        return [d for key in expected for d in differences(state[key], expected[key], f"{path}/{key}")]
    if isinstance(expected, (list, tuple)):
        if len(state) != len(expected):
            return [f"{path}: other length"]
        return [d for i, (a, b) in enumerate(zip(state, expected)) for d in differences(a, b, f"{path}/{i}")]
    return [] if state == expected else [f"{path}: {state!r}, not {expected!r}"]
