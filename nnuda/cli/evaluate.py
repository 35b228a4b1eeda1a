"""nnUDA_evaluate: Dice, ASSD and HD95 of a folder of predictions."""
from __future__ import annotations

import argparse
import json
import os
import sys

from nnunetv2.configuration import default_num_processes

from nnuda.evaluation.evaluate import evaluate_folder, first_names, save_scores
from nnuda.evaluation.metrics import DEFINITIONS
from nnuda.evaluation.reading import EvaluationError
from nnuda.evaluation.table import print_table, score_table

OUTPUT_NAME = "nnuda_scores.json"


def build_parser() -> argparse.ArgumentParser:
    """Arguments as nnUNetv2_evaluate_folder has them."""
    parser = argparse.ArgumentParser(
        prog="nnUDA_evaluate", formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Dice, ASSD and HD95 of a folder of predictions against reference labels, per case and class.",
        epilog="Definitions:\n" + "\n".join(f"  {name}: {text}" for name, text in DEFINITIONS.items()))
    parser.add_argument("gt_folder", help="folder with reference labels")
    parser.add_argument("pred_folder", help="folder with predicted labels, as nnUNetv2_predict writes it")
    parser.add_argument("-djfile",
                        help="[OPTIONAL] dataset.json. Default: the one in pred_folder, as nnUNetv2_predict leaves it")
    parser.add_argument("-pfile", help="[OPTIONAL] plans.json, which names the reader. Default: the one in pred_folder")
    parser.add_argument("-o", help=f"[OPTIONAL] output file (.json). Default: pred_folder/{OUTPUT_NAME}")
    parser.add_argument("-np", type=int, default=default_num_processes,
                        help=f"[OPTIONAL] number of processes; 1 runs in this one. Default: {default_num_processes}")
    parser.add_argument("--missing-ok", action="store_true",
                        help="[OPTIONAL] leave references without a prediction out of the score, instead of an error")
    return parser


def _load(path: str) -> dict:
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def _default_file(given: str | None, folder: str, name: str) -> str | None:
    path = given or os.path.join(folder, name)
    return path if given or os.path.isfile(path) else None


def _load_inputs(arguments: argparse.Namespace) -> tuple[dict, dict | None]:
    dataset_file = _default_file(arguments.djfile, arguments.pred_folder, "dataset.json")
    plans_file = _default_file(arguments.pfile, arguments.pred_folder, "plans.json")
    if dataset_file is None:
        raise EvaluationError(f"Expected a dataset.json in {arguments.pred_folder}, as nnUNetv2_predict leaves one; "
                              "found none. Give one with -djfile.")
    for file in filter(None, (dataset_file, plans_file)):
        if not os.path.isfile(file):
            raise EvaluationError(f"Expected a JSON file; {file} does not exist.")
    return _load(dataset_file), _load(plans_file) if plans_file else None


def _report(scores: dict, output: str) -> None:
    print_table(score_table(scores))
    if scores["unit"] == "pixels":
        print("Distances are in pixels: these files hold no spacing.")
    for key, text in (("missing_predictions", "references without a prediction, left out of the score"),
                      ("extra_predictions", "predictions without a reference, not scored")):
        names = scores[key]
        if names:
            print(f"{len(names)} {text}: {first_names(names)}")
    print(f"Scores per case and class, definitions and versions: {output}")


def main() -> None:
    """Console script nnUDA_evaluate."""
    arguments = build_parser().parse_args()
    output = arguments.o or os.path.join(arguments.pred_folder, OUTPUT_NAME)
    try:
        if not output.endswith(".json"):
            raise EvaluationError(f"Expected an output file that ends with .json; got {output}.")
        dataset_json, plans = _load_inputs(arguments)
        scores = evaluate_folder(arguments.gt_folder, arguments.pred_folder, dataset_json, plans, arguments.np,
                                 arguments.missing_ok, progress=True)
    except EvaluationError as error:
        sys.exit(f"nnUDA_evaluate: {error}")
    save_scores(scores, output)
    _report(scores, output)


if __name__ == "__main__":
    main()
