"""nnUDA_plan_experiment: extend the source's plan for a target, or make a fresh one. Nothing is preprocessed."""

from __future__ import annotations

import argparse
import shlex

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains, target_words
from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.plan_arguments import add_fingerprint, add_plan, make_plan, read_request
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.cli.text_arguments import add_texts
from nnuda.settings import parse_set_arguments


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser("nnUDA_plan_experiment", __doc__, ["-d 501 -t 502", "-d 501 -t 502 -pl nnUDAPlannerResEncM"])
    for add in (add_source, add_target, add_plan, add_texts, add_processes, add_fingerprint):
        add(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _plan, arguments, PLANNING_FOLDERS)


def _plan(args: argparse.Namespace) -> None:
    parse_set_arguments(args.settings or [])  # complaints come before any image is looked for
    source, target = read_domains(args)
    plans = make_plan(args, read_request(args, source, target))
    folder = target_words(args) if args.target_name is not None else []  # of a dataset the plan has the name
    print_next("preprocess", shlex.join(["nnUDA_preprocess", "-d", args.d, *folder, "-p", plans["plans_name"]]))


if __name__ == "__main__":
    main()
