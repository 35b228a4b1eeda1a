"""nnUDA_plan_and_preprocess: from two datasets to everything that nnUNetv2_train needs."""
from __future__ import annotations

import argparse

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains, run_command
from nnuda.planning.choice import choose_plan
from nnuda.planning.fingerprint import extract_source_fingerprint, extract_target_fingerprint
from nnuda.planning.memory import BASE_TRAINER
from nnuda.planning.plan import PlanRequest, write_plan
from nnuda.preprocessing.configurations import choose_configurations
from nnuda.preprocessing.source import preprocess_source
from nnuda.preprocessing.target import preprocess_target
from nnuda.settings import parse_set_arguments


def main(arguments: list[str] | None = None) -> None:
    run_command(_plan_and_preprocess, arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="nnUDA_plan_and_preprocess", description=__doc__)
    add_source(parser)
    add_target(parser)
    add_processes(parser)
    parser.add_argument("-c", nargs="+", metavar="CONFIGURATION", help="configurations to preprocess (default: those with preprocessed source data, "
                                                                       "for a fresh plan 2d 3d_fullres 3d_lowres)")
    parser.add_argument("-p", metavar="PLANS", help="an existing plan of the source, extended and never re-planned (default: nnUNetPlans)")
    parser.add_argument("-overwrite_plans_name", metavar="NAME", help="name of the plan to write, where it is not to be the existing one")
    parser.add_argument("-tr", default=BASE_TRAINER, metavar="TRAINER", help=f"trainer whose step the memory is planned for (default: {BASE_TRAINER})")
    parser.add_argument("--set", action="append", metavar="KEY=VALUE", dest="settings", help="a setting, value in JSON; repeatable")
    return parser


def _plan_and_preprocess(arguments: list[str] | None) -> None:
    args = _parser().parse_args(arguments)
    source, target = read_domains(args)
    settings = None if args.settings is None else parse_set_arguments(args.settings)
    choice = choose_plan(source.name, target.name, args.p, None, None, args.overwrite_plans_name)
    source_fingerprint = extract_source_fingerprint(source.name, args.np)
    target_fingerprint = extract_target_fingerprint(source.name, target, args.np)
    plans = write_plan(PlanRequest(source, target, choice, args.tr, settings), source_fingerprint, target_fingerprint)
    print(f"Plan: {join(nnUNet_preprocessed, source.name, choice.name)}.json")
    configurations = choose_configurations(source.name, plans, args.c)
    preprocess_source(source, plans, configurations, args.np)
    preprocess_target(target, plans, configurations, args.np)


if __name__ == "__main__":
    main()
