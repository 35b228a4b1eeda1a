"""Options that the planning commands share, and the lines that each begins with."""
from __future__ import annotations

import argparse
import sys
from typing import Callable

from nnunetv2.configuration import default_num_processes

from nnuda.plan_key import PlanKeyError
from nnuda.planning.domains import Domain, load_dataset, load_folder
from nnuda.planning.errors import PlanningError
from nnuda.settings import SettingsError


def run_command(command: Callable[[list[str] | None], None], arguments: list[str] | None) -> None:
    """Run a command; what the user can mend is said in one line, without a traceback."""
    try:
        command(arguments)
    except (PlanningError, PlanKeyError, SettingsError) as error:
        sys.exit(f"Error: {error}")


def add_source(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-d", required=True, metavar="SOURCE", help="labelled source: number or name of a dataset in nnUNet_raw")


def add_target(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-t", required=True, metavar="TARGET",
                        help="unlabelled target: number or name of a dataset in nnUNet_raw, or a folder of images named CASE_0000<ending>")
    parser.add_argument("--target-channel-names", nargs="+", metavar="NAME",
                        help="channel names of a folder of images, in order; as in a dataset.json they decide the normalisation (CT or not)")
    parser.add_argument("--target-name", metavar="NAME", help="what a folder of images is to be called")


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-np", type=int, default=default_num_processes, metavar="N",
                        help=f"worker processes (default {default_num_processes}: nnUNet_def_n_proc, else 8)")


def read_domains(args: argparse.Namespace) -> tuple[Domain, Domain]:
    """Source and target as named on the command line; says which is which."""
    source = load_dataset(args.d)
    target = read_target(args, source)
    print_domains(source, target)
    return source, target


def read_target(args: argparse.Namespace, source: Domain) -> Domain:
    """The target of -t, a dataset or a folder of images.

    Raises:
        PlanningError: a folder without --target-channel-names and --target-name, or these with a dataset.
    """
    described = args.target_channel_names is not None and args.target_name is not None
    if "/" not in args.t and "\\" not in args.t:
        if args.target_channel_names or args.target_name:
            raise PlanningError(f"-t {args.t} is a dataset, which brings its own name and channel names: leave --target-channel-names and "
                                f"--target-name out, or write a folder as ./{args.t}.")
        return load_dataset(args.t)
    if not described:
        raise PlanningError(f"-t {args.t} is a folder of images: say what they are with --target-channel-names (for example CT, or T1; "
                            f"one a channel) and --target-name.")
    return load_folder(args.t, args.target_name, args.target_channel_names, source.file_ending)


def print_domains(source: Domain, target: Domain) -> None:
    print(f"Labelled source:   {source.name} ({len(source.images)} cases, {', '.join(source.channel_names.values())})")
    print(f"Unlabelled target: {target.name} ({len(target.images)} cases, {', '.join(target.channel_names.values())}; its labels are never opened)",
          flush=True)
