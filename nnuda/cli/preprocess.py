"""nnUDA_preprocess: preprocess the target, and what is missing of the source, for a plan that names both."""

from __future__ import annotations

import argparse

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains_of_plan
from nnuda.cli.next_command import print_next, train_command
from nnuda.cli.parser import new_parser
from nnuda.cli.plan_arguments import check_pair
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.datasets import Domain, dataset_name
from nnuda.errors import PlanningError
from nnuda.plan_key import read_key
from nnuda.planning.choice import load_plan
from nnuda.results import read_fingerprint


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser("nnUDA_preprocess", __doc__, ["-d 501", "-d 501 -p nnUNetPlans -c 2d"])
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
    from nnuda.plan_network import check_networks
    from nnuda.planning.checks import check_dimension
    from nnuda.planning.fingerprint import REMEDY, fingerprint_file
    from nnuda.preprocessing.configurations import choose_configurations
    from nnuda.preprocessing.source import preprocess_source
    from nnuda.preprocessing.target import check_target_folder, preprocess_target

    check_target_folder(plans, target)
    configurations = choose_configurations(source.name, plans, args.c)
    check_networks(plans, configurations)
    check_dimension(configurations, plans, read_fingerprint(fingerprint_file(source.name, target.name), REMEDY))
    preprocess_source(source, plans, configurations, args.np)
    preprocess_target(target, plans, configurations, args.np, overwrite)
    print_next("train", train_command(plans, configurations[0]))


def _preprocess(args: argparse.Namespace) -> None:
    source_name = dataset_name(args.d)
    plans = load_plan(source_name, args.p)
    from nnuda.preprocessing.configurations import check_configurations, check_places

    check_places(source_name, read_key(plans), plans)
    source, target = read_domains_of_plan(args, plans)
    check_configurations(plans, args.c)
    check_pair(source, target, plans)
    _check_number(plans, source, target)
    preprocess(args, source, target, plans, overwrite=args.clean)


def _check_number(plans: dict, source: Domain, target: Domain) -> None:
    key = read_key(plans)
    if key["source"] != source.name:
        raise PlanningError(
            f"Plan {plans['plans_name']} lies with {source.name}, but is of {key['source']}. Plan {source.name} afresh, or "
            "name the other source with -d."
        )
    planned, found = key["target"]["num_cases"], len(target.images)
    if planned != found:
        raise PlanningError(
            f"Plan {plans['plans_name']} was made for {planned} target cases, {target.name} has {found} now: their "
            f"statistics are part of the plan. Run: nnUDA_plan_and_preprocess -d {source.name} -t {target.name} -p "
            f"{plans['plans_name']}"
        )


if __name__ == "__main__":
    main()
