"""From a collection's files to two datasets, the target's labels apart."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from glob import escape, glob
from itertools import chain

from nnuda import __version__
from nnuda.convert.collections import COLLECTIONS
from nnuda.convert.description import Collection, Domain
from nnuda.convert.images import convert_case
from nnuda.convert.layout import Case, LayoutError, find_cases
from nnuda.errors import NnudaError
from nnuda.files import folder_aside, read_json, write_json
from nnuda.processes import run_cases
from nnuda.published.results import published_pairs

ENDING = ".nii.gz"
LABELS_TARGET, SPLIT, PROVENANCE = "labels_target", "split.json", "provenance.json"
LABELS_TEST, BENCHMARK = "labels_test", "benchmark.json"
ROWS = [
    {"name": "source-only", "trainer": "nnUDATrainerSourceOnly"},
    {"name": "strong", "trainer": "nnUDATrainerSourceOnly", "settings": {"training.augmentation": "strong"}},
    {"name": "adapt", "trainer": "nnUDATrainerAdapt"},
]


class ConversionError(NnudaError, ValueError):
    """Options that do not fit, or an output that is taken."""


@dataclass(frozen=True)
class Request:
    """What to convert.

    Attributes:
        name: of the collection.
        input_folder: the owner's files.
        output_folder: where the datasets are made, such as nnUNet_raw.
        source, target: domains; None: the collection's usual ones.
        numbers: of the source's dataset and the target's.
        skip: cases to leave out.
        same_grid: take labels as they lie where sizes agree and headers do not.
        processes: to work with.
    """

    name: str
    input_folder: str
    output_folder: str
    source: str | None = None
    target: str | None = None
    numbers: tuple[int, int] = (501, 502)
    skip: tuple[str, ...] = ()
    same_grid: bool = False
    processes: int = 1


@dataclass(frozen=True)
class _Side:
    """A domain on its way to a dataset."""

    name: str
    domain: Domain
    dataset: str
    cases: list[Case]
    is_source: bool

    def apart(self, case: Case) -> bool:
        """Whether a case goes to imagesTs: it is held out, and there are others to train with."""
        return case.test and not all(case.test for case in self.cases)


def convert(request: Request) -> str:
    """Convert a pair; says on the screen what is done.

    Returns:
        the folder with the target's labels, the split, the provenance and the description of a benchmark.

    Raises:
        ConversionError: the domains do not fit, or something is in the way.
        LayoutError: files are not as the owner distributes them.
    """
    collection = COLLECTIONS[request.name]
    sides = _sides(request, collection)
    pair = os.path.join(request.output_folder, f"{request.name}_{sides[0].name}_to_{sides[1].name}")
    if _finished(pair, request, sides):
        print(f"Already converted: {pair}. Nothing was done.")
        return pair
    folders = [*(os.path.join(request.output_folder, side.dataset) for side in sides), pair]
    _check_free(folders, request)
    os.makedirs(request.output_folder, exist_ok=True)
    with folder_aside(pair) as aside:
        made = [os.path.join(aside, os.path.basename(folder)) for folder in folders]
        records = [_write_side(request, collection, side, folder, made[2]) for side, folder in zip(sides, made)]
        write_json(_split(collection, sides), os.path.join(made[2], SPLIT))
        write_json(_provenance(request, collection, sides, records), os.path.join(made[2], PROVENANCE))
        _write_benchmark(collection, sides, os.path.basename(pair), made[2])
        _check_free(folders, request)
        for one, folder in zip(made, folders):
            os.rename(one, folder)
    _say(collection, sides, records, folders)
    return pair


# ---- what is asked for ------------------------------------------------------------------------------------------------


def _sides(request: Request, collection: Collection) -> tuple[_Side, _Side]:
    names = request.source or collection.source, request.target or collection.target
    for option, name in zip(("--source", "--target"), names):
        if name not in collection.domains:
            raise ConversionError(f"{option}: expected one of {', '.join(collection.domains)}; got {name}.")
    if names[0] == names[1] or request.numbers[0] == request.numbers[1]:
        raise ConversionError(
            f"Expected two domains and two numbers; got {names[0]} and {names[1]}, "
            f"{request.numbers[0]} and {request.numbers[1]}. Give --source, --target, -d and -t."
        )
    if not collection.domains[names[0]].labelled:
        labelled = [name for name, domain in collection.domains.items() if domain.labelled]
        raise ConversionError(f"--source: expected a domain with labels, {', '.join(labelled)}; {names[0]} has none.")
    cases = [find_cases(request.input_folder, collection, name, i == 0, request.skip) for i, name in enumerate(names)]
    if collection.same_patients:
        patients = sorted({case.name for case in chain(*cases)})
        for i in range(2):
            cases[i] = [case for case in cases[i] if patients.index(case.name) % 2 == i]
        if not all(cases):
            raise LayoutError(f"{request.input_folder}: expected two patients at least; got {', '.join(patients)}.")
    return tuple(
        _Side(name, collection.domains[name], f"Dataset{number:03d}_{collection.domains[name].dataset}", found, i == 0)
        for i, (name, number, found) in enumerate(zip(names, request.numbers, cases))
    )


def _settings(request: Request, sides: Sequence[_Side]) -> dict:
    return {
        "collection": request.name,
        "source": sides[0].dataset,
        "target": sides[1].dataset,
        "skip": sorted(request.skip),
        "same_grid": request.same_grid,
    }


def _finished(pair: str, request: Request, sides: Sequence[_Side]) -> bool:
    """Whether this very conversion, of these files, is there."""
    path = os.path.join(pair, PROVENANCE)
    if not os.path.isfile(path):
        return False
    content = read_json(
        path, f"the {PROVENANCE} of a conversion", {"type": "object", "required": ["settings", "cases"]}
    )
    sizes = {
        file: entry["bytes"]
        for cases in content["cases"].values()
        for record in cases.values()
        for file, entry in record["inputs"].items()
    }
    named = {file for side in sides for case in side.cases for file in (*case.images, *case.labels)}
    datasets = [os.path.join(request.output_folder, side.dataset) for side in sides]
    same = all(
        os.path.isfile(os.path.join(request.input_folder, file))
        and os.path.getsize(os.path.join(request.input_folder, file)) == size
        for file, size in sizes.items()
    )
    if content["settings"] == _settings(request, sides) and named <= sizes.keys() and same:
        if all(map(os.path.isdir, datasets)):
            return True
    earlier = [content["settings"].get(role, "") for role in ("source", "target")]
    raise ConversionError(
        f"{pair}: expected no earlier conversion, or one of the same files and options; got one of others ({' and '.join(earlier)}"
        "), or its datasets are gone. Remove it and its datasets, or choose another OUTPUT."
    )


def _check_free(folders: list[str], request: Request) -> None:
    taken = [folder for folder in folders if os.path.lexists(folder)]
    for option, number in zip(("-d", "-t"), request.numbers):
        taken += [f"{path} ({option})" for path in glob(f"{escape(request.output_folder)}/Dataset{number:03d}_*")]
    if taken:
        raise ConversionError(
            f"Expected nothing in the way; there is {', '.join(dict.fromkeys(taken))}. Choose other numbers with -d and "
            "-t, or another OUTPUT; remove what is of a conversion that did not end."
        )


# ---- writing ----------------------------------------------------------------------------------------------------------


def _write_side(request: Request, collection: Collection, side: _Side, folder: str, pair: str) -> dict[str, dict]:
    """Write a dataset; labels of the target go to the pair's folder alone. Returns a record a case."""
    labels = {
        test: os.path.join(folder, "labelsTs" if test else "labelsTr")
        if side.is_source
        else os.path.join(pair, LABELS_TARGET)
        for test in (False, True)
    }
    images = {test: os.path.join(folder, "imagesTs" if test else "imagesTr") for test in (False, True)}
    for case in side.cases:
        os.makedirs(images[side.apart(case)], exist_ok=True)
        if case.labels:
            os.makedirs(labels[side.apart(case)], exist_ok=True)
    arguments = [
        (
            request.input_folder,
            case,
            side.domain,
            collection.orientation,
            os.path.join(images[side.apart(case)], f"{case.name}_0000{ENDING}"),
            os.path.join(labels[side.apart(case)], case.name + ENDING),
            request.same_grid,
        )
        for case in side.cases
    ]
    role = "source" if side.is_source else "target"
    records = run_cases(convert_case, arguments, request.processes, f"{role} {side.name}")
    write_json(_dataset_json(collection, side), os.path.join(folder, "dataset.json"))
    return {case.name: record for case, record in zip(side.cases, records)}


