"""nnUDA_adapt: from two datasets to an adapted model, its predictions of the target, and an estimate of their quality."""

from __future__ import annotations

import argparse
import io
import os
import shlex
from contextlib import redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING

from batchgenerators.utilities.file_and_folder_operations import isdir, join

from nnuda.cli import plan_and_preprocess, pseudo_label
from nnuda.cli.domain_arguments import add_settings, add_source, add_target, read_domains, target_words
from nnuda.cli.estimate import print_estimate
from nnuda.cli.next_command import RECOMMENDED as TRAINER
from nnuda.cli.parser import new_parser
from nnuda.cli.plan_arguments import read_request
from nnuda.cli.ranges import decimal, fold, gigabytes, number_of_processes, whole
from nnuda.cli.rounds import add_rounds, check_rounds, print_rounds, read_rounds
from nnuda.cli.run_command import PLANNING_FOLDERS, add_device, check_folders, run_command, usable_device
from nnuda.cli.text_arguments import add_texts
from nnuda.datasets import DatasetError, Domain, find_images
from nnuda.errors import AdaptError
from nnuda.files import check_output_folder, check_own_folder
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import read_plans
from nnuda.planning.choice import default_name
from nnuda.results import ADAPTED, AS_LEFT, PLANS, find_checkpoint, find_fold, folds_in, read_estimate, split_fold
from nnuda.settings import INIT_FROM, parse_set_arguments

if TYPE_CHECKING:
    from nnuda.stages.road import Road

