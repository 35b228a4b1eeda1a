"""nnUDA_features: class features of both domains in one picture (t-SNE), one panel a trained network."""

from __future__ import annotations

import argparse
import os

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.paths import nnUNet_raw

from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import ending, fold, seed, whole
from nnuda.cli.run_command import add_force, run_command, usable_device
from nnuda.datasets import find_images
from nnuda.errors import EvaluationError, PlanningError
from nnuda.files import PICTURE_MARK, check_output
from nnuda.plan_key import KEY, read_key, read_plans
from nnuda.results import PLANS, find_checkpoint, find_fold, read_dataset_json

_RESULTS = "Name results folders <trainer>__<plans>__<configuration>."


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_features."""
    parser = new_parser(
        "nnUDA_features", __doc__, ["BEFORE_FOLDER AFTER_FOLDER -o features.png \\\n--names before after"]
    )
    parser.add_argument(
        "results",
        nargs="+",
        metavar="RESULTS",
        help="results folders <trainer>__<plans>__<configuration>, such as before and after",
    )
    parser.add_argument("-o", required=True, type=ending(".png"), metavar="FILE", help="the picture, PNG")
    parser.add_argument("--names", nargs="+", metavar="NAME", help="titles of the panels (default: the folders' names)")
    parser.add_argument("-f", default="0", type=fold, metavar="FOLD", help="fold, a number or all (default: 0)")
    parser.add_argument(
        "-chk", default="checkpoint_final.pth", metavar="FILE", help="checkpoint (default: checkpoint_final.pth)"
    )
    parser.add_argument("--source-images", metavar="FOLDER", help="default: imagesTr of the plan's source")
    parser.add_argument("--source-labels", metavar="FOLDER", help="default: labelsTr beside them")
    parser.add_argument("--target-images", metavar="FOLDER", help="default: imagesTr of the plan's target")
    parser.add_argument(
        "--target-labels",
        metavar="FOLDER",
        help="reference labels of the target, for this picture alone (default: the network's predictions)",
    )
    parser.add_argument(
        "--cases", type=whole(1), default=5, metavar="N", help="of each domain, evenly from all (default: 5)"
    )
    parser.add_argument(
        "--voxels", type=whole(1), default=200, metavar="N", help="largest number a class and domain (default: 200)"
    )
    parser.add_argument(
        "--layer",
        default="last",
        choices=["last", "deepest"],
        help="features in front of the last segmentation layer, or the encoder's deepest (default: last)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="of voxels and picture (default: 0)")
    parser.add_argument("-device", default="cuda", choices=["cuda", "cpu", "mps"], help="to compute on (default: cuda)")
    add_force(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_features."""
    run_command(build_parser(), _draw, arguments)


def _draw(args: argparse.Namespace) -> None:
    folders = [os.path.abspath(folder) for folder in args.results]
    names = args.names or [os.path.basename(folder) for folder in folders]
    if len(set(names)) != len(folders) or len(names) != len(folders):
        raise EvaluationError(
            f"Expected a title of its own for each of {len(folders)} results folders; got "
            f"{', '.join(names)}. Give them with --names."
        )
    check_output(args.o, "-o", PICTURE_MARK, args.force)
    for folder in folders:
        find_checkpoint(find_fold(folder, args.f), args.chk)
    import torch

    from nnuda.evaluation.class_features import collect_features
    from nnuda.evaluation.feature_embedding import draw, embed, neighbours

    usable_device(args.device)
    cases, panels = {domain: _cases(args, folders, domain) for domain in ("source", "target")}, {}
    for name, folder in zip(names, folders):
        collected = collect_features(
            folder,
            cases["source"],
            cases["target"],
            args.f,
            args.chk,
            args.layer,
            args.voxels,
            torch.device(args.device),
            args.seed,
        )
        panels[name] = collected, embed(collected, args.seed)
        other, same = neighbours(collected)
        print(
            f"{name}: {len(collected.values)} voxels; of their nearest neighbours {other:.3f} are of the other "
            f"domain, {same:.3f} of the same class",
            flush=True,
        )
    draw(panels, args.o)
    labels = "reference labels" if args.target_labels else "the network's predictions"
    print(f"Classes of target voxels: {labels}\nPicture: {args.o}")


def _cases(args: argparse.Namespace, folders: list[str], domain: str) -> dict[str, tuple[list[str], str | None]]:
    """Some cases of a domain, with their label files where they are asked for."""
    given = getattr(args, f"{domain}_images")
    images = given or join(_raw_folder(folders, domain), "imagesTr")
    labels = getattr(args, f"{domain}_labels")
    if domain == "source" and labels is None:
        labels = join(os.path.dirname(images.rstrip("/")), "labelsTr")
    file_ending = read_dataset_json(join(folders[0], "dataset.json"), _RESULTS)["file_ending"]
    found = find_images(images, file_ending)
    number = min(len(found), args.cases)
    chosen = [sorted(found)[i * len(found) // number] for i in range(number)]
    cases = {case: (found[case], join(labels, case + file_ending) if labels else None) for case in chosen}
    missing = [label for _, label in cases.values() if label and not isfile(label)]
    if missing:
        raise PlanningError(
            f"Expected a label file {missing[0]}, which is not there. Name the folder with --{domain}-labels."
        )
    return cases


def _raw_folder(folders: list[str], domain: str) -> str:
    """The raw dataset of a domain that one of the plans names."""
    for folder in folders:
        plans = read_plans(join(folder, PLANS), _RESULTS)
        if KEY in plans and nnUNet_raw.is_set():
            name = plans["dataset_name"] if domain == "source" else read_key(plans)["target"]["name"]
            if isdir(join(nnUNet_raw, name)):
                return join(nnUNet_raw, name)
    raise PlanningError(
        f"Where are the {domain}'s images? None of the results folders is of a trainer of nnuda, or "
        f"nnUNet_raw is not set, or lacks them. Name them with --{domain}-images."
    )


if __name__ == "__main__":
    main()