def _dataset_json(collection: Collection, side: _Side) -> dict:
    return {
        "channel_names": {"0": side.domain.channel},
        "labels": dict(collection.classes),
        "numTraining": sum(not side.apart(case) for case in side.cases),
        "file_ending": ENDING,
        "name": side.dataset,
        "description": collection.title,
        "reference": collection.citation,
        "licence": collection.licence,
    }


def _split(collection: Collection, sides: Sequence[_Side]) -> dict:
    source, target = sides
    sets = {"test": [case.name for case in target.cases if case.test]}
    for name, cases in target.domain.split.items():
        sets[name] = [*sets.get(name, []), *(case.name for case in target.cases if case.name in cases)]
    labelled = [case.name for case in target.cases if case.labels]
    return {
        "origin": collection.split,
        "source": {"dataset": source.dataset, "training": [case.name for case in source.cases if not case.test]},
        "target": {
            "dataset": target.dataset,
            "training": [case.name for case in target.cases if not target.apart(case)],
            **{name: cases for name, cases in sets.items() if cases},
            "labelled": labelled,
        },
    }


def _provenance(
    request: Request, collection: Collection, sides: Sequence[_Side], records: Sequence[dict[str, dict]]
) -> dict:
    pair = f"{request.name}_{sides[0].name}_to_{sides[1].name}"
    return {
        "nnuda": __version__,
        "settings": _settings(request, sides),
        "left_out": dict(collection.skip),
        "title": collection.title,
        "download": collection.download,
        "licence": collection.licence,
        "citation": collection.citation,
        "benchmark_pair": {
            pair: {"source": sides[0].dataset, "target": sides[1].dataset, "labels": f"{pair}/{LABELS_TARGET}"}
        },
        "cases": {side.dataset: record for side, record in zip(sides, records)},
    }