WRITTEN = ("nnUNet_preprocessed", "nnUNet_results")
EPOCHS = "training.num_epochs"
PASSED_ON = ("gpu_memory_target", "pl")  # options of planning, with one dash as nnU-Net has them
TEXTS = ("text_model", "text_weights", "class_texts", "class_embeddings")


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_adapt",
        "Plans, preprocesses, trains, chooses an epoch without target labels, predicts the target's images, "
        "estimates the quality and writes a report, by the commands that it prints. What is there is used; run "
        "it again after an interruption.",
        [
            "-d 501 -t 502 -c 2d",
            "-d 501 -t 502 -c 3d_fullres --budget 24",
            "-d 501 -t ./new_scanner --target-name new_scanner \\\n--target-channel-names T1 -c 2d --from MODEL_FOLDER",
            "-d 601 -t 502 -c 2d --source-free --from MODEL_FOLDER",
            "-d 501 -t 502 -c 2d --rounds 2",
        ],
    )
    add_source(parser)
    add_target(parser)
    parser.add_argument("-c", required=True, metavar="CONFIGURATION", help="configuration: 2d, 3d_fullres, 3d_lowres")
    parser.add_argument(
        "-f",
        type=fold,
        metavar="FOLD",
        help="fold of the source to train: 0 to 4, or all (default: 0; all with --source-free)",
    )
    parser.add_argument("-tr", default=TRAINER, metavar="TRAINER", help=f"trainer (default: {TRAINER})")
    parser.add_argument(
        "-p",
        metavar="PLANS",
        help="an existing plan, extended and never re-planned (default: that of --from, else of -pl)",
    )
    parser.add_argument("-overwrite_plans_name", metavar="NAME", help="name of the plan to write and train")
    parser.add_argument("-pl", metavar="PLANNER", help="planner of a fresh plan (default: nnUDAPlanner)")
    parser.add_argument("-gpu_memory_target", type=gigabytes, metavar="GB", help="for a fresh plan")
    parser.add_argument(
        "-i", metavar="IMAGES", help="target images to predict (default: imagesTs of the target, else its imagesTr)"
    )
    parser.add_argument(
        "-o", metavar="FOLDER", help="predictions, estimate, report and logs (default: adapted, in the fold's folder)"
    )
    parser.add_argument(
        "-chk",
        metavar="FILE",
        help="checkpoint to predict with (default: the epoch selected without labels, else the last)",
    )
    parser.add_argument(
        "--from",
        dest="model",
        metavar="MODEL",
        help="start from a trained nnU-Net: results folder, its fold, or a checkpoint",
    )
    parser.add_argument(
        "--source-free",
        action="store_true",
        help="there are no source images: with --from, and with -d a free number or name for the dataset of the "
        "model's predictions that takes their place",
    )
    parser.add_argument("--epochs", type=whole(1), metavar="N", help="epochs to train (default: 1000, as nnU-Net)")
    parser.add_argument(
        "--budget",
        type=decimal(1e-3, 1e5),
        metavar="HOURS",
        help="train as many epochs as fit, by a pilot of one epoch (training, validation and prediction)",
    )
    add_device(parser)
    parser.add_argument(
        "-np", type=number_of_processes, metavar="N", help="worker processes (default: each command's own)"
    )
    add_settings(parser)
    add_texts(parser)
    add_rounds(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_adapt."""
    run_command(build_parser(), _adapt, arguments, (*PLANNING_FOLDERS, "nnUNet_results"))


def _adapt(args: argparse.Namespace) -> None:
    road = make_road(args)
    check_road(road)
    from nnuda.stages.rounds import rounds_of
    from nnuda.stages.walk import print_commands, walk

    print_commands(road, "\nThe road, which you can leave at any point and go on by hand:")
    print(flush=True)
    road = walk(road, args.budget)
    print_commands(road, "\nIt was done by:")
    print()
    print_estimate(read_estimate(road.estimate))
    print(f"\nPredictions: {road.predictions}\nEstimate:    {road.estimate}\nReport:      {road.report}")
    print(f"Postprocessed, in one piece where the source's classes are: {road.postprocessed}")
    if road.rounds:
        print_rounds(road, rounds_of(road))


def make_road(args: argparse.Namespace) -> Road:
    """What the options ask for, with a source where a model's predictions take its place.

    Raises:
        NnudaError: as `read_road` and `label_with_model`.
    """
    args.f = args.f or ("all" if args.source_free else "0")
    check_folders({"-i": args.i})
    _check_epochs(args, parse_set_arguments(args.settings))
    check_rounds(args)
    if args.o is not None:
        check_own_folder(args.o, "-o", ADAPTED)
    for name in WRITTEN:
        check_output_folder(os.environ[name], name)
    first = label_with_model(args) if args.source_free else ()
    return replace(read_road(args, *read_domains(args)), first=first)


def _check_epochs(args: argparse.Namespace, settings: dict) -> None:
    given = {
        "--budget": args.budget is not None,
        "--epochs": args.epochs is not None,
        f"--set {EPOCHS}": EPOCHS in settings,
    }
    asked = [option for option in given if given[option]]
    if len(asked) > 1:
        raise AdaptError(
            f"{asked[0]}: expected one option that decides the number of epochs; got {' and '.join(asked)}. Leave all but "
            "one out."
        )


def check_road(road: Road) -> None:
    """What planning, or a later stage, would stop with; so that it is known before anything is written.

    Raises:
        NnudaError: as `read_request` and `check_later_stages`.
    """
    from nnuda.stages.check import check_later_stages
    from nnuda.stages.left import planning_left

    check_later_stages(road)
    args = plan_and_preprocess.build_parser().parse_args(road.plan_command()[1:])
    with redirect_stdout(io.StringIO()):  # warnings: planning says them
        if planning_left(road):
            read_request(args, road.source, road.target, args.c)


def read_road(args: argparse.Namespace, source: Domain, target: Domain) -> Road:
    """What the options ask for, checked before any work.

    Raises:
        AdaptError, DatasetError, PlanningError, ResultsError, SettingsError: with what to do.
    """
    settings, of_planner = parse_set_arguments(args.settings), default_name(args.pl)
    find_trainer(args.tr)
    from nnuda.stages.road import Road

    if args.epochs is not None:
        settings |= parse_set_arguments([f"{EPOCHS}={args.epochs}"])
    if args.model is not None:
        checkpoint, of_model = model_to_start_from(args.model, args.f, args.source_free)
        settings[INIT_FROM] = checkpoint
        args.p = args.p or of_model
    images = find_target_images(args, target)
    planning = [
        word for name in PASSED_ON if (value := getattr(args, name)) is not None for word in (f"-{name}", str(value))
    ]
    for name in TEXTS:
        value = getattr(args, name)
        planning += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    return Road(
        source=source,
        target=target,
        source_words=["-d", args.d],
        target_words=target_words(args),
        configuration=args.c,
        fold=args.f,
        trainer=args.tr,
        plans=args.overwrite_plans_name or args.p or of_planner,
        base=args.p,
        settings=settings or None,
        planning=planning,
        images=images,
        cases=_sizes(images, source.file_ending),
        output=None if args.o is None else os.path.abspath(args.o),
        checkpoint=args.chk,
        device=usable_device(args.device),
        processes=args.np,
        rounds=read_rounds(args, source, target),
    )


def _sizes(folder: str, ending: str) -> dict[str, int]:
    return {
        case: sum(os.path.getsize(file) for file in files)
        for case, files in sorted(find_images(folder, ending).items())
    }


def find_target_images(args: argparse.Namespace, target: Domain) -> str:
    """The folder that is to be predicted.

    Raises:
        AdaptError: the target's images lie in no folder of their own.
    """
    if args.i is not None:
        return os.path.abspath(args.i)
    for folder in (join(target.folder, "imagesTs"), join(target.folder, "imagesTr"), target.folder):
        if isdir(folder):
            try:
                find_images(folder, target.file_ending)
            except DatasetError:
                continue
            return folder
    raise AdaptError(
        f"Expected images in imagesTs or imagesTr of {target.folder}, or a folder of them with -i; its dataset.json lists "
        "images that lie elsewhere, and nnUNetv2_predict takes a folder."
    )


def label_with_model(args: argparse.Namespace) -> list[str]:
    """Where the source's images are not at hand: the target's images with a trained model's predictions take their
    place, as the dataset that -d names. Returns the command, which has run.

    Raises:
        AdaptError: no model is named.
    """
    if args.model is None:
        raise AdaptError("--source-free: expected a trained model with --from; it is all that is left of the source.")
    checkpoint = find_checkpoint(model_to_start_from(args.model, args.f, True)[0], option="--from")
    folder, fold = split_fold(os.path.dirname(checkpoint))
    words = ["nnUDA_pseudo_label", "--source-free", *target_words(args), "-m", folder, "-f", fold]
    words += ["-chk", os.path.basename(checkpoint), "-o", args.d, "-device", usable_device(args.device)]
    words += ["-np", str(args.np)] if args.np else []
    print(f"The source's part is taken by predictions of the model:\n  $ {shlex.join(words)}", flush=True)
    pseudo_label.main(words[1:])
    return words


def model_to_start_from(path: str, fold: str, only_fold: bool = False) -> tuple[str, str | None]:
    """Checkpoint of a trained nnU-Net, and the name of its plan.

    Args:
        path: results folder, fold's folder, or checkpoint.
        fold: of a results folder; it has seen the same cases as the training to come.
        only_fold: take the one fold that the folder has, whatever its name.
    """
    path = os.path.abspath(path)
    if folds := folds_in(path):
        fold = folds[0] if only_fold and len(folds) == 1 else fold
        path = find_fold(path, fold, f"--from with -f {fold}")
    checkpoint = find_checkpoint(path, option="--from")
    plans = join(split_fold(os.path.dirname(checkpoint))[0], PLANS)
    return path, read_plans(plans, AS_LEFT)["plans_name"] if os.path.isfile(plans) else None


if __name__ == "__main__":
    main()
