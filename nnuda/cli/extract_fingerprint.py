"""nnUDA_extract_fingerprint: the source's fingerprint by nnU-Net, the target's from images alone."""

from __future__ import annotations

import argparse
import shlex

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains, target_words
from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.plan_arguments import add_fingerprint, check_pair, check_places, extract_fingerprints
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command
from nnuda.planning.choice import existing_plans


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser("nnUDA_extract_fingerprint", __doc__, ["-d 501 -t 502", "-d 501 -t 502 -np 4"])
    for add in (add_source, add_target, add_processes, add_fingerprint):
        add(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _extract, arguments, PLANNING_FOLDERS)


def _extract(args: argparse.Namespace) -> None:
    source, target = read_domains(args)
    from nnuda.planning.fingerprint import fingerprint_file

    check_places(source, target)
    check_pair(source, target, None)
    extract_fingerprints(args, source, target, fresh=not existing_plans(source.name))
    print(f"Target fingerprint: {fingerprint_file(source.name, target.name)}")
    print_next("plan", shlex.join(["nnUDA_plan_experiment", "-d", args.d, *target_words(args)]))


if __name__ == "__main__":
    main()