def _write_benchmark(collection: Collection, sides: Sequence[_Side], pair: str, folder: str) -> None:
    """The description of a benchmark of the pair, and the labels that it scores; none where no target case has one."""
    source, target = sides
    labelled = [case for case in target.cases if case.labels]
    if not labelled:
        return
    held = set(_split(collection, sides)["target"].get("test", []))
    tested = [case for case in labelled if case.name in held]
    some = 0 < len(tested) < len(labelled)
    if some:
        os.makedirs(os.path.join(folder, LABELS_TEST))
    for case in tested if some else ():
        file = case.name + ENDING
        shutil.copyfile(os.path.join(folder, LABELS_TARGET, file), os.path.join(folder, LABELS_TEST, file))
    entry = {
        "name": pair.replace("_", "-"),
        "source": source.dataset,
        "target": target.dataset,
        "labels": LABELS_TEST if some else LABELS_TARGET,
        **({"published": pair} if pair in published_pairs() else {}),
    }
    content = {
        "title": collection.title,
        "pairs": [entry],
        "rows": ROWS,
        "budget": {"configuration": collection.configuration, "settings": {"training.num_epochs": 1000}},
        "seeds": [1, 2, 3],
        "against": ROWS[0]["name"],
    }
    write_json(content, os.path.join(folder, BENCHMARK))


# ---- saying -----------------------------------------------------------------------------------------------------------


def _range(values: list[float]) -> str:
    low, high = min(values), max(values)
    return f"{low:.3g}" if high - low < 1e-3 * high else f"{low:.3g}-{high:.3g}"


def _say(
    collection: Collection, sides: Sequence[_Side], records: Sequence[dict[str, dict]], folders: list[str]
) -> None:
    for side, record in zip(sides, records):
        cases = list(record.values())
        spacing = " x ".join(_range([case["spacing"][axis] for case in cases]) for axis in range(3))
        stored = Counter(case["orientation_as_stored"] for case in cases)
        turned = f", now all {collection.orientation}" if collection.orientation else ", left so"
        held = sum(map(side.apart, side.cases))
        print(
            f"{'Source' if side.is_source else 'Target'} {side.dataset}: {len(cases) - held} cases"
            f"{f' and {held} held out' if held else ''}, {sum(bool(case.labels) for case in side.cases)} with labels\n"
            f"  spacing {spacing} mm (x, y, z)\n"
            f"  stored as {', '.join(f'{code} ({n})' for code, n in stored.most_common())}{turned}"
        )
        for why, number in Counter(case["repaired"] for case in cases if "repaired" in case).items():
            print(f"  spacing in plane corrected in {number} cases: {why}")
        seen = {value for case in cases for value in case.get("classes", [])}
        absent = [name for name, value in collection.classes.items() if value and value not in seen]
        if absent and any(case.labels for case in side.cases):
            print(f"  Warning: no case has {', '.join(absent)}")
    for case, why in collection.skip.items():
        print(f"Left out, where it is there: {case} ({why})")
    print(f"Split: {collection.split}\nLicence: {collection.licence}\nCite: {collection.citation}")
    print(
        f"Made: {', '.join(folders)}\nLabels of the target, for scoring alone: {os.path.join(folders[2], LABELS_TARGET)}"
    )
    benchmark = os.path.join(folders[2], BENCHMARK)
    if os.path.isfile(benchmark):
        print(f"For nnUDA_benchmark: {benchmark}")
    numbers = [side.dataset[len("Dataset") :][:3] for side in sides]
    print(
        f"Next, with nnUNet_raw={os.path.dirname(folders[0]) or '.'}: nnUDA_plan_and_preprocess -d {numbers[0]} "
        f"-t {numbers[1]} -tr nnUDATrainerAdapt"
    )
