"""nnUDA_export: a trained model as a plain nnU-Net's results folder, which runs without nnuda."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import fold
from nnuda.cli.run_command import run_command, usable_device

if TYPE_CHECKING:
    from nnuda.export.export_model import Exported
    from nnuda.export.trained_model import TrainedModel


def build_parser() -> argparse.ArgumentParser:
    """Options as nnUNetv2_predict and nnUNetv2_export_model_to_zip have them."""
    parser = new_parser(
        "nnUDA_export",
        __doc__,
        [
            "-d 501 -c 2d -tr nnUDATrainerSourceOnly -f 0",
            "-d 501 -c 3d_fullres -tr nnUDATrainerTransMedSeg -f 0 1 2 3 4 \\\n-chk checkpoint_selected.pth",
        ],
    )
    parser.add_argument("-d", required=True, metavar="SOURCE", help="labelled source: number or name of the dataset")
    parser.add_argument("-c", required=True, metavar="CONFIGURATION", help="configuration")
    parser.add_argument("-tr", required=True, metavar="TRAINER", help="trainer of nnuda's that trained the model")
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="its plan (default: nnUNetPlans)")
    parser.add_argument(
        "-f",
        nargs="+",
        type=fold,
        default=["0", "1", "2", "3", "4"],
        metavar="FOLD",
        help="folds to export (default: 0 1 2 3 4)",
    )
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", metavar="FILE", help="checkpoint (default: checkpoint_final.pth)"
    )
    parser.add_argument(
        "-i",
        metavar="IMAGES",
        help="image, or folder of images, on which the labels must be identical before and after "
        "(default: the first target image in nnUNet_raw, else the first of the source)",
    )
    parser.add_argument("-o", metavar="RESULTS", help="write below this root instead of nnUNet_results")
    parser.add_argument("-device", default="cuda", choices=["cuda", "cpu", "mps"], help="to predict on (default: cuda)")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_export."""
    run_command(build_parser(), _export, arguments)


def _export(args: argparse.Namespace) -> None:
    from nnuda.export.trained_model import find_model

    model = find_model(args.d, args.tr, args.p, args.c, args.f, args.chk)
    import torch

    from nnuda.export.export_model import export_model

    usable_device(args.device)
    print(f"Model: {model.folder} (folds {', '.join(model.folds)}, {model.checkpoint})")
    print(f"Target: {model.target}", flush=True)
    _report(model, export_model(model, args.i, torch.device(args.device), args.o))


def _report(model: TrainedModel, exported: Exported) -> None:
    for case in exported.checks:
        print(f"Identical labels: {case.files[0]} ({case.voxels} voxels, {case.foreground} of them foreground)")
    if not any(case.foreground for case in exported.checks):
        print("NOTE: all of it is background, which proves little. Export again with -i and an image that shows more.")
    if exported.missing:
        print(
            f"NOTE: training left no {', '.join(exported.missing)}. nnUNetv2_predict does not need it, but "
            "nnUNetv2_export_model_to_zip does. nnUNetv2_train with --val makes a missing validation."
        )
    print(
        f"Exported: {exported.folder}\nWithout nnuda: nnUNetv2_predict -i IMAGES -o LABELS -d {model.dataset} "
        f"-p {model.plain_plans_name} -c {model.configuration} -f {' '.join(model.folds)} -chk {model.checkpoint}"
    )


if __name__ == "__main__":
    main()
