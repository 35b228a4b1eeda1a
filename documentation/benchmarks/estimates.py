"""What estimates without labels were worth: each training that run.py has left, by nnUDA_find_best_configuration with
the labels that it chooses nothing by; a line for each class and for the mean of a candidate, to estimates.csv.

    python documentation/benchmarks/estimates.py --work FOLDER --output FOLDER [--only mscmr/2d_small ...]

FOLDER of --work is that of run.py, read alone; everything is written below --output, and used again the next time.
Lines of a pair, budget and calibration (source images as they are, or shifted) are replaced by those of the trainings
that are finished now.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
COLUMNS = ("value", "low", "high", "soft_dice", "atc", "agreement")
FIELDS = (
    "pair",
    "budget",
    "candidate",
    "rows",
    "checkpoint",
    "place",
    "tie",
    "verdict",
    "calibration",
    "class",
    "cases",
    "true",
    *COLUMNS,
    "within",
    "case_error",
    "cases_within",
)


def row_name(plans: str) -> str:
    """nnUNetPlans_strong_more_1 is row strong-more, seed 1."""
    row, seed = re.fullmatch(r"nnUNetPlans_(.+)_(\d+)", plans).groups()
    return f"{row.replace('_', '-')}/{seed}"


def find(work: Path, output: Path, more: list[str]) -> dict:
    """Run the command on one pair and budget; what it leaves."""
    environment = {
        **os.environ,
        **{f"nnUNet_{kind}": str(work / kind) for kind in ("raw", "preprocessed", "results")},
        "nnUNet_compile": "f",
        "OMP_NUM_THREADS": "1",
    }
    images = next(folder for folder in sorted((work / "images").iterdir()) if folder.name != "free")
    source, target = numbers(work)
    words = ["-d", source, "-t", target, "-i", str(images), "--labels", str(work / "labels" / images.name)]
    words += ["-o", str(output), "-device", "cpu", "--disable_tta", *more]
    command = [sys.executable, "-m", "nnuda.cli.find_best_configuration", *words]
    subprocess.run(command, env=environment, check=True)
    return json.loads((output / "inference_information.json").read_text())


def numbers(work: Path) -> tuple[str, str]:
    """Source and target of a folder of run.py, which has results of the source alone."""
    source = next((work / "results").iterdir()).name
    target = next(folder.name for folder in sorted((work / "raw").iterdir()) if folder.name != source)
    return source, target


def of_cases(label: str, truth: dict, estimate: dict) -> dict[str, float]:
    """Mean absolute error over the cases, and the share of them within their own interval; of all classes for "mean"."""
    errors, within = [], []
    for case, classes in truth.items():
        for name, true in classes.items():
            values = estimate["per_case"][case]["classes"][name]
            if label in (name, "mean") and None not in (true, values["value"]) and true == true:
                errors.append(abs(values["value"] - true))
                within.append(values["low"] <= true <= values["high"])
    return {"case_error": sum(errors) / len(errors), "cases_within": sum(within) / len(within)}


def lines(pair: str, budget: str, found: dict, output: Path) -> list[dict]:
    """Of each candidate, best first, its classes and their mean."""
    made, ties = [], set(found["best_model_or_ensemble"]["ties"])
    for place, (name, estimate) in enumerate(found["estimates"].items(), 1):
        truth = found["true_dice_per_case"][name]
        whole = json.loads((output / "estimates" / f"{name}.json").read_text())
        rows = {**estimate["per_class"], "mean": estimate["mean"]}
        for label, values in rows.items():
            true = found["true_dice"][name] if label == "mean" else mean(case[label] for case in truth.values())
            numbers = {column: values[column] for column in COLUMNS}
            made.append(
                {
                    "pair": pair,
                    "budget": budget,
                    "candidate": name,
                    "rows": " + ".join(row_name(model["plans_identifier"]) for model in estimate["models"]),
                    "checkpoint": " + ".join(
                        model["checkpoint"][len("checkpoint_") : -len(".pth")] for model in estimate["models"]
                    ),
                    "place": place,
                    "tie": int(name in ties),
                    "verdict": estimate["verdict"],
                    "calibration": "shifted" if whole["calibration"]["shifted"] else "as they are",
                    "class": label,
                    "cases": len(truth),
                    "true": f"{true:.4f}",
                    **{column: "" if value is None else f"{value:.4f}" for column, value in numbers.items()},
                    "within": int(numbers["low"] <= true <= numbers["high"]),
                    **{key: f"{value:.4f}" for key, value in of_cases(label, truth, whole).items()},
                }
            )
    return made


def mean(values) -> float:
    """Of those that are numbers."""
    known = [value for value in values if value is not None and value == value]
    return sum(known) / len(known)


def main() -> None:
    """The pairs and budgets that have a finished training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of run.py")
    parser.add_argument("--output", type=Path, required=True, help="folder for predictions and estimates")
    parser.add_argument("--only", nargs="+", metavar="PAIR/BUDGET", help="these alone")
    parser.add_argument("--estimates", type=Path, default=HERE / "estimates.csv")
    parser.add_argument("--more", default="", help="further options of the command, as one word")
    arguments = parser.parse_args()
    for final in sorted(arguments.work.glob("*/*/results")):
        pair, budget = final.parts[-3:-1]
        name = f"{pair}/{budget}"
        if pair == "oracle" or (arguments.only and name not in arguments.only):
            continue
        if not list(final.glob("*/*/fold_*/checkpoint_final.pth")):
            continue
        output = arguments.output / pair / budget
        found = find(final.parent, output, arguments.more.split())
        there = list(csv.DictReader(arguments.estimates.open())) if arguments.estimates.exists() else []
        made = lines(pair, budget, found, output)
        replaced = {(line["pair"], line["budget"], line["calibration"]) for line in made}
        kept = [line for line in there if (line["pair"], line["budget"], line["calibration"]) not in replaced]
        with arguments.estimates.open("w", newline="") as file:
            writer = csv.DictWriter(file, FIELDS, lineterminator="\n")
            writer.writeheader()
            writer.writerows([*kept, *made])


if __name__ == "__main__":
    main()
