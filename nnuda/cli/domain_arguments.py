"""The domains on the command line, and the lines that each planning command begins with."""

from __future__ import annotations

import argparse
import os

from nnunetv2.configuration import default_num_processes

from nnuda.cli.ranges import number_of_processes
from nnuda.datasets import Domain, load_dataset, load_folder
from nnuda.errors import NnudaError, PlanningError
from nnuda.plan_key import read_key, target_folder


def add_source(parser: argparse.ArgumentParser, required: bool = True) -> None:
    parser.add_argument(
        "-d", required=required, metavar="SOURCE", help="labelled source: number or name of a dataset in nnUNet_raw"
    )


def add_target(parser: argparse.ArgumentParser, required: bool = True) -> None:
    """The unlabelled target: a dataset, or a folder of images with what its dataset.json would say."""
    default = "" if required else " (default: the plan's, where that is a dataset)"
    parser.add_argument(
        "-t",
        required=required,
        metavar="TARGET",
        help="unlabelled target: number or name of a dataset in nnUNet_raw, or the path of a folder "
        f"of images named CASE_0000<ending>{default}",
    )
    parser.add_argument(
        "--target-channel-names",
        nargs="+",
        metavar="NAME",
        help="channel names of a folder of images, in order; as in a dataset.json they decide the "
        "normalisation (CT or not)",
    )
    parser.add_argument("--target-name", metavar="NAME", help="what a folder of images is to be called")


def add_settings(parser: argparse.ArgumentParser, default: list[str] | None = ()) -> None:
    """--set.

    Args:
        parser: of the command.
        default: None where no --set is not the same as one that sets nothing.
    """
    parser.add_argument(
        "--set",
        action="append",
        default=default if default is None else list(default),
        metavar="KEY=VALUE",
        dest="settings",
        help="a setting, value in JSON, such as training.num_epochs=250; repeatable; nnUDA_configure --list shows them",
    )


def add_processes(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-np",
        type=number_of_processes,
        default=default_num_processes,
        metavar="N",
        help=f"worker processes (default {default_num_processes}: nnUNet_def_n_proc, else 8)",
    )


def read_domains(args: argparse.Namespace, model: Domain | None = None) -> tuple[Domain, Domain]:
    """Source and target as named on the command line; says which is which.

    Args:
        args: with d, unless a model stands in for the source, and the target's options.
        model: the source of a trained model, without images.
    """
    source = model or load_dataset(args.d, labelled=True)
    target = read_target(args, source)
    cases = f"{len(source.images)} cases" if source.images else "no images, a trained model"
    print(f"Labelled source:   {source.name} ({cases}, {', '.join(source.channel_names.values())})")
    print(
        f"Unlabelled target: {target.name} ({len(target.images)} cases, {', '.join(target.channel_names.values())}; "
        "its labels are never opened)",
        flush=True,
    )
    return source, target


def read_target(args: argparse.Namespace, source: Domain) -> Domain:
    """The target of -t, a dataset or a folder of images.

    Raises:
        PlanningError: a folder without --target-channel-names and --target-name, or these with a dataset.
    """
    described = args.target_channel_names is not None, args.target_name is not None
    is_path = os.path.basename(args.t) != args.t or args.t in (".", "..")
    if not is_path and any(described):
        raise PlanningError(
            f"-t {args.t} is a dataset, which brings its own name and channel names: leave "
            f"--target-channel-names and --target-name out, or write a folder as ./{args.t}."
        )
    if not is_path:
        return load_dataset(args.t)
    if not all(described):
        raise PlanningError(
            f"-t {args.t} is a folder of images: say what they are with --target-channel-names (for "
            "example CT, or T1; one a channel) and --target-name."
        )
    return load_folder(args.t, args.target_name, args.target_channel_names, source)


def target_words(args: argparse.Namespace) -> list[str]:
    """The options that name the target, as the user gave them."""
    words = ["-t", args.t]
    if args.target_channel_names is not None:
        words += ["--target-channel-names", *args.target_channel_names]
    return words + (["--target-name", args.target_name] if args.target_name is not None else [])


def read_domains_of_plan(args: argparse.Namespace, plans: dict) -> tuple[Domain, Domain]:
    """Source, and the target that a plan names; says which is which.

    Raises:
        PlanningError: the plan's target is gone, or -t names another.
    """
    named = read_key(plans)["target"]["name"]
    if args.t is None:
        args.t = named
    try:
        source, target = read_domains(args)
    except NnudaError as error:
        if args.t != named:
            raise
        raise PlanningError(
            f"Plan {plans['plans_name']} names the target {named}, which is gone or is a folder of "
            f"images: for a folder give -t FOLDER --target-name {named} and --target-channel-names. "
            f"{error}"
        ) from error
    if target.name != named:
        raise PlanningError(
            f"Plan {plans['plans_name']} names the target {named}, not {target.name}. A second target "
            f"needs a plan of its own: nnUDA_plan_and_preprocess -d {source.name} -t {args.t} "
            "-overwrite_plans_name NAME."
        )
    return source, target


def print_domains_of_plan(plans: dict) -> None:
    """Say which domains a plan is for, without looking at any image.

    Raises:
        PlanningError: what was made of the target is gone.
    """
    key = read_key(plans)
    print(f"Labelled source:   {key['source']}")
    print(f"Unlabelled target: {key['target']['name']}", flush=True)
    if not os.path.isdir(target_folder(key)):
        raise PlanningError(
            f"Plan {plans['plans_name']} names the target {key['target']['name']}, but "
            f"{target_folder(key)} is gone. Run: nnUDA_plan_and_preprocess -d {key['source']} -t "
            f"{key['target']['name']} -p {plans['plans_name']}"
        )
