"""Preprocessed cases that answer to what lies in the raw folder: what is new is made, what was replaced is made again and
takes the old one's place when it is whole, what is gone is taken out. Nothing else in such a folder is touched."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from batchgenerators.utilities.file_and_folder_operations import isdir, isfile, join
from nnunetv2.training.dataloading.nnunet_dataset import (
    infer_dataset_class,
    nnUNetDatasetBlosc2,
    nnUNetDatasetNumpy,
)

from nnuda.case_files import ENDINGS, check_data_folder, faults_of, format_of
from nnuda.datasets import first_of
from nnuda.errors import PlanningError
from nnuda.files import folder_aside, into_place, read_json, write_json
from nnuda.processes import run_cases

UNFINISHED = "unfinished"  # in a record while one set of cases takes the place of another
_SCHEMA = {"type": "object", "required": ["cases"], "properties": {"cases": {"type": "object"}}}


@dataclass(frozen=True)
class RawCase:
    """A case as it lies in the raw folder.

    Attributes:
        files: of the images, and the label if there is one.
        content: hash of what is in them.
    """

    files: tuple[str, ...]
    content: str


@dataclass(frozen=True)
class DataFolder:
    """A configuration's preprocessed cases.

    Attributes:
        folder: where they lie; may be a link to another disk.
        record: JSON file beside it that says what they were made from, and how.
        title: for messages and the progress bar, such as "target Dataset502_T, 2d".
        recipe: all that decides what a case holds besides its files; None: whatever made them is right.
    """

    folder: str
    record: str
    title: str
    recipe: dict | None = None


def data_folder(base: str, identifier: str) -> str:
    """Where a configuration's cases lie.

    Raises:
        PlanningError: the plan's data_identifier is no name of a folder.
    """
    if identifier in ("", ".", "..") or os.path.basename(identifier) != identifier or "\\" in identifier:
        raise PlanningError(
            f"data_identifier: expected the name of a folder, such as nnUNetPlans_2d; the plan has {identifier!r}. Take "
            "a plan that nnU-Net or nnuda has written."
        )
    return join(base, identifier)


def preprocessed_cases(folder: str) -> set[str]:
    """Identifiers of the complete cases in a data folder, .b2nd or .npz.

    Raises:
        FileError: other files lie there, with which nnU-Net would refuse the folder.
    """
    if not isdir(folder) or not os.listdir(folder):
        return set()
    check_data_folder(folder)
    ending = format_of(set(os.listdir(folder)))
    reader = nnUNetDatasetNumpy if ending == ".npz" else nnUNetDatasetBlosc2
    return {case for case in reader.get_identifiers(folder) if not faults_of(folder, case, ending)}


def is_old_format(folder: str) -> bool:
    """Whether the folder's cases are .npz of an older nnU-Net."""
    return bool(preprocessed_cases(folder)) and infer_dataset_class(folder) is nnUNetDatasetNumpy


def bring_up_to_date(
    data: DataFolder,
    raw: dict[str, RawCase],
    preprocess: Callable[..., None],
    arguments: Callable[[str, str], tuple[Any, ...]],
    num_processes: int,
    overwrite: bool = False,
) -> None:
    """Make the cases that are missing or out of date.

    Args:
        data: the folder.
        raw: the cases that there should be.
        preprocess: makes one, importable by name.
        arguments: (case, folder to write to) -> what `preprocess` is called with.
        num_processes: worker processes.
        overwrite: make all again.
    """
    present = preprocessed_cases(data.folder)
    old = (
        read_json(data.record, "nnuda's record of preprocessed cases", _SCHEMA, f"Remove {data.folder} and it.")
        if isfile(data.record)
        else {"cases": {}}
    )
    made_so = {key: value for key, value in old.items() if key not in ("cases", UNFINISHED)}
    anew = overwrite or UNFINISHED in old or (data.recipe is not None and made_so != data.recipe)
    if present and anew:
        _make_anew(data, raw, preprocess, arguments, num_processes)
        return
    os.makedirs(os.path.realpath(data.folder), exist_ok=True)
    recorded = old["cases"]
    stale = [case for case in raw if case in present and _is_stale(data.folder, case, raw[case], recorded.get(case))]
    wanted = [case for case in raw if case not in present or case in stale]
    ours = set(recorded) if data.recipe is None else present
    gone = sorted(case for case in present if case not in raw and case in ours)
    unknown = sorted(case for case in present if case not in raw and case not in ours)
    for text, cases in (
        ("replaced or corrected in the raw folder, preprocessed again", stale),
        ("gone from the raw folder, taken out", gone),
        ("not in the raw folder, but preprocessed by nnU-Net, and trained on", unknown),
    ):
        if cases:
            print(f"{data.title[0].upper()}{data.title[1:]}: {text}: {first_of(cases)}", flush=True)
    current = {case: raw[case].content for case in raw if case in present and case not in stale}
    _write_record(data, {**{case: recorded[case] for case in [*gone, *stale] if case in recorded}, **current})
    jobs = [arguments(case, data.folder) for case in wanted]
    run_cases(preprocess, jobs, num_processes, f"Preprocessing {data.title}")
    for case in gone:
        _remove(data.folder, case)
    _write_record(data, {case: raw[case].content for case in raw})


def _is_stale(folder: str, case: str, raw: RawCase, recorded: object) -> bool:
    if isinstance(recorded, str):
        return recorded != raw.content
    if isinstance(recorded, int) and recorded != sum(map(os.path.getsize, raw.files)):  # nnuda 0.1 kept sizes
        return True
    # nnU-Net keeps no record at all: what is older than its files is out of date
    image = join(folder, f"{case}.b2nd")
    made = os.path.getmtime(image if isfile(image) else join(folder, f"{case}.npz"))
    return any(os.path.getmtime(file) > made for file in raw.files)


def _make_anew(
    data: DataFolder, raw: dict[str, RawCase], preprocess: Callable, arguments: Callable, num_processes: int
) -> None:
    """All cases, beside the folder; they take the old ones' places when all are there."""
    real = os.path.realpath(data.folder)
    present = preprocessed_cases(data.folder)
    with folder_aside(real) as aside:
        jobs = [arguments(case, aside) for case in raw]
        run_cases(preprocess, jobs, num_processes, f"Preprocessing {data.title}")
        _write_record(data, {}, UNFINISHED)
        for case in present - set(raw):
            _remove(real, case)
        # The image comes last: nnU-Net lists a folder's cases by their images
        for name in sorted(
            os.listdir(aside), key=lambda name: name.endswith(".b2nd") and not name.endswith("_seg.b2nd")
        ):
            into_place(join(aside, name), join(real, name))
    _write_record(data, {case: raw[case].content for case in raw})


def _remove(folder: str, case: str) -> None:
    for ending in ENDINGS:
        file = join(folder, f"{case}{ending}")
        if isfile(file):
            os.remove(file)


def _write_record(data: DataFolder, cases: dict[str, str], *flags: str) -> None:
    content = {**(data.recipe or {}), "cases": cases, **dict.fromkeys(flags, True)}
    if not isfile(data.record) or read_json(data.record, "a record") != content:
        write_json(content, data.record)
