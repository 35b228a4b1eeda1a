"""nnUDA_plan_and_preprocess: from two datasets to everything that nnUNetv2_train needs."""

from __future__ import annotations

import argparse

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains
from nnuda.cli.parser import new_parser
from nnuda.cli.plan_arguments import add_fingerprint, add_plan, make_plan, read_request
from nnuda.cli.preprocess import add_configurations, preprocess
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.cli.text_arguments import add_texts
from nnuda.settings import parse_set_arguments


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_plan_and_preprocess",
        __doc__,
        [
            "-d 501 -t 502 -c 2d",
            "-d 501 -t 502 -c 3d_fullres -tr nnUDATrainerAdapt \\\n-gpu_memory_target 24 -overwrite_plans_name Plans24",
            "-d 501 -t ./new_scanner --target-name new_scanner \\\n--target-channel-names T1",
        ],
    )
    for add in (add_source, add_target, add_configurations, add_plan, add_texts, add_processes, add_fingerprint):
        add(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _plan_and_preprocess, arguments, PLANNING_FOLDERS)


def _plan_and_preprocess(args: argparse.Namespace) -> None:
    parse_set_arguments(args.settings or [])  # complaints come before any image is looked for
    source, target = read_domains(args)
    request = read_request(args, source, target, args.c)
    plans = make_plan(args, request)
    preprocess(args, source, target, plans, overwrite=args.clean)


if __name__ == "__main__":
    main()
