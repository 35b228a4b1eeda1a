"""nnUDA_benchmark: from one JSON file to a finished comparison of trainers and settings."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from nnuda.cli.parser import new_parser, parse_words
from nnuda.cli.ranges import whole
from nnuda.cli.run_command import run_command, usable_device
from nnuda.cli.text_arguments import add_texts, read_texts
from nnuda.errors import NnudaError

if TYPE_CHECKING:
    from nnuda.benchmark.description import Benchmark, Pair, Row
    from nnuda.datasets import Domain


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_benchmark",
        "Trains, predicts, scores and reports every row with every seed of a description, N at a time, and writes one "
        "page with the comparison. Run it again after an interruption: what is done stays.",
        [
            "benchmark.json -o ./comparison --dry-run",
            "benchmark.json -o ./comparison -n 2",
            "benchmark.json -o ./comparison -n 20 --slurm \\\npartition=gpu runtime=600 gpu=1 cpus_per_task=8 memory=32000",
        ],
    )
    parser.add_argument("description", metavar="BENCHMARK.json", help="pairs, rows, budget, seeds, folds")
    parser.add_argument("-o", required=True, metavar="FOLDER", help="for runs, logs and the page")
    parser.add_argument("-n", type=whole(1), default=1, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument(
        "--slurm",
        nargs="*",
        metavar="KEY=VALUE",
        help="submit each run to SLURM, with these resources: partition, account, runtime (minutes), memory (MB), gpu, "
        "cpus_per_task, extra",
    )
    parser.add_argument(
        "--again", action="store_true", help="remove results of other data or settings, and run them anew"
    )
    parser.add_argument("--dry-run", action="store_true", help="check everything, list the runs, and end")
    return parser


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_benchmark."""
    run_command(build_parser(), _benchmark, arguments, ("nnUNet_raw",))


def _benchmark(args: argparse.Namespace) -> None:
    from nnuda.benchmark.description import BenchmarkError, read_benchmark
    from nnuda.benchmark.engine import check_engine, parse_slurm
    from nnuda.benchmark.go import go, plan_text, refuse_or_remove_stale, say
    from nnuda.benchmark.page import save_pages
    from nnuda.benchmark.places import FROZEN, own_error, read_state
    from nnuda.files import LOCK, check_own_folder, locked

    slurm = None if args.slurm is None else parse_slurm(args.slurm)
    folder = os.path.abspath(args.o)
    benchmark = read_benchmark(args.description)
    check_engine(folder, slurm is not None)
    check_own_folder(folder, "-o", FROZEN)
    check_planning(args.description, benchmark)
    if args.dry_run:
        refuse_or_remove_stale(folder, benchmark, False)
        say(plan_text(folder, benchmark))
        return
    if slurm is None:
        usable_device(benchmark.device)
    os.makedirs(folder, exist_ok=True)
    with locked(os.path.join(folder, LOCK), f"the folder {folder}"):
        refuse_or_remove_stale(folder, benchmark, args.again)
        say(plan_text(folder, benchmark))
        go(folder, args.description, benchmark, args.n, slurm)
        failed = save_pages(folder, benchmark)
    if failed:
        run = next(run for run in benchmark.runs if run.name == failed[0])
        raise BenchmarkError(
            f"{len(failed)} of {len(benchmark.runs)} runs failed: {', '.join(failed)}. The page has the others; why is in "
            "run.json and logs of each run's folder. Put it right, and run the same command again. The first one:\n"
            f"{own_error(read_state(folder, run).get('error') or 'It was not begun.')}"
        )


def check_planning(file: str, benchmark: Benchmark) -> None:
    """What planning, or the first moment of a run, would stop with.

    Raises:
        BenchmarkError: names pair or row.
    """
    from nnuda.benchmark.description import SOURCE, TARGET

    for pair in benchmark.pairs:
        for on in (SOURCE, TARGET) if pair.oracle else (SOURCE,):
            with _named(f"{file}: pair {pair.name}"):
                _check_pair(benchmark, pair, on)
    for row in benchmark.rows:
        with _named(f"{file}: row {row.name}"):
            _check_row(benchmark, row)


def _check_pair(benchmark: Benchmark, pair: Pair, on: str) -> None:
    from nnuda.benchmark.added import check_plan_there
    from nnuda.case_files import check_fold
    from nnuda.cli.plan_arguments import check_pair
    from nnuda.planning.checks import check_to_predict

    source = pair.trained_on(on)
    for fold in benchmark.folds:
        check_fold(fold, len(source.images), "", "folds")
    check_pair(source, pair.target, None)
    check_plan_there(benchmark.budget, source, pair.target)
    _check_labels(pair, source)
    check_to_predict(pair.images, os.path.dirname(next(iter(pair.images.values()))[0]), source)


def _check_labels(pair: Pair, source: Domain) -> None:
    from nnuda.evaluation.reading import check_on_image, read_labels
    from nnuda.evaluation.scores import class_labels

    reader, (_, allowed, _) = source.reader_class(), class_labels(source.dataset_json)
    for case, files in pair.images.items():
        reference = read_labels(os.path.join(pair.labels, case + pair.target.file_ending), reader, allowed)
        check_on_image(case, reference, files[0], reader)


def _check_row(benchmark: Benchmark, row: Row) -> None:
    from nnuda.planning.make_key import pretrained_weights
    from nnuda.planning.plan_embeddings import check_trainer
    from nnuda.planning.setting_checks import tried_settings

    words = parse_words(row.plan, "plan", add_texts)
    settings = tried_settings({**benchmark.budget.get("settings", {}), **row.settings})
    pretrained_weights(settings)
    for pair in benchmark.pairs:
        if source := pair.trained_on(row.on):
            embeddings = read_texts(words, source.dataset_json, source.channel_names, pair.target.channel_names)
            check_trainer(row.trainer, settings, embeddings is not None, {}, source)


@contextmanager
def _named(where: str) -> Iterator[None]:
    from nnuda.benchmark.description import BenchmarkError

    try:
        yield
    except NnudaError as error:
        raise BenchmarkError(f"{where}: {error}") from error


if __name__ == "__main__":
    main()
