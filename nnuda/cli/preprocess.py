"""nnUDA_preprocess: preprocess the target, and what is missing of the source, for a plan that names both."""

from __future__ import annotations

import argparse

from batchgenerators.utilities.file_and_folder_operations import load_json

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains_of_plan
from nnuda.cli.plan_arguments import check_pair
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.datasets import Domain, dataset_name
from nnuda.planning.checks import check_dimension
from nnuda.planning.choice import load_plan
from nnuda.planning.fingerprint import fingerprint_file
from nnuda.preprocessing.configurations import check_configurations, choose_configurations
from nnuda.preprocessing.source import preprocess_source
from nnuda.preprocessing.target import preprocess_target


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="nnUDA_preprocess", description=__doc__)
    add_source(parser)
    add_target(parser, required=False)
    parser.add_argument(
        "-p", "-plans_name", metavar="PLANS", default="nnUNetPlans", help="the plan (default: nnUNetPlans)"
    )
    add_configurations(parser)
    add_processes(parser)
    parser.add_argument("--clean", action="store_true", help="preprocess all target cases again")
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _preprocess, arguments, PLANNING_FOLDERS)


def add_configurations(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-c",
        nargs="+",
        metavar="CONFIGURATION",
        help="configurations to preprocess (default: those with preprocessed source data, else 2d "
        "3d_fullres 3d_lowres)",
    )


def preprocess(args: argparse.Namespace, source: Domain, target: Domain, plans: dict, overwrite: bool) -> None:
    """Both domains' cases; the source's only where they are missing."""
    configurations = choose_configurations(source.name, plans, args.c)
    check_dimension(configurations, plans, load_json(fingerprint_file(source.name, target.name)))
    preprocess_source(source, plans, configurations, args.np)
    preprocess_target(target, plans, configurations, args.np, overwrite)


def _preprocess(args: argparse.Namespace) -> None:
    plans = load_plan(dataset_name(args.d), args.p)
    source, target = read_domains_of_plan(args, plans)
    check_configurations(plans, args.c)
    check_pair(source, target, plans)
    preprocess(args, source, target, plans, overwrite=args.clean)


if __name__ == "__main__":
    main()
