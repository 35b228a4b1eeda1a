"""Options that name a plan, and what the planning commands say about it."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from batchgenerators.utilities.file_and_folder_operations import join
from nnunetv2.paths import nnUNet_preprocessed

from nnuda.cli.domain_arguments import add_settings
from nnuda.cli.ranges import gigabytes
from nnuda.cli.text_arguments import read_texts
from nnuda.datasets import Domain
from nnuda.errors import PlanningError
from nnuda.files import check_output_folder, locked
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import KEY, relative_target_folder
from nnuda.planning.choice import DEFAULT_NAMES, DEFAULT_PLANNER, PlanChoice, choose_plan, load_plan, plan_file
from nnuda.planning.setting_checks import tried_settings
from nnuda.settings import parse_set_arguments, validate_overrides
from nnuda.trainer_files import BASE_TRAINER

if TYPE_CHECKING:
    from nnuda.planning.plan import PlanRequest


def add_plan(parser: argparse.ArgumentParser) -> None:
    """Which plan, which planner, for which trainer, with which settings."""
    parser.add_argument(
        "-p",
        metavar="PLANS",
        help="an existing plan of the source, extended and never re-planned (default: nnUNetPlans)",
    )
    parser.add_argument(
        "-overwrite_plans_name",
        metavar="NAME",
        help="name of the plan to write, where it is not to be the existing one",
    )
    parser.add_argument(
        "-pl",
        metavar="PLANNER",
        help=f"planner of a fresh plan: {', '.join(DEFAULT_NAMES)} (default: {DEFAULT_PLANNER})",
    )
    parser.add_argument(
        "-gpu_memory_target",
        type=gigabytes,
        metavar="GB",
        help="for the whole two-domain step of a fresh plan (default: the planner's own)",
    )
    parser.add_argument(
        "-tr",
        default=BASE_TRAINER,
        metavar="TRAINER",
        help=f"trainer whose step the memory is planned for (default: {BASE_TRAINER})",
    )
    add_settings(parser, default=None)


def add_fingerprint(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--verify_dataset_integrity",
        action="store_true",
        help="check the source with nnU-Net's own check, and read every image of the target",
    )
    parser.add_argument(
        "--clean",
        action="store_true",
        help="make what was derived from the target again (and the source's fingerprint, where a fresh plan is made)",
    )


def read_request(
    args: argparse.Namespace, source: Domain, target: Domain, configurations: list[str] | None = None
) -> PlanRequest:
    """What the options ask for, after every check that needs no long work; prints the warnings."""
    settings = None if args.settings is None else tried_settings(parse_set_arguments(args.settings))
    choice = choose_plan(source.name, target.name, args.p, args.pl, args.gpu_memory_target, args.overwrite_plans_name)
    check_places(source, target, f"{choice.name}.json")
    find_trainer(args.tr)
    from nnuda.plan_network import check_networks
    from nnuda.planning.make_key import pretrained_weights
    from nnuda.planning.plan import PlanRequest
    from nnuda.planning.plan_embeddings import check_trainer
    from nnuda.preprocessing.configurations import check_configurations, choose_configurations

    base = load_plan(source.name, choice.base) if choice.base else None
    check_configurations(base, configurations)
    if base:
        check_networks(base, choose_configurations(source.name, base, configurations))
    old_key = (base or {}).get(KEY, {})
    chosen = old_key.get("settings", {}) if settings is None else settings
    validate_overrides(chosen)
    pretrained_weights(chosen)
    check_pair(source, target, base)
    embeddings = read_texts(args, source.dataset_json, source.channel_names, target.channel_names)
    check_trainer(args.tr, chosen, embeddings is not None, old_key, source)
    return PlanRequest(source, target, choice, args.tr, settings, embeddings)


def check_places(source: Domain, target: Domain, *names: str) -> None:
    """Stop before any image is read where fingerprints, or files of these names, could not be written.

    Raises:
        FileError: a place is a file, cannot be written to, or is full.
    """
    check_output_folder(join(nnUNet_preprocessed, source.name), "nnUNet_preprocessed", *names)
    of_target = relative_target_folder(source.name, target.name).split("/")
    check_output_folder(join(nnUNet_preprocessed, *of_target), "nnUNet_preprocessed")


def check_pair(source: Domain, target: Domain, plans: dict | None) -> None:
    """Check the two domains against each other; print the warnings."""
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnuda.planning.checks import check_domains
    from nnuda.planning.warnings import pair_warnings

    reader_class = PlansManager(plans).image_reader_writer_class if plans else source.reader_class()
    check_domains(source, target, reader_class)
    for text in pair_warnings(source, target, reader_class, plans):
        print(f"\n{'!' * 80}\nWARNING: {text}\n{'!' * 80}\n", flush=True)


def extract_fingerprints(args: argparse.Namespace, source: Domain, target: Domain, fresh: bool) -> tuple[dict, dict]:
    """Both fingerprints, made where they are missing.

    Args:
        args: with np, clean, verify_dataset_integrity.
        source: the labelled dataset.
        target: the unlabelled images.
        fresh: whether --clean reaches the source's fingerprint: an existing plan keeps what it was made from.
    """
    from nnuda.planning.fingerprint import extract_source_fingerprint, extract_target_fingerprint

    if args.verify_dataset_integrity:
        _verify(source, args.np)
    return (
        extract_source_fingerprint(source, args.np, args.clean and fresh),
        extract_target_fingerprint(source.name, target, args.np, args.clean or args.verify_dataset_integrity),
    )


def _verify(source: Domain, num_processes: int) -> None:
    from nnunetv2.experiment_planning.verify_dataset_integrity import verify_dataset_integrity

    try:
        verify_dataset_integrity(source.folder, num_processes)
    except (AssertionError, RuntimeError, FileNotFoundError) as error:
        raise PlanningError(
            f"Source {source.name} did not pass nnU-Net's integrity check; mend the dataset and run again. {error}"
        ) from error


def make_plan(args: argparse.Namespace, request: PlanRequest) -> dict:
    """Fingerprints and plan; says what the plan is and what it expects of the GPU."""
    from nnuda.planning.plan import write_plan

    choice = request.choice
    file = plan_file(request.source.name, choice.name)
    with locked(f"{file}.lock", f"the plan {file}"):
        fingerprints = extract_fingerprints(args, request.source, request.target, fresh=choice.base is None)
        plans = write_plan(request, *fingerprints)
    _print_plan(plans, choice)
    return plans


def _print_plan(plans: dict, choice: PlanChoice) -> None:
    from nnuda.planning.rules import in_words

    key = plans[KEY]
    origin = {None: f"made by {choice.planner}", choice.name: "existing plan, extended"}.get(
        choice.base, f"copy of {choice.base}"
    )
    print(f"Plan: {join(nnUNet_preprocessed, key['source'], choice.name)}.json ({origin})")
    normalization = key["target"]["normalization"]
    print(
        f"Target normalisation: {', '.join(normalization['normalization_schemes'])}; statistics from "
        f"{normalization['statistics_from']}"
    )
    memory = key["memory"]
    aim = f" (planned for {memory['target_gb']:g} GB)" if memory["target_gb"] else ""
    expected = ", ".join(f"{name} {gb:g} GB" for name, gb in memory["expected_gb_per_configuration"].items())
    print(f"Expected GPU memory of a step of {memory['step']}{aim}: {expected}")
    for rule in key["rules"]:
        print(f"Rule {in_words(rule, key['settings'])}")
    if key["settings"]:
        print(f"Settings: {', '.join(f'{name}={value}' for name, value in key['settings'].items())}", flush=True)
