"""nnUDA_benchmark: from one JSON file to a finished comparison of trainers and settings."""

from __future__ import annotations

import argparse
import os

from nnuda.cli.parser import new_parser
from nnuda.cli.run_command import run_command
from nnuda.errors import NnudaError


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
    parser.add_argument("-n", type=int, default=1, metavar="N", help="runs at a time (default: 1)")
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
    if args.n < 1:
        raise NnudaError(f"-n: expected a number from 1 on; got {args.n}.")
    from nnuda.benchmark.description import BenchmarkError, read_benchmark
    from nnuda.benchmark.engine import check_engine, parse_slurm
    from nnuda.benchmark.go import go, plan_text, refuse_or_remove_stale, say
    from nnuda.benchmark.page import save_pages
    from nnuda.files import LOCK, check_output_folder, locked

    slurm = None if args.slurm is None else parse_slurm(args.slurm)
    folder = os.path.abspath(args.o)
    benchmark = read_benchmark(args.description)
    check_engine(folder, slurm is not None)
    check_output_folder(folder, "-o")
    if args.dry_run:
        refuse_or_remove_stale(folder, benchmark, False)
        say(plan_text(folder, benchmark))
        return
    os.makedirs(folder, exist_ok=True)
    with locked(os.path.join(folder, LOCK), f"the folder {folder}"):
        refuse_or_remove_stale(folder, benchmark, args.again)
        say(plan_text(folder, benchmark))
        go(folder, args.description, benchmark, args.n, slurm)
        failed = save_pages(folder, benchmark)
    if failed:
        raise BenchmarkError(
            f"{len(failed)} of {len(benchmark.runs)} runs failed: {', '.join(failed)}. The page has the others; why is in "
            "run.json and logs of each run's folder. Put it right, and run the same command again."
        )


if __name__ == "__main__":
    main()
