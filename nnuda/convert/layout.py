"""Which files are which cases."""

from __future__ import annotations

import csv
import os
import re
from collections import defaultdict
from collections.abc import Collection as Names
from collections.abc import Sequence
from dataclasses import dataclass, replace

from nnuda.convert.description import Collection, Part, Table
from nnuda.errors import NnudaError

SHOWN = 5  # names in a message
PAGE = "documentation/how-to/convert-public-datasets.md"


class LayoutError(NnudaError, ValueError):
    """Files that are not as the owner distributes them."""


@dataclass(frozen=True)
class Case:
    """One case of a domain.

    Attributes:
        name: in the datasets.
        images: its file, or its slices; paths below INPUT.
        labels: the same; none: without labels.
        frame: of a series over time.
        test: held out.
    """

    name: str
    images: tuple[str, ...]
    labels: tuple[str, ...] = ()
    frame: int | None = None
    test: bool = False


def files_below(folder: str) -> list[str]:
    """Paths of all files, relative to the folder, with /; what systems leave in archives (._name, __MACOSX) is not
    among them.

    Raises:
        LayoutError: there is no such folder.
    """
    if not os.path.isdir(folder):
        raise LayoutError(f"INPUT: expected the folder with the unpacked download; {folder} is not there.")
    found = []
    for place, folders, names in os.walk(folder, followlinks=True):
        folders[:] = sorted(name for name in folders if name != "__MACOSX" and not name.startswith("."))
        below = os.path.relpath(place, folder).replace(os.sep, "/")
        found += [name if below == "." else f"{below}/{name}" for name in names if not name.startswith(".")]
    return sorted(found)


def shown(pattern: str) -> str:
    """A pattern for the eye."""
    return pattern.removeprefix("**/").replace("**/", "").replace("{case}", "<case>")


def _expression(pattern: str, case: str) -> re.Pattern:
    text, seen = "", False
    for token in re.split(r"(\*\*/|\*|\{case\}|\.nii\.gz$)", pattern):
        if token == "{case}":
            text, seen = text + ("(?P=case)" if seen else f"(?P<case>{case})"), True
        else:
            plain = {"**/": "(?:[^/]+/)*", "*": "[^/]*", ".nii.gz": r"\.nii(?:\.gz)?"}
            text += plain.get(token, re.escape(token))
    return re.compile(text)


def _matches(files: list[str], pattern: str, part: Part, skip: set[str]) -> dict[str, tuple[str, ...]]:
    """case -> its files."""
    expression, found = _expression(pattern, part.case), defaultdict(list)
    for match in filter(None, map(expression.fullmatch, files)):
        case = match["case"]
        if (not part.cases or case in part.cases) and not skip & {case, part.name.format(case=case)}:
            found[case].append(match[0])
    if "*." not in pattern:  # not slices: one file a case
        for case, paths in found.items():
            if len(paths) > 1:
                raise LayoutError(
                    f"Case {case}: expected one file {shown(pattern)}; got {_some(paths)}. Leave one below INPUT."
                )
    return {case: tuple(paths) for case, paths in found.items()}


def _some(names: Names[str]) -> str:
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more


