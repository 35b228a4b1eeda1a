"""nnUDA_plan_experiment: extend the source's plan for a target, or make a fresh one. Nothing is preprocessed."""
from __future__ import annotations

import argparse

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains
from nnuda.cli.plan_arguments import add_fingerprint, add_plan, make_plan, read_request
from nnuda.cli.run_command import run_command


def main(arguments: list[str] | None = None) -> None:
    run_command(_plan, arguments)


def _plan(arguments: list[str] | None) -> None:
    parser = argparse.ArgumentParser(prog="nnUDA_plan_experiment", description=__doc__)
    for add in (add_source, add_target, add_plan, add_processes, add_fingerprint):
        add(parser)
    args = parser.parse_args(arguments)
    source, target = read_domains(args)
    make_plan(args, read_request(args, source, target))


if __name__ == "__main__":
    main()
