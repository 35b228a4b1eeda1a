"""nnUDA_text_similarity: how alike the class texts of a plan are, as numbers and as a picture."""

from __future__ import annotations

import argparse

from nnuda.cli.domain_arguments import add_source
from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import ending
from nnuda.cli.run_command import PLANNING_FOLDERS, add_force, run_command
from nnuda.datasets import dataset_name
from nnuda.files import PICTURE_MARK, check_output
from nnuda.plan_key import read_key
from nnuda.planning.choice import load_plan, plan_file


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser("nnUDA_text_similarity", __doc__, ["-d 501", "-d 501 -p nnUNetPlans_texts -o texts.png"])
    add_source(parser)
    parser.add_argument("-p", default="nnUNetPlans", metavar="PLANS", help="the plan (default: nnUNetPlans)")
    parser.add_argument(
        "-o",
        type=ending(".png"),
        metavar="FILE",
        help="the picture, PNG (default: <plan>_text_similarity.png beside the plan)",
    )
    add_force(parser)
    return parser


def main(arguments: list[str] | None = None) -> None:
    run_command(build_parser(), _report, arguments, PLANNING_FOLDERS)


def _report(args: argparse.Namespace) -> None:
    source = dataset_name(args.d)
    plans = load_plan(source, args.p)
    from nnuda.evaluation.table import print_table, table_of
    from nnuda.planning.plan_embeddings import planned_class_embeddings
    from nnuda.text.class_embeddings import describe
    from nnuda.text.similarity import draw_gram, gram, loss_of_equal_classes, off_diagonal  # matplotlib takes seconds

    embeddings = planned_class_embeddings(read_key(plans))
    file = args.o or plan_file(source, args.p).removesuffix(".json") + "_text_similarity.png"
    check_output(file, "-o", PICTURE_MARK, args.force)
    print(f"Class embeddings: {describe(embeddings)}\n")
    matrices = {
        "cosines": gram(embeddings.mean),
        "cosines after subtracting the mean over the classes": gram(embeddings.mean, centered=True),
    }
    for name, matrix in matrices.items():
        numbers = [[label, *(f"{value:.3f}" for value in row)] for label, row in zip(embeddings.names, matrix)]
        print_table(table_of([["", *embeddings.names], *numbers], title=name))
        print(f"Mean between classes: {off_diagonal(matrix).mean():.3f}\n")
    equal, orthogonal = (max(0.0, loss) for loss in loss_of_equal_classes(matrices["cosines"]))
    print(
        "A loss that compares the image classes' cosines with the first table (0 is best) is\n"
        f"  {equal:.4f} where all classes look the same,\n  {orthogonal:.4f} where each is unlike every other."
    )
    if equal < orthogonal:
        print("It would make all classes look the same: the mean has to be subtracted.")
    draw_gram(embeddings.names, matrices, describe(embeddings), file)
    print(f"Picture: {file}")


if __name__ == "__main__":
    main()
