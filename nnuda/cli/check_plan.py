"""nnUDA_check --plan: what a training of a plan takes, as far as it is known."""

from __future__ import annotations

import argparse
import os
import textwrap
from functools import partial

from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import print_domains_of_plan
from nnuda.cli.next_command import RECOMMENDED
from nnuda.cli.run_command import check_variables, usable_device
from nnuda.datasets import dataset_name
from nnuda.errors import PlanningError
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import chosen_settings, read_key
from nnuda.planning.choice import load_plan
from nnuda.results import read_dataset_json
from nnuda.settings import effective_settings, usual_settings
from nnuda.stages.progress import duration
from nnuda.trainer_files import BASE_TRAINER

STEPS = 3  # that are timed


def check_plan(args: argparse.Namespace) -> None:
    """Prints patch, batch, memory and time of a training.

    Args:
        args: with d, p, c, tr, measure, device.

    Raises:
        PlanningError, PlanKeyError, TrainerError: no such plan, configuration or trainer, or a plan without a target.
    """
    if args.d is None:
        raise PlanningError("--plan: expected the labelled source with -d.")
    check_variables(("nnUNet_preprocessed",))
    plans = load_plan(dataset_name(args.d), args.p)
    print_domains_of_plan(plans)
    key = read_key(plans)
    planned = key.get("memory", {}).get("step", BASE_TRAINER)
    trainer = args.tr or (RECOMMENDED if planned == BASE_TRAINER else planned)
    find_trainer(trainer)
    from nnuda.plan_network import check_networks
    from nnuda.preprocessing.configurations import choose_configurations

    configurations = choose_configurations(plans["dataset_name"], plans, args.c)
    check_networks(plans, configurations)
    dataset_json = read_dataset_json(
        os.path.join(nnUNet_preprocessed, plans["dataset_name"], "dataset.json"), channels=True
    )
    print(f"Plan {args.p}, a step of {trainer}")
    _print_sizes(plans, dataset_json, trainer, configurations)
    _print_time(trainer, chosen_settings(key))
    if args.measure:
        _print_measured(plans, dataset_json, trainer, configurations, args.device)
    else:
        _say("How long a step takes on this machine is not known before it is measured: add --measure.")


def _print_sizes(plans: dict, dataset_json: dict, trainer: str, configurations: list[str]) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnuda.evaluation.table import print_table, table_of
    from nnuda.planning.memory import expected_memory, memory_factor

    key = read_key(plans)
    factor, target = memory_factor(trainer, chosen_settings(key)), key.get("memory", {}).get("target_gb")
    rows = [["configuration", "patch", "batch of each domain", "GPU memory", "nnU-Net's"]]
    for name in configurations:
        of_name = PlansManager(plans).get_configuration(name)
        total = effective_settings(find_trainer(trainer).preset, chosen_settings(key))["training.batch"] == "total"
        batch = str(of_name.batch_size) if not total else f"half of {of_name.batch_size}"
        expected = [expected_memory(plans, dataset_json, name, times) for times in (factor, 1.0)]
        gigabytes = ["not known" if gb is None else f"{gb:g} GB" for gb in expected]
        rows.append([name, " x ".join(map(str, of_name.patch_size)), batch, *gigabytes])
    print_table(table_of(rows))
    _say(
        f"GPU memory is nnU-Net's own estimate times {factor:g}, the trainer's factor"
        f"{f'; planned for {target:g} GB' if target else ''}. What a GPU took stands in nnUDA_report."
    )


def _print_time(trainer: str, chosen: dict) -> None:
    trainer_class = find_trainer(trainer)
    settings = effective_settings(trainer_class.preset, chosen)
    usual = usual_settings(trainer_class.preset, settings)
    changed = [name for name, value in settings.items() if value != usual[name]]
    if trainer_class.step_time is None:
        _say(f"The time of a step of {trainer} against nnU-Net's was not measured.")
    else:
        but = f" The plan has other settings: {', '.join(changed)}." if changed else ""
        _say(
            f"A step takes {trainer_class.step_time:.1f} times nnU-Net's once all terms are on, measured on a CPU in 2D; "
            f"on a GPU it was not.{but}"
        )
    epochs, iterations = settings["training.num_epochs"], settings["training.num_iterations_per_epoch"]
    _say(
        f"A fold has {epochs * iterations:,} steps ({epochs} epochs of {iterations}); validation after each epoch and "
        "at the end come on top."
    )


def _print_measured(plans: dict, dataset_json: dict, trainer: str, configurations: list[str], device: str) -> None:
    import torch

    from nnuda.cli.measure_memory import of_both
    from nnuda.evaluation.table import print_table, table_of
    from nnuda.training.cost import seconds_of_a_step

    usable_device(device)
    settings = effective_settings(find_trainer(trainer).preset, chosen_settings(read_key(plans)))
    steps = settings["training.num_epochs"] * settings["training.num_iterations_per_epoch"]
    rows = [["configuration", "a step", "nnU-Net's", "times", "all steps"]]
    for name in configurations:
        print(f"Measuring {STEPS} steps of {name} on {device}, and of nnU-Net's ...", flush=True)
        ours, stock = of_both(
            partial(seconds_of_a_step, steps=STEPS), plans, dataset_json, name, trainer, {}, torch.device(device)
        )
        rows.append([name, f"{ours:.3g} s", f"{stock:.3g} s", f"{ours / stock:.2f}", duration(ours * steps)])
    print_table(table_of(rows))
    _say(
        f"Median of {STEPS} steps with all terms on, without loading and augmenting, which may take longer, and without "
        "torch.compile. Steps before a term starts take less: all steps is what they take at most by this."
    )


def _say(text: str) -> None:
    print(textwrap.fill(text, 80))
