"""Measures `planning.memory_factor`: what a trainer's step keeps for its backward pass, against nnU-Net's.

Both take one step on the CPU, from the first step's terms on, with the plan's whole batch of each domain.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import tempfile
from collections.abc import Callable
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import add_settings, add_source
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import run_command
from nnuda.datasets import dataset_name
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import KEY, read_key
from nnuda.planning.choice import load_plan
from nnuda.results import read_dataset_json
from nnuda.settings import load_preset, parse_set_arguments

if TYPE_CHECKING:
    import torch


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser("python -m nnuda.cli.measure_memory", __doc__, ["-d 501 -c 2d -tr nnUDATrainerAdapt"])
    add_source(parser)
    parser.add_argument("-c", required=True, metavar="CONFIGURATION", help="a preprocessed configuration")
    parser.add_argument("-tr", required=True, metavar="TRAINER", help="trainer to measure")
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="its plan (default: nnUNetPlans)")
    add_settings(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _measure, arguments)


def _measure(args: argparse.Namespace) -> None:
    source = dataset_name(args.d)
    plans = load_plan(source, args.p)
    dataset_json = read_dataset_json(join(nnUNet_preprocessed, source, "dataset.json"), channels=True)
    ours, stock = measure(plans, dataset_json, args.c, args.tr, parse_set_arguments(args.settings))
    print(f"{args.tr}: {ours / 1e6:.1f} MB, nnUNetTrainer: {stock / 1e6:.1f} MB kept for the backward pass of a step")
    print(f"planning.memory_factor: {ours / stock:.1f}")


def measure(plans: dict, dataset_json: dict, configuration: str, trainer: str, settings: dict) -> tuple[int, int]:
    """Bytes that a step of the trainer, and of nnUNetTrainer, keeps for its backward pass: `of_both`."""
    import torch

    from nnuda.training.kept_bytes import kept_bytes

    each = {"training.batch": "each", **settings}
    ours, stock = of_both(kept_bytes, plans, dataset_json, configuration, trainer, each, torch.device("cpu"))
    return ours, stock


def of_both(
    function: Callable[[Any], Any],
    plans: dict,
    dataset_json: dict,
    configuration: str,
    trainer: str,
    settings: dict,
    device: torch.device,
) -> tuple[Any, Any]:
    """What a function says of the trainer, and of nnUNetTrainer, before their start.

    Args:
        function: called with each.
        plans: a plan with the key `domain_adaptation`; both domains are preprocessed for the configuration.
        dataset_json: the source's.
        configuration: of the plan.
        trainer: name of the trainer.
        settings: on top of the plan's; every `.start` and `.ramp` is 0 where they say nothing.
        device: of the training.
    """
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    trainer_class = find_trainer(trainer)
    first = {key: 0 for key in load_preset(trainer_class.preset) if key.endswith((".start", ".ramp"))}
    of_plan = read_key(plans)["settings"]
    plans = {
        **plans,
        "continue_training": False,
        KEY: {**plans[KEY], "settings": {**of_plan, **first, **settings}},
    }
    found = []
    with _quietly():
        for measured in (trainer_class, nnUNetTrainer):
            made: Any = measured(deepcopy(plans), configuration, "all", dataset_json, device)
            found.append(function(made))
    return found[0], found[1]


@contextlib.contextmanager
def _quietly():
    """Results go into a folder that is thrown away; no worker processes, no compilation."""
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        changed = {"nnUNet_results": folder, "nnUNet_n_proc_DA": "0", "nnUNet_compile": "f"}
        before = {name: os.environ.get(name) for name in changed}
        os.environ.update(changed)
        try:
            yield
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})


if __name__ == "__main__":
    main()
