"""nnUDA_estimate: the Dice that predictions of the target may be expected to have, without its labels."""

from __future__ import annotations

import argparse
import os
import shlex
from typing import TYPE_CHECKING, Any

from batchgenerators.utilities.file_and_folder_operations import isdir, join
from nnunetv2.paths import nnUNet_preprocessed, nnUNet_raw

from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import ending
from nnuda.cli.run_command import add_device, add_force, check_different, check_folders, run_command, usable_device
from nnuda.datasets import load_dataset
from nnuda.errors import EvaluationError
from nnuda.files import check_output, write_json
from nnuda.results import CHECKPOINTS, ESTIMATE, split_fold

if TYPE_CHECKING:
    from nnuda.evaluation.quality import Model


def build_parser() -> argparse.ArgumentParser:
    """Arguments of nnUDA_estimate."""
    parser = new_parser(
        "nnUDA_estimate",
        "Expected Dice per class and case of predictions without labels, by three estimators that are "
        "calibrated on the source's validation cases.",
        [
            "FOLD_FOLDER --predictions predictions",
            "FOLD_FOLDER --predictions predictions \\\n--second predictions_of_fold_1",
        ],
    )
    parser.add_argument("fold_folder", help="fold_x of the training, validated with nnUNetv2_train --npz")
    parser.add_argument(
        "--predictions",
        required=True,
        metavar="FOLDER",
        help="target images as this training labels them, by nnUNetv2_predict --save_probabilities",
    )
    parser.add_argument(
        "--second",
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="the same images by other trainings or folds: how far they agree",
    )
    parser.add_argument(
        "--other-epoch",
        metavar="FOLDER",
        help="instead: by another epoch of the same training, or the model whose predictions it learnt. They agree too "
        "well: may lower the estimate only",
    )
    parser.add_argument(
        "--source-predictions",
        metavar="FOLDER",
        help="labelled source cases that were not trained on, predicted with probabilities (default: "
        "validation in the fold's folder)",
    )
    parser.add_argument(
        "--source-labels",
        metavar="FOLDER",
        help="their labels (default: gt_segmentations of the source in nnUNet_preprocessed)",
    )
    parser.add_argument("-gt", metavar="FOLDER", help="labels of the target, to measure what the estimate is worth")
    parser.add_argument(
        "-chk", metavar="FILE", help="checkpoint that predicted, for the calibration (default: checkpoint_final.pth)"
    )
    parser.add_argument(
        "--no-shift",
        action="store_true",
        help="calibrate on source images as they are, without running the network: the estimate is too high",
    )
    add_device(parser)
    add_force(parser)
    parser.add_argument(
        "-o",
        type=ending(".json"),
        metavar="FILE",
        help=f"output (.json) (default: {ESTIMATE} in the folder of predictions)",
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_estimate."""
    run_command(build_parser(), _estimate, arguments)


def _estimate(args: argparse.Namespace) -> None:
    output = args.o or join(args.predictions, ESTIMATE)
    if args.second and args.other_epoch:
        raise EvaluationError("Expected one of --second and --other-epoch; got both. Other trainings say more.")
    unused = "--no-shift" if args.no_shift else "--source-predictions" if args.source_predictions else ""
    if args.chk and unused:
        raise EvaluationError(f"Expected one of -chk and {unused}; with {unused} no network is run. Leave one out.")
    option, second = ("--other-epoch", [args.other_epoch]) if args.other_epoch else ("--second", args.second)
    check_different([("--predictions", args.predictions), *((option, folder) for folder in second)])
    check_folders({"fold_folder": args.fold_folder, "--predictions": args.predictions, "-gt": args.gt})
    folder, fold = split_fold(args.fold_folder)
    names = os.path.basename(folder).split("__")
    if len(names) != 3:
        raise EvaluationError(
            f"fold_folder: expected a fold of a results folder <trainer>__<plans>__<configuration>; got {args.fold_folder}."
        )
    trainer, plans, configuration = names
    from nnuda.evaluation.quality import (
        MARK,
        UNSHIFTED,
        calibrate,
        check_predictions,
        doubts_of,
        estimate_folder,
        held_out,
        read_model,
    )

    check_output(output, "-o", MARK, args.force)
    model = read_model(folder)
    check_predictions(args.predictions, second, model, args.gt)
    remedy = (
        f"Make them: nnUNetv2_train {model.plans['dataset_name']} {configuration} {fold} -tr {trainer} -p {plans} "
        "--val --npz"
    )
    shifted, unshifted = _shifted(args, model)
    calibration = calibrate(
        args.source_predictions or join(args.fold_folder, "validation"),
        args.source_labels or _source_labels(model),
        model,
        remedy,
        progress=True,
        shifted=shifted,
    )
    trained_on = set() if args.source_predictions else set(calibration.cases) - held_out(folder, fold)
    result = estimate_folder(
        args.predictions,
        second,
        model,
        calibration,
        args.gt,
        progress=True,
        independent=not args.other_epoch,
        doubts=doubts_of(model, bool(trained_on), unshifted),
    )
    unseen = "No other training was compared (--second): errors that any of them would show are not seen."
    result["notes"] = [*([] if args.second else [unseen]), *([] if model.learnt_strong else [UNSHIFTED])]
    write_json(result, output)
    print_estimate(result)
    print(f"Each case: {output}")
    words = ["nnUDA_report", args.fold_folder, "--predictions", args.predictions]
    print_next("one page on the training and these predictions", shlex.join(words))


def _shifted(args: argparse.Namespace, model: Model) -> tuple[dict[str, str], str]:
    """Predictions of shifted source images, made where they are not there; without any, why, where they should be."""
    if not model.learnt_strong:
        return {}, ""
    if args.no_shift or args.source_predictions:
        return {}, f"by {'--no-shift' if args.no_shift else '--source-predictions'}"
    name = model.plans["dataset_name"]
    if not nnUNet_raw.is_set() or not isdir(join(nnUNet_raw, name)):
        return {}, f"since {name} is not in nnUNet_raw"
    from nnuda.choosing.predictions import SHIFTED, How, predict_source_shifted
    from nnuda.selftraining.members import find_members

    source, (folder, fold) = load_dataset(name), split_fold(args.fold_folder)
    checkpoint = args.chk or CHECKPOINTS[0]
    member = find_members([folder], [fold], [checkpoint], source, source.reader_class(), "fold_folder")[0]
    return predict_source_shifted(member, source, join(args.fold_folder, SHIFTED), How(usable_device(args.device))), ""


def _source_labels(model: Model) -> str:
    if not nnUNet_preprocessed.is_set():
        raise EvaluationError("Expected nnUNet_preprocessed to be set, or labels of the source with --source-labels.")
    return join(nnUNet_preprocessed, model.plans["dataset_name"], "gt_segmentations")


def print_estimate(result: dict[str, Any]) -> None:
    """Table, verdict, and what it does not say."""
    from nnuda.evaluation.table import estimate_table, print_table

    print_table(estimate_table(result))
    print(f"{result['verdict'].upper()}{': ' if result['reasons'] else ''}{'; '.join(result['reasons'])}")
    for note in [result["caution"], *result.get("notes", [])]:
        print(note)
    if "measured" in result:
        of, truth = result["measured"]["value"], result["measured"]
        print(
            f"With labels (oracle): true Dice {_number(truth['true_dice'])}, error of the estimate "
            f"{_number(of['mean_absolute_error'])} (bias {_number(of['bias'])}), {truth['within_interval']:.0%} within "
            "the interval."
        )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


if __name__ == "__main__":
    main()
