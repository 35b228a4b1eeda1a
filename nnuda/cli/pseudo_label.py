"""nnUDA_pseudo_label: predictions on the target become the labels of a plain nnU-Net dataset."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING

from rich import box
from rich.table import Table

from nnuda.cli.domain_arguments import add_processes, add_source, add_target, read_domains, target_words
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import by_class, decimal, fold
from nnuda.cli.run_command import PLANNING_FOLDERS, run_command, usable_device
from nnuda.errors import PlanningError
from nnuda.files import check_output_folder

if TYPE_CHECKING:
    from nnuda.selftraining.round import Options

_share = decimal(0, 1)


def build_parser() -> argparse.ArgumentParser:
    """Options of nnUDA_pseudo_label."""
    parser = new_parser(
        "nnUDA_pseudo_label",
        "A self-training round: predicts the target's images, keeps what is certain as labels, and writes a "
        "dataset of source and target cases, with nnU-Net's ignore label where nothing is kept.",
        ["-d 501 -t 502 -m MODEL_FOLDER -o 601", "-d 501 -t 502 -m MODEL_FOLDER -o 601 \\\n--confidence 0.9 liver=0.7"],
    )
    add_source(parser, required=False)
    add_target(parser)
    parser.add_argument(
        "--source-free",
        action="store_true",
        help="in place of -d, where there are no source images: a dataset of target cases alone, and the model's plan for it",
    )
    parser.add_argument(
        "-m",
        nargs="+",
        required=True,
        metavar="MODEL_FOLDER",
        help="results folders <trainer>__<plans>__<configuration>, of nnuda's or of nnU-Net's own",
    )
    parser.add_argument(
        "-f", nargs="+", type=fold, metavar="FOLD", help="folds, numbers or all (default: those that there are)"
    )
    parser.add_argument(
        "-chk",
        nargs="+",
        default=["checkpoint_final.pth"],
        metavar="FILE",
        help="checkpoints of each fold (default: checkpoint_final.pth)",
    )
    parser.add_argument(
        "-o", required=True, metavar="NUMBER|NAME", help="dataset to write: a free number, or Dataset601_Name"
    )
    parser.add_argument(
        "--agreement",
        type=_share,
        default=1.0,
        metavar="SHARE",
        help="smallest share of the members with this label (default: 1, all)",
    )
    add_rules(parser)
    parser.add_argument(
        "--channel-names",
        nargs="+",
        metavar="NAME",
        help="channel names of the new dataset, which decide the normalisation (default: the source's; zscore where "
        "nnU-Net would normalise the target otherwise)",
    )
    parser.add_argument("--copy", action="store_true", help="copy images instead of linking them")
    parser.add_argument("--disable_tta", action="store_true", help="predict without mirroring")
    parser.add_argument(
        "-step_size", type=decimal(0.01, 1), default=0.5, metavar="STEP", help="of nnU-Net's tiles (default: 0.5)"
    )
    parser.add_argument("-device", default="cuda", choices=["cuda", "cpu", "mps"], help="to predict on (default: cuda)")
    add_processes(parser)
    return parser


def add_rules(parser: argparse._ActionsContainer) -> None:
    """What is kept of a prediction, where one model predicts."""
    parser.add_argument(
        "--confidence",
        nargs="+",
        default=["0.9"],
        metavar="P",
        help="smallest mean probability of the members, or CLASS=P for a class (default: 0.9)",
    )
    parser.add_argument(
        "--keep-share",
        type=_share,
        default=0.0,
        metavar="SHARE",
        help="keep at least this share of each class's voxels, by a lower threshold of its own (default: 0)",
    )
    parser.add_argument(
        "--all-components",
        action="store_true",
        help="keep all components of a class, also where the source shows it in one piece",
    )
    parser.add_argument(
        "--size-spread",
        type=decimal(0, 1e6),
        default=3.0,
        metavar="SD",
        help="robust standard deviations of the source's class volumes that are plausible; 0: any, and classes may be missing (default: 3)",
    )


def parse_confidence(words: list[str]) -> dict[str | None, float]:
    """Of --confidence."""
    return {None: 0.9, **by_class(words, _share, "--confidence")}


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_pseudo_label."""
    run_command(build_parser(), _pseudo_label, arguments, PLANNING_FOLDERS)


def _pseudo_label(args: argparse.Namespace) -> None:
    parse_confidence(args.confidence)
    if args.source_free == (args.d is not None):
        raise PlanningError("Expected the labelled source with -d, or --source-free where there are no source images.")
    check_output_folder(os.environ["nnUNet_raw"], "nnUNet_raw")
    import torch

    from nnuda.planning.checks import check_domains
    from nnuda.selftraining.dataset import output_name
    from nnuda.selftraining.members import find_members
    from nnuda.selftraining.round import make_round
    from nnuda.selftraining.source_free import reader_of_model, source_of_model, write_moved_plan

    source, target = read_domains(args, source_of_model(args.m[0]) if args.source_free else None)
    usable_device(args.device)
    options = options_of(args)
    reader = reader_of_model(args.m[0]) if args.source_free else source.reader_class()
    check_domains(source, target, reader)
    name = output_name(args.o, source.name, target.name)
    members = find_members(args.m, args.f, args.chk, source, reader)
    for member in members:
        print(f"Member: {member.name}")
    provenance = make_round(source, target, members, name, options, torch.device(args.device), args.np)
    _report(provenance)
    if args.source_free:
        plan = write_moved_plan(args.m[0], name, provenance["channel_names"])
        print(
            f"Written: {name}, with provenance.json, and the model's plan {plan} for it. Next:\n"
            f"  nnUDA_adapt -d {name[7:10]} {shlex.join(target_words(args))} -f all -c CONFIGURATION --from {args.m[0]}"
        )
    else:
        print(
            f"Written: {name}, with provenance.json. From here on it is plain nnU-Net:\n"
            f"  nnUNetv2_plan_and_preprocess -d {int(name[7:10])} -c CONFIGURATION\n"
            f"  nnUNetv2_train {int(name[7:10])} CONFIGURATION all"
        )


def options_of(args: argparse.Namespace) -> Options:
    """What the command's options choose."""
    from nnuda.selftraining.round import Options

    return Options(
        parse_confidence(args.confidence),
        args.agreement,
        args.keep_share,
        not args.all_components,
        args.size_spread,
        args.channel_names,
        args.copy,
        not args.disable_tta,
        args.step_size,
    )


def _report(provenance: dict) -> None:
    from nnuda.evaluation.table import print_table

    table = Table(title="What was kept of the target", box=box.SIMPLE_HEAD)
    table.add_column("class", no_wrap=True)
    for column in ("threshold", "in one piece", "plausible volume", "voxels predicted", "kept"):
        table.add_column(column, justify="right", no_wrap=True)
    for title, said in provenance["classes"].items():
        counts, volumes = provenance["per_class"][title], said.get("plausible_volumes")
        table.add_row(
            title,
            f"{said['confidence']:.2f}",
            {True: "yes", False: "no", None: ""}[said.get("in_one_piece")],
            f"{volumes[0]:.3g} to {volumes[1]:.3g}" if volumes else "",
            str(counts["predicted"]),
            "-" if counts["share_kept"] is None else f"{counts['share_kept']:.0%}",
        )
    print_table(table)
    for case, reason in provenance["left_out"].items():
        print(f"Left out: {case} ({reason})")
    for warning in provenance["warnings"]:
        print(f"WARNING: {warning}")


if __name__ == "__main__":
    main()