def _labels(files: list[str], part: Part, skip: set[str]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for pattern in part.labels:
        for case, paths in _matches(files, pattern, part, skip).items():
            if case in found and found[case] != paths:
                raise LayoutError(
                    f"Case {case}: expected one label; got {found[case][0]} and {paths[0]}. Leave one below INPUT."
                )
            found[case] = paths
    return found


def _cases_of(files: list[str], part: Part, needs_labels: bool, skip: set[str]) -> dict[str, Case]:
    images, labels = _matches(files, part.images, part, skip), _labels(files, part, skip)
    bare = sorted(images.keys() - labels.keys())
    if part.labels and bare and not part.unlabelled:
        raise LayoutError(
            f"Expected a label {' or '.join(map(shown, part.labels))} for each image {shown(part.images)}; "
            f"{len(bare)} of {len(images)} have none: {_some(bare)}. Unpack the labels too, or leave cases out "
            "with --skip."
        )
    if needs_labels:
        images = {case: paths for case, paths in images.items() if case in labels}
    return {
        case: Case(part.name.format(case=case), paths, labels.get(case, ()), test=part.test)
        for case, paths in images.items()
    }


def find_cases(
    input_folder: str, collection: Collection, name: str, needs_labels: bool, skip: Names[str]
) -> list[Case]:
    """Cases of a domain, sorted by name.

    Args:
        input_folder: the owner's files.
        collection: that they are.
        name: of the domain.
        needs_labels: leave out what has no label.
        skip: cases to leave out, as the owner or the datasets name them.

    Raises:
        LayoutError: what is expected is not there; says what was found.
    """
    domain, files = collection.domains[name], files_below(input_folder)
    skip = {*skip, *collection.skip}
    rows = _rows(input_folder, files, collection, name) if domain.table else None
    cases: list[Case] = []
    for part in domain.parts:
        if needs_labels and not part.labels:
            continue
        found = _cases_of(files, part, needs_labels, skip)
        if not found and not part.optional:
            raise _missing(input_folder, files, collection, name, _wanted([part]))
        cases += found.values() if rows is None else _frames(found, rows, domain.table)
    cases = [replace(case, test=case.test or case.name in domain.test) for case in cases if case.name not in skip]
    if all(case.test for case in cases) and (needs_labels or not cases):
        training = _wanted([part for part in domain.parts if not part.test])
        raise _missing(input_folder, files, collection, name, training)
    names = [case.name for case in cases]
    twice = {case for case in names if names.count(case) > 1}
    if twice:
        raise LayoutError(
            f"{input_folder}: expected each case once; {_some(twice)} lie in several places. Leave one release below INPUT."
        )
    return sorted(cases, key=lambda case: case.name)


def _wanted(parts: Sequence[Part]) -> str:
    """The files of parts, for a message."""
    entries = (shown(part.images) + (f" with labels {shown(part.labels[0])}" if part.labels else "") for part in parts)
    return ", or ".join(dict.fromkeys(entries))


def _missing(input_folder: str, files: list[str], collection: Collection, name: str, wanted: str) -> LayoutError:
    there = f"{len(files)} other files, such as {_some(files[:: max(1, len(files) // SHOWN)][:SHOWN])}"
    return LayoutError(
        f"{input_folder}: expected for the domain {name}, below any folders, {wanted}; found "
        f"{there if files else 'an empty folder'}. Get {collection.download}. The layout is described in {PAGE}."
    )


def _rows(input_folder: str, files: list[str], collection: Collection, name: str) -> dict[str, dict[str, str]]:
    """Rows of a domain's table that belong to it, by patient."""
    table = collection.domains[name].table
    found = [path for path in files if _expression(table.file, "").fullmatch(path)]
    if not found:
        raise _missing(input_folder, files, collection, name, f"the table {shown(table.file)}")
    if len(found) > 1:
        raise LayoutError(f"{input_folder}: expected one table {shown(table.file)}; got {_some(found)}. Leave one.")
    with open(os.path.join(input_folder, found[0]), encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    wanted = {table.case, table.column, *table.frames.values()}
    if not rows or wanted - rows[0].keys():
        raise LayoutError(
            f"{found[0]}: expected columns {', '.join(sorted(wanted))}; got "
            f"{', '.join(map(str, rows[0])) if rows else 'no rows'}. Take the table of the owner's."
        )
    return {row[table.case]: row for row in rows if row[table.column] == table.value}


def _frames(found: dict[str, Case], rows: dict[str, dict[str, str]], table: Table) -> list[Case]:
    """One case a frame; patients of other domains, and those whose frames the table does not know, are left out."""
    cases = []
    for patient, case in found.items():
        for frame, column in table.frames.items():
            number = rows.get(patient, {}).get(column, "").strip()
            if re.fullmatch(r"\d+(\.0)?", number):
                cases.append(replace(case, name=f"{case.name}_{frame}", frame=int(float(number))))
    return cases
