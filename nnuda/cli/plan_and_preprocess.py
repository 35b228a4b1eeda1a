"""nnUDA_plan_and_preprocess: from two datasets to everything that nnUNetv2_train needs."""

from __future__ import annotations

import argparse

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains
from nnuda.cli.plan_arguments import add_fingerprint, add_plan, make_plan, read_request
from nnuda.cli.preprocess import add_configurations, preprocess
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.cli.text_arguments import add_texts


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = argparse.ArgumentParser(prog="nnUDA_plan_and_preprocess", description=__doc__)
    for add in (add_source, add_target, add_configurations, add_plan, add_texts, add_processes, add_fingerprint):
        add(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _plan_and_preprocess, arguments, PLANNING_FOLDERS)


def _plan_and_preprocess(args: argparse.Namespace) -> None:
    source, target = read_domains(args)
    request = read_request(args, source, target, args.c)
    plans = make_plan(args, request)
    preprocess(args, source, target, plans, overwrite=args.clean)


if __name__ == "__main__":
    main()
