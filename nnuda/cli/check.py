"""nnUDA_check: what is installed, what nnU-Net finds, what is wrong and how to mend it."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import platform
import re
import shutil
import sys
import textwrap
from importlib import metadata

from nnuda import __version__
from nnuda.cli.check_plan import check_plan
from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import check_needed, run_command
from nnuda.errors import NnudaError
from nnuda.files import FileError, check_output_folder
from nnuda.find_trainer import find_trainer
from nnuda.registration import SWITCH, VARIABLE, trainers_folder
from nnuda.settings import load_preset
from nnuda.trainer_files import outside_folders, outside_trainers, own_trainers

FOLDERS = ("nnUNet_raw", "nnUNet_preprocessed", "nnUNet_results")
TESTED_NNUNET = (2, 8)


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_check", __doc__, ["", "--plan -d 501", "--plan -d 501 -c 2d -tr nnUDATrainerUUDS --measure -device cpu"]
    )
    parser.add_argument(
        "--plan", action="store_true", help="instead: what a training of a plan takes: patch, batch, memory, time"
    )
    group = parser.add_argument_group("with --plan")
    group.add_argument("-d", metavar="SOURCE", help="labelled source: number or name of the dataset")
    group.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="the plan (default: nnUNetPlans)")
    group.add_argument(
        "-c", nargs="+", metavar="CONFIGURATION", help="configurations (default: those that are preprocessed)"
    )
    group.add_argument("-tr", metavar="TRAINER", help="trainer (default: the one that the plan was made for)")
    group.add_argument(
        "--measure", action="store_true", help="take a few steps of this trainer and of nnU-Net's, and time them"
    )
    group.add_argument("-device", default="cuda", choices=["cuda", "cpu", "mps"], help="to measure on (default: cuda)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_check."""
    run_command(build_parser(), _check, arguments)


def _check(args: argparse.Namespace) -> None:
    """Print the report; exit with 1 where something is wrong."""
    if args.plan:
        check_plan(args)
        return
    check_needed("--plan", args.plan, {"-d": args.d, "-c": args.c, "-tr": args.tr, "--measure": args.measure})
    print(f"nnuda {__version__}, Python {platform.python_version()} ({sys.executable})")
    problems = [*_versions(), *_paths(), *_trainers(), *_device()]
    for problem, remedy in problems:
        print(f"\nWRONG: {problem}\n  -> {remedy}")
    print(f"\n{len(problems)} problem(s) found." if problems else "\nEverything is in place.")
    if not problems:
        print_next("how two datasets differ, before any training", "nnUDA_look -d SOURCE -t TARGET")
    sys.exit(1 if problems else 0)


def needed_packages() -> list[str]:
    """Names of what nnuda was installed with, without its extras."""
    needed = metadata.requires("nnuda") or []
    return [re.match(r"[\w.-]+", line)[0] for line in needed if "extra ==" not in line]


def _versions() -> list[tuple[str, str]]:
    print("\nPackages")
    problems = []
    for name in needed_packages():
        try:
            print(f"  {name:32}{metadata.version(name)}")
        except metadata.PackageNotFoundError:
            print(f"  {name:32}missing")
            problems.append(
                (f"{name} is not installed.", "Run pip install . in nnuda's folder again, in this environment.")
            )
    with contextlib.suppress(metadata.PackageNotFoundError):
        version = metadata.version("nnunetv2")
        if tuple(int(part) for part in version.split(".")[:2]) != TESTED_NNUNET:
            problems.append(
                (
                    f"nnuda was built for nnunetv2 2.8; this is {version}.",
                    'Run pip install "nnunetv2>=2.8.1,<2.9". Models of that version keep working; another '
                    "version may have moved the hooks that nnuda uses.",
                )
            )
    return problems


def _one_folder_in_another() -> list[tuple[str, str]]:
    folders = {name: os.path.realpath(os.environ[name]) for name in FOLDERS if os.environ.get(name)}
    problems = []
    for a, b in itertools.combinations(folders, 2):
        if folders[a] == folders[b] or os.path.commonpath([folders[a], folders[b]]) in (folders[a], folders[b]):
            same = "are the same folder" if folders[a] == folders[b] else "lie one in the other"
            problems.append(
                (
                    f"{a} and {b} {same}: {folders[a]}, {folders[b]}.",
                    "Give each a folder of its own: nnU-Net tells raw datasets, preprocessed data and models by them.",
                )
            )
    return problems


def _paths() -> list[tuple[str, str]]:
    print("\nnnU-Net's folders")
    problems = _one_folder_in_another()
    for variable in FOLDERS:
        folder = os.environ.get(variable)
        free = f" ({shutil.disk_usage(folder).free / 1e9:.0f} GB free)" if folder and os.path.isdir(folder) else ""
        print(f"  {variable:32}{folder or 'not set'}{free}")
        if not folder:
            problems.append((f"{variable} is not set.", f"export {variable}=/a/folder, in the job script too."))
        elif not os.path.isdir(folder):
            problems.append(
                (f"{variable} names {folder}, which is no folder.", f"mkdir -p {folder}, or correct the variable.")
            )
        elif not os.path.isabs(folder):
            problems.append(
                (f"{variable} is a relative path, {folder}.", f"export {variable}={os.path.abspath(folder)}")
            )
        elif variable != "nnUNet_raw":
            try:
                check_output_folder(folder, variable)
            except FileError as error:
                problems.append((f"{folder} cannot be written to. {error}", "Choose a folder of your own."))
    return problems


def _trainers() -> list[tuple[str, str]]:
    folder = trainers_folder()
    registered = folder in os.environ.get(VARIABLE, "").split(os.pathsep)
    print(f"\nTrainers in {folder} ({VARIABLE} {'has it' if registered else 'lacks it'})")
    if not registered:
        reason = (
            f"{SWITCH}=0 is set: unset it"
            if os.environ.get(SWITCH) == "0"
            else "the .pth file of the installation is missing: run pip install . again"
        )
        return [(f"nnU-Net does not look for trainers in {folder}.", f"{reason}; or export {VARIABLE}={folder}")]
    problems = [problem for name in own_trainers() for problem in _find(name)]
    if outside_trainers():
        print(f"\nTrainers in {', '.join(outside_folders())}")
    return [*problems, *(problem for name in outside_trainers() for problem in _find(name))]


def _find(name: str) -> list[tuple[str, str]]:
    try:
        trainer = find_trainer(name)
        load_preset(trainer.preset)
    except NnudaError as error:
        print(f"  {name:32}not usable")
        return [(f"{name} cannot be used.", str(error))]
    title = (trainer.__doc__ or "").strip().partition("\n")[0]
    print(textwrap.fill(title, 80, initial_indent=f"  {name:32}", subsequent_indent=" " * 34))
    return []


def _device() -> list[tuple[str, str]]:
    import torch

    try:
        gpu = (
            torch.cuda.get_device_name()
            if torch.cuda.is_available()
            else "none; pass -device cpu (or mps) to nnU-Net's commands"
        )
    except RuntimeError as error:
        print("\nGPU: not usable")
        return [
            (
                f"There is a GPU, but torch cannot use it: {error}",
                "Free it, or install the PyTorch build that its "
                "driver supports; or pass -device cpu to nnU-Net's commands.",
            )
        ]
    print(f"\nGPU: {gpu}")
    return []


if __name__ == "__main__":
    main()
