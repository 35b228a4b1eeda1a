"""nnUDA_find_best_configuration: the best of several trained models for the target, without its labels."""

from __future__ import annotations

import argparse
import os

from nnuda.cli.domain_arguments import add_source, add_target, read_domains
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import decimal, fold, number_of_processes
from nnuda.cli.run_command import PLANNING_FOLDERS, add_device, check_folders, run_command, usable_device
from nnuda.datasets import find_images

EXAMPLES = [
    "-d 501 -t 502",
    "-d 501 -t 502 -c 2d 3d_fullres -f 0 1 2 3 4",
    "-d 501 -t 502 -tr nnUDATrainerAdapt \\\n--disable_ensembling",
    "-d 501 -t 502 --labels labels_of_some_cases",
]


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_find_best_configuration",
        "Ranks trained models, and ensembles of two, by the Dice that they may be expected to have on the target, names "
        "the best and writes its inference commands, as nnUNetv2_find_best_configuration does, but without labels of the "
        "target. What is predicted already is used again.",
        EXAMPLES,
    )
    add_source(parser)
    add_target(parser)
    parser.add_argument("-p", nargs="+", metavar="PLANS", help="plans (default: all that models were trained with)")
    parser.add_argument("-c", nargs="+", metavar="CONFIGURATION", help="configurations (default: all, likewise)")
    parser.add_argument("-tr", nargs="+", metavar="TRAINER", help="trainers, nnU-Net's too (default: all, likewise)")
    parser.add_argument(
        "-f", nargs="+", type=fold, metavar="FOLD", help="folds of each model, numbers or all (default: those it has)"
    )
    parser.add_argument(
        "--chk",
        "-chk",
        nargs="+",
        metavar="FILE",
        help="checkpoints (default: checkpoint_final.pth and, where it is of another epoch, checkpoint_selected.pth)",
    )
    parser.add_argument("--disable_ensembling", action="store_true", help="no ensembles of two models")
    parser.add_argument(
        "-i", metavar="IMAGES", help="target images (default: imagesTs of the target, else its imagesTr)"
    )
    parser.add_argument(
        "--labels",
        metavar="FOLDER",
        help="labels of the target: adds true Dice, the regret of the choice and the rank correlation. They choose nothing",
    )
    parser.add_argument(
        "-o",
        metavar="FOLDER",
        help="predictions, estimates and instructions (default: best_configuration_for_TARGET beside the models)",
    )
    parser.add_argument("--disable_tta", action="store_true", help="predict without mirroring")
    parser.add_argument(
        "-step_size", type=decimal(0.05, 1), default=0.5, metavar="STEP", help="of nnU-Net's tiles (default: 0.5)"
    )
    add_device(parser)
    parser.add_argument(
        "-np",
        type=number_of_processes,
        default=1,
        metavar="N",
        help="candidates that are estimated at a time, each in memory of its own (default: 1)",
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_find_best_configuration."""
    run_command(build_parser(), _find, arguments, (*PLANNING_FOLDERS, "nnUNet_results"))


def _find(args: argparse.Namespace) -> None:
    check_folders({"-i": args.i, "--labels": args.labels})
    source, target = read_domains(args)
    from nnunetv2.paths import nnUNet_results

    from nnuda.choosing.candidates import find_groups
    from nnuda.choosing.choose import Request, choose
    from nnuda.choosing.predictions import How
    from nnuda.cli.adapt import find_target_images
    from nnuda.planning.checks import check_domains, check_to_predict

    check_domains(source, target, source.reader_class())
    images = find_target_images(args, target)
    check_to_predict(find_images(images, source.file_ending), images, source)
    groups, left_out = find_groups(source, target, {"-tr": args.tr, "-p": args.p, "-c": args.c}, args.f, args.chk)
    default = os.path.join(str(nnUNet_results), source.name, f"best_configuration_for_{target.name}")
    choose(
        Request(
            source=source,
            target=target,
            groups=groups,
            left_out=left_out,
            images=images,
            output=os.path.abspath(args.o or default),
            how=How(usable_device(args.device), not args.disable_tta, args.step_size),
            ensembling=not args.disable_ensembling,
            labels=args.labels,
            processes=args.np,
        )
    )


if __name__ == "__main__":
    main()
