"""nnUDA_configure: a variant of a plan, under a name of its own. Nothing is preprocessed again."""

from __future__ import annotations

import argparse
import os

from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import add_settings, add_source, print_domains_of_plan
from nnuda.cli.next_command import print_next, train_command
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import PLANNING_FOLDERS, check_variables, run_command
from nnuda.cli.settings_list import settings_list
from nnuda.cli.text_arguments import add_texts, read_texts
from nnuda.datasets import dataset_name
from nnuda.errors import PlanningError
from nnuda.files import check_output_folder
from nnuda.plan_key import chosen_settings, read_key
from nnuda.planning.choice import load_plan, plan_file
from nnuda.results import read_dataset_json
from nnuda.settings import parse_set_arguments
from nnuda.trainer_files import known_trainers, preset_of


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_configure",
        __doc__,
        [
            "--list -tr nnUDATrainerAdapt",
            "-d 501 --list teacher",
            "-d 501 --as nnUNetPlans_short --set training.num_epochs=250",
            "-d 501 --as nnUNetPlans_texts --text-model ngrams",
        ],
    )
    add_source(parser, required=False)
    parser.add_argument(
        "-p", default="nnUNetPlans", metavar="PLANS", help="the plan to start from (default: nnUNetPlans)"
    )
    parser.add_argument("--as", dest="name", metavar="NAME", help="name of the new plan, to be trained with -p NAME")
    parser.add_argument(
        "--list",
        nargs="?",
        const="",
        metavar="BEGIN",
        help="print the settings that begin so, or all, with values, what is allowed and what they do, and end; with -d "
        "the values are the plan's",
    )
    parser.add_argument(
        "-tr", metavar="TRAINER", help="with --list: whose settings (default: the trainer that the plan was made for)"
    )
    add_settings(parser)
    add_texts(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_configure."""
    run_command(build_parser(), _configure, arguments)


def _configure(args: argparse.Namespace) -> None:
    if args.list is not None:
        _print_settings(args)
        return
    if args.d is None or args.name is None or args.tr is not None:
        raise PlanningError(
            "Expected -d SOURCE and --as NAME for a copy of a plan (a plan serves every trainer: no -tr), or --list "
            "-tr TRAINER for the settings that there are."
        )
    check_variables(PLANNING_FOLDERS)
    _write_copy(args)


def _print_settings(args: argparse.Namespace) -> None:
    """Those of a trainer, with the values that the plan gives them where -d names one."""
    trainer, chosen = args.tr, {}
    if args.d is not None:
        check_variables(PLANNING_FOLDERS)
        key = read_key(load_plan(dataset_name(args.d), args.p))
        trainer, chosen = trainer or key.get("memory", {}).get("step"), chosen_settings(key)
    if trainer is None:
        raise PlanningError(f"Expected -tr TRAINER, or a plan with -d SOURCE. Trainers: {', '.join(known_trainers())}.")
    preset = preset_of(trainer)
    if preset is None:
        raise PlanningError(f"-tr: expected one of {', '.join(known_trainers())}; got {trainer}.")
    of_plan = "" if args.d is None else f", values of plan {args.p}"
    print(f"Settings of {trainer}{of_plan}\n\n{settings_list(preset, chosen, args.list)}")
    print(
        "\nWhere the values come from: documentation/reference/settings.md. To change one,\nin a copy of a plan:\n"
        "  nnUDA_configure -d SOURCE --as NAME --set SETTING=VALUE"
    )


def _write_copy(args: argparse.Namespace) -> None:
    settings = parse_set_arguments(args.settings)
    source_name = dataset_name(args.d)
    plans = load_plan(source_name, args.p)
    print_domains_of_plan(plans)
    from nnuda.planning.variant import check_plan_name, write_variant

    check_plan_name(plans, args.name)
    folder = os.path.join(nnUNet_preprocessed, source_name)
    check_output_folder(folder, "--as", f"{args.name}.json")
    source_json = read_dataset_json(os.path.join(folder, "dataset.json"), channels=True)
    channels_s = source_json.get("channel_names", source_json.get("modality"))
    embeddings = read_texts(args, source_json, channels_s, read_key(plans)["target"]["channel_names"])
    settings, there = write_variant(plans, args.name, settings, embeddings)
    done = "is there already, with these settings" if there else f"copy of {args.p}"
    print(f"Plan: {plan_file(source_name, args.name)} ({done})")
    print(f"Settings: {', '.join(f'{name}={value}' for name, value in settings.items()) or 'presets'}")
    print_next("train", train_command({**plans, "plans_name": args.name}, _preprocessed(plans)))


def _preprocessed(plans: dict) -> str:
    """The plan's first configuration with preprocessed source cases."""
    from nnuda.preprocessing.configurations import choose_configurations

    return next(iter(choose_configurations(plans["dataset_name"], plans, None)), "CONFIGURATION")


if __name__ == "__main__":
    main()
