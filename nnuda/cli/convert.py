"""nnUDA_convert: two nnU-Net datasets from a public collection, as its owner distributes it."""

from __future__ import annotations

import argparse
import textwrap

from nnuda.cli.parser import new_parser
from nnuda.cli.ranges import number_of_processes, whole
from nnuda.cli.run_command import run_command
from nnuda.convert.collections import COLLECTIONS
from nnuda.files import check_output_folder

WIDTH = 80


class _List(argparse.Action):
    """Prints and ends, as --help does."""

    def __call__(self, parser, namespace, values, option_string=None) -> None:
        print(about(values) if values else table())
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = new_parser(
        "nnUDA_convert",
        "Makes two nnU-Net datasets, a labelled source and an unlabelled target, from a public collection "
        "that you have downloaded and unpacked. Nothing is downloaded. Labels of the target are written apart, for "
        "scoring alone.",
        [
            "--list",
            "--about mmwhs",
            "mmwhs ./MM-WHS $nnUNet_raw -d 501 -t 502",
            "mmwhs ./MM-WHS $nnUNet_raw \\\n--source ct --target mr -d 503 -t 504",
        ],
    )
    parser.add_argument("name", metavar="NAME", choices=COLLECTIONS, help="the collection: " + ", ".join(COLLECTIONS))
    parser.add_argument("input", metavar="INPUT", help="folder with the owner's files, unpacked")
    parser.add_argument("output", metavar="OUTPUT", help="folder to make the datasets in, such as $nnUNet_raw")
    parser.add_argument("--list", nargs=0, action=_List, help="print the collections, and end")
    parser.add_argument(
        "--about",
        metavar="NAME",
        choices=COLLECTIONS,
        action=_List,
        help="print files, classes, split, licence and citation of one, and end",
    )
    parser.add_argument("--source", metavar="DOMAIN", help="labelled domain (default: see --list)")
    parser.add_argument("--target", metavar="DOMAIN", help="unlabelled domain (default: see --list)")
    parser.add_argument(
        "-d", type=whole(1, 999), default=501, metavar="NUMBER", help="of the source's dataset (default: 501)"
    )
    parser.add_argument(
        "-t", type=whole(1, 999), default=502, metavar="NUMBER", help="of the target's dataset (default: 502)"
    )
    parser.add_argument("--skip", nargs="+", default=[], metavar="CASE", help="cases to leave out")
    parser.add_argument(
        "--same-grid",
        action="store_true",
        help="where a label's header differs from its image's and the sizes agree, take the voxels as they lie",
    )
    parser.add_argument("-np", type=number_of_processes, default=1, metavar="N", help="worker processes (default: 1)")
    return parser


def table() -> str:
    """The collections, in lines of 80 characters."""
    lines = []
    for name, collection in COLLECTIONS.items():
        domains = ", ".join(collection.domains)
        lines += [
            f"{name:<12} {collection.title}",
            f"{'':<12} domains {domains}; default {collection.source} to {collection.target}",
        ]
    lines += ["", "nnUDA_convert --about NAME says which files are expected, and whom to cite."]
    return "\n".join(lines)


def about(name: str) -> str:
    """One collection."""
    from nnuda.convert.layout import shown

    collection = COLLECTIONS[name]
    entries = {
        "download": collection.download,
        "classes": ", ".join(f"{value} {label}" for label, value in collection.classes.items()),
        "split": collection.split,
        "licence": collection.licence,
        "cite": collection.citation,
        **{f"left out: {case}": why for case, why in collection.skip.items()},
    }
    lines = [collection.title]
    for word, text in entries.items():
        lines += textwrap.wrap(f"{word}: {text}", WIDTH, subsequent_indent="  ", break_long_words=False)
    lines.append("files, below INPUT and any folders:")
    for domain_name, domain in collection.domains.items():
        patterns = dict.fromkeys(shown(p) for part in domain.parts for p in (part.images, *part.labels))
        if domain.table:
            patterns[shown(domain.table.file)] = None
        lines += [f"  {domain_name}:", *(f"    {pattern}" for pattern in patterns)]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    """Console script nnUDA_convert."""
    run_command(build_parser(), _convert, arguments)


def _convert(args: argparse.Namespace) -> None:
    check_output_folder(args.output, "OUTPUT")
    from nnuda.convert.engine import Request, convert  # SimpleITK and nnU-Net take seconds

    convert(
        Request(
            name=args.name,
            input_folder=args.input,
            output_folder=args.output,
            source=args.source,
            target=args.target,
            numbers=(args.d, args.t),
            skip=tuple(args.skip),
            same_grid=args.same_grid,
            processes=args.np,
        )
    )


if __name__ == "__main__":
    main()
