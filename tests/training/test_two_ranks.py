"""Whole trainings on two ranks: gloo processes on the CPU in the place of nnU-Net's GPUs."""

from __future__ import annotations

import os
from functools import partial

import pytest
import torch
from harness import differences, make_trainer, run_epochs
from methods import methods, settings_of
from nnunetv2.training.nnUNetTrainer import nnUNetTrainer as stock
from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name
from torch.nn.parallel import DistributedDataParallel
from toy import CPU, Toy
from two_processes import in_two_processes

METHODS = methods("ranks")


def on_cpu(name: str) -> type:
    """The trainer on a CPU, which nnU-Net does not offer under DDP."""
    trainer = recursive_find_trainer_class_by_name(name)
    return type(name, (trainer,), {"device": property(lambda self: torch.device("cpu"), lambda self, device: None)})


def train(toy: Toy, rank: int) -> dict:
    os.environ.update({**CPU, **toy.folders})
    stock.DDP = lambda network, device_ids: DistributedDataParallel(network)
    states = {}
    for name, method in METHODS.items():
        trainer = make_trainer(
            toy,
            on_cpu(method.trainer),
            method.configuration,
            f"two_ranks_{name}",
            {**settings_of(method), "training.num_epochs": 2},
        )
        run_epochs(trainer, 2)
        assert isinstance(trainer.network, DistributedDataParallel) and trainer.batch_size == 1
        logged = trainer.logger.local_logger.my_fantastic_logging
        states[name] = {
            "state": trainer.adaptation_state(),
            "terms": list(trainer.loss_terms),
            "logged": {curve: list(map(float, logged[f"nnUDA/{curve}"])) for curve in trainer.logged_names()},
        }
    return states


@pytest.fixture(scope="module")
def ranks(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> list[dict]:
    return in_two_processes(partial(train, toy), tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("method", METHODS)
def test_ranks_stay_together(ranks, method):
    """Each drew its own images; weights, statistics, dictionaries, discriminators and teacher are the same."""
    first, second = (rank[method]["state"] for rank in ranks)
    assert differences(second, first) == []
    weights = [value for value in first["student"].values() if value.is_floating_point()]
    assert all(value.isfinite().all() for value in weights)


@pytest.mark.parametrize("method", METHODS)
def test_every_term_was_computed(ranks, method):
    for rank in ranks:
        last = {name: values[-1] for name, values in rank[method]["logged"].items()}
        assert all(last[name] == last[name] for name in rank[method]["terms"]), last
