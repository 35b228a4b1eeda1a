"""nnUDA_look: a minute before any training: how two domains differ, and whether a trained model works on the target."""

from __future__ import annotations

import argparse
import os
import shlex
import tempfile
from dataclasses import asdict
from pathlib import Path

from batchgenerators.utilities.file_and_folder_operations import isfile

from nnuda.cli.domain_arguments import add_source, add_target, read_domains, target_words
from nnuda.cli.next_command import print_next
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import ending, fold, whole
from nnuda.cli.run_command import add_device, add_force, check_folders, check_needed, run_command, usable_device
from nnuda.datasets import Domain
from nnuda.errors import PlanningError
from nnuda.files import check_output, write_json, write_text
from nnuda.planning.choice import load_plan, plan_file
from nnuda.planning.told_apart import CASES
from nnuda.report.page import PAGE_MARK

OUTPUT_NAME = "nnuda_look.html"


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_look",
        "Intensities, spacing, size, orientation and field of view of both domains side by side, what planning "
        "would say, and with --model what a trained nnU-Net makes of a few target cases. Nothing is trained.",
        ["-d 501 -t 502", "-d 501 -t 502 --model MODEL_FOLDER"],
    )
    add_source(parser)
    add_target(parser)
    parser.add_argument(
        "--model", metavar="FOLDER", help="results folder of a trained nnU-Net, <trainer>__<plans>__<configuration>"
    )
    parser.add_argument("-f", type=fold, metavar="FOLD", help="with --model: its fold (default: the first)")
    parser.add_argument(
        "--cases", type=whole(1), default=CASES, metavar="N", help=f"cases of each domain to read (default: {CASES})"
    )
    parser.add_argument(
        "--model-cases", type=whole(1), default=3, metavar="N", help="target cases for the model (default: 3)"
    )
    add_device(parser)
    add_force(parser)
    parser.add_argument(
        "-o",
        type=ending(".html"),
        default=OUTPUT_NAME,
        metavar="FILE",
        help=f"the page (.html); .json beside it (default: {OUTPUT_NAME})",
    )
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_look."""
    run_command(build_parser(), _look, arguments, ("nnUNet_raw",))


def _look(args: argparse.Namespace) -> None:
    check_folders({"--model": args.model})
    check_needed("--model", args.model, {"-f": args.f})
    from nnuda.evaluation.quality import MARK

    check_output(args.o, "-o", PAGE_MARK, args.force)
    check_output(os.path.splitext(args.o)[0] + ".json", "-o", MARK, args.force)
    _measure_and_judge(args, *read_domains(args))


def _measure_and_judge(args: argparse.Namespace, source: Domain, target: Domain) -> None:
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from nnuda.evaluation.quality import without_nan
    from nnuda.look.judge import judge
    from nnuda.look.page import class_sizes, look_html
    from nnuda.look.try_model import find_model, try_model
    from nnuda.planning.alike import alike, likeness
    from nnuda.planning.checks import check_domains
    from nnuda.planning.measure import measure_pair
    from nnuda.planning.rules import find, in_words
    from nnuda.planning.sides import find_sides
    from nnuda.planning.warnings import pair_warnings

    tried = find_model(args.model, args.f, source) if args.model else None
    plans = existing_plan(source)
    reader = PlansManager(plans).image_reader_writer_class if plans else source.reader_class()
    error, warnings = None, []
    try:
        check_domains(source, target, reader)
        warnings = pair_warnings(source, target, reader, plans)
    except PlanningError as stopped:
        error = str(stopped)
        if len(source.channel_names) != len(target.channel_names) or target.file_ending != source.file_ending:
            raise  # nothing can be set side by side
    sides = measure_pair(source, target, reader, args.cases)
    found = likeness(*sides)
    geometry = dict(zip(("source", "target"), (side.geometry for side in sides)))
    rules = [] if error else find(geometry, alike(*sides, found), find_sides(source, reader))
    estimate = None
    if tried is not None and error is None:
        device = usable_device(args.device)
        with tempfile.TemporaryDirectory(prefix="nnuda_look_") as work:
            estimate = try_model(tried, source, target, args.model_cases, device, Path(work))
        estimate["sizes"] = class_sizes(estimate)
    verdict = judge(*sides, found, error, estimate)
    content = {
        "verdict": asdict(verdict),
        "source": sides[0].facts(),
        "target": sides[1].facts(),
        "common_area": found.areas,
        "told_apart": found.told_apart,
        "warnings": warnings,
        "rules": rules,
        "estimate": estimate,
    }
    said = [*([error] if error else []), *warnings]
    write_text(look_html(*sides, verdict, said, [in_words(rule) for rule in rules], estimate), args.o)
    json_file = os.path.splitext(args.o)[0] + ".json"
    write_json(without_nan(content), json_file)
    print(f"\n{verdict.answer.upper()}: {'; '.join(verdict.reasons)}")
    for doubt in verdict.doubts:
        print(doubt)
    for rule in rules:
        print(f"Planning: {in_words(rule)}")
    print(f"Written: {args.o}, {json_file}")
    _print_way_on(args, verdict.answer)


def _print_way_on(args: argparse.Namespace, answer: str) -> None:
    from nnuda.look.judge import MEND, REORIENT, WORKS

    domains = shlex.join(["-d", args.d, *target_words(args)])
    if answer in (MEND, REORIENT):
        print_next("the same again, once the data is mended", f"nnUDA_look {domains}")
    elif answer == WORKS:
        print_next("look at the cases before you use them; nothing has to be trained")
    else:
        print_next("adapt", f"nnUDA_adapt {domains} -c CONFIGURATION")


def existing_plan(source: Domain) -> dict | None:
    """nnU-Net's own plan of the source, where it is there: planning would extend it."""
    from nnunetv2.paths import nnUNet_preprocessed

    if not nnUNet_preprocessed.is_set() or not isfile(plan_file(source.name, "nnUNetPlans")):
        return None
    return load_plan(source.name, "nnUNetPlans")


if __name__ == "__main__":
    main()
