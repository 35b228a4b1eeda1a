"""nnUDA_configure: a variant of a plan, under a name of its own. Nothing is preprocessed again."""

from __future__ import annotations

import argparse
import os

from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import add_settings, add_source, print_domains_of_plan
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.cli.text_arguments import add_texts, read_texts
from nnuda.datasets import dataset_name
from nnuda.files import check_output_folder
from nnuda.plan_key import read_key
from nnuda.planning.choice import load_plan, plan_file
from nnuda.results import read_dataset_json
from nnuda.settings import parse_set_arguments


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_configure",
        __doc__,
        [
            "-d 501 --as nnUNetPlans_short --set training.num_epochs=250",
            "-d 501 --as nnUNetPlans_texts --text-model ngrams",
        ],
    )
    add_source(parser)
    parser.add_argument(
        "-p", default="nnUNetPlans", metavar="PLANS", help="the plan to start from (default: nnUNetPlans)"
    )
    parser.add_argument(
        "--as", required=True, dest="name", metavar="NAME", help="name of the new plan, to be trained with -p NAME"
    )
    add_settings(parser)
    add_texts(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _configure, arguments, PLANNING_FOLDERS)


def _configure(args: argparse.Namespace) -> None:
    source_name = dataset_name(args.d)
    plans = load_plan(source_name, args.p)
    print_domains_of_plan(plans)
    settings = parse_set_arguments(args.settings)
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


if __name__ == "__main__":
    main()
