"""What a benchmark's JSON file says, checked as a whole before any work, and the runs that follow from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from nnuda.datasets import Domain, find_images, load_dataset, same_images
from nnuda.errors import NnudaError
from nnuda.files import read_json, schema_complaint
from nnuda.find_trainer import find_trainer
from nnuda.plan_key import CONFIGURATION
from nnuda.planning.choice import STOCK_CONFIGURATIONS
from nnuda.published.results import published_pairs
from nnuda.settings import SEED, effective_settings, largest_seed

SOURCE, TARGET = "source", "target"
FILES = ("--class-texts", "--class-embeddings")  # words of a row's plan that files follow
_NAME = {"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9.-]*\Z", "maxLength": 60}
_DATASET = {"type": ["integer", "string"]}
_SETTINGS = {"type": "object"}
SCHEMA = {
    "type": "object",
    "required": ["pairs", "rows", "budget"],
    "additionalProperties": False,
    "properties": {
        "title": {"type": "string"},
        "pairs": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "source", "target", "labels"],
                "additionalProperties": False,
                "properties": {
                    "name": _NAME,
                    "source": _DATASET,
                    "target": _DATASET,
                    "labels": {"type": "string"},
                    "images": {"type": "string"},
                    "oracle": _DATASET,
                    "published": {"type": "string"},
                },
            },
        },
        "rows": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["name", "trainer"],
                "additionalProperties": False,
                "properties": {
                    "name": _NAME,
                    "title": {"type": "string"},
                    "trainer": {"type": "string"},
                    "settings": _SETTINGS,
                    "plan": {"type": "array", "items": {"type": "string"}},
                    "on": {"enum": [SOURCE, TARGET]},
                },
            },
        },
        "budget": {
            "type": "object",
            "required": ["configuration"],
            "additionalProperties": False,
            "properties": {
                "configuration": _NAME | {"pattern": r"^[A-Za-z0-9_]+\Z"},
                "add": {"type": "object"},
                "settings": _SETTINGS,
            },
        },
        "seeds": {
            "type": "array",
            "minItems": 1,
            "uniqueItems": True,
            "items": {"type": "integer", "minimum": 0, "maximum": largest_seed()},
        },
        "folds": {"type": "array", "minItems": 1, "uniqueItems": True, "items": {"enum": [0, 1, 2, 3, 4, "all"]}},
        "against": {"type": "string"},
        "checkpoint": {"enum": ["last", "selected"]},
        "device": {"enum": ["cuda", "cpu", "mps"]},
    },
}
_ADDED = {
    **CONFIGURATION,
    "required": ["inherits_from"],
    "properties": {**CONFIGURATION["properties"], "arch_kwargs": {"type": "object"}},
}
REMEDY = "documentation/how-to/benchmark.md has an example."


class BenchmarkError(NnudaError, ValueError):
    """A description that cannot be run, or results that belong to another one."""


@dataclass(frozen=True)
class Pair:
    """A source and a target, with reference labels of target cases.

    Attributes:
        name: of the pair.
        source, target: the domains; for rows trained on labelled target cases `oracle` is the source.
        oracle: labelled target cases that are not scored; None without.
        labels: folder of the reference labels.
        images: case -> its files, of every scored case.
        published: pair whose published figures stand on the page; None: none.
    """

    name: str
    source: Domain
    target: Domain
    oracle: Domain | None
    labels: str
    images: Mapping[str, Sequence[str]]
    published: str | None = None

    def trained_on(self, on: str) -> Domain:
        return self.oracle if on == TARGET else self.source


@dataclass(frozen=True)
class Row:
    """A trainer with settings.

    Attributes:
        name, title: short, and for the page.
        trainer: as of -tr.
        settings: beside the budget's.
        plan: further words of nnUDA_configure, those of class embeddings, such as --text-model.
        on: SOURCE, or TARGET for an oracle.
    """

    name: str
    title: str
    trainer: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    plan: Sequence[str] = ()
    on: str = SOURCE


@dataclass(frozen=True)
class Run:
    """One training: a row on a pair with a seed and a fold."""

    pair: Pair
    row: Row
    seed: int
    fold: str

    @property
    def name(self) -> str:
        """Also of its folder."""
        return f"{self.pair.name}_{self.row.name}_seed{self.seed}_fold{self.fold}"

    @property
    def plans(self) -> str:
        """Name of its plan."""
        return f"nnUNetPlans_{self.row.name}_{self.seed}_{self.fold}"

    @property
    def domain(self) -> Domain:
        """The labelled dataset that it is trained on."""
        return self.pair.trained_on(self.row.on)

    @property
    def prepared(self) -> str:
        """Name of what it needs: a pair planned and preprocessed."""
        return self.pair.name if self.row.on == SOURCE else f"{self.pair.name}_oracle"


@dataclass(frozen=True)
class Benchmark:
    """All that is asked for. `values`: row -> all settings that it is trained with, but for the seed."""

    title: str
    pairs: Sequence[Pair]
    rows: Sequence[Row]
    budget: Mapping[str, Any]
    seeds: Sequence[int]
    folds: Sequence[str]
    against: str
    checkpoint: str
    device: str
    values: Mapping[str, Mapping[str, Any]]

    @property
    def runs(self) -> list[Run]:
        """Pair by pair, seed by seed, so that a first table is there early."""
        return [
            Run(pair, row, seed, fold)
            for pair, seed, fold, row in product(self.pairs, self.seeds, self.folds, self.rows)
            if pair.trained_on(row.on) is not None
        ]

    def settings(self, run: Run) -> dict[str, Any]:
        """Overrides of the run's plan."""
        return {**self.budget.get("settings", {}), **run.row.settings, SEED: run.seed}

    def effective(self, run: Run) -> dict[str, Any]:
        """All values that the run is trained with."""
        return {**self.values[run.row.name], SEED: run.seed}


def read_benchmark(file: str, values: Mapping[str, Mapping[str, Any]] | None = None) -> Benchmark:
    """A description, checked.

    Args:
        file: the description.
        values: settings of its rows, where they are known: to find them takes the import of every trainer.

    Raises:
        FileError: no JSON, or not of the schema.
        BenchmarkError: names given twice, rows or labels that cannot be, cases that are trained on and scored.
        TrainerError, SettingsError, DatasetError: what the rows and pairs name is not there; the row is named.
    """
    content = read_description(file)
    for kind in ("pairs", "rows"):
        names = [entry["name"] for entry in content[kind]]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise BenchmarkError(f"{file}: {kind}: expected a name of its own for each; {twice} is there twice.")
    rows = [_row(entry) for entry in content["rows"]]
    against = content.get("against", rows[0].name)
    if against not in [row.name for row in rows]:
        names = ", ".join(row.name for row in rows)
        raise BenchmarkError(f"{file}: against: expected one of the rows {names}; got {against}.")
    _check_budget(file, content["budget"])
    benchmark = Benchmark(
        title=content.get("title", "Benchmark"),
        pairs=[_pair(file, entry) for entry in content["pairs"]],
        rows=rows,
        budget=content["budget"],
        seeds=content.get("seeds", [1]),
        folds=[str(fold) for fold in content.get("folds", ["all"])],
        against=against,
        checkpoint=content.get("checkpoint", "last"),
        device=content.get("device", "cuda"),
        values=values or {row.name: _values(file, row, content["budget"].get("settings", {})) for row in rows},
    )
    _check_oracles(file, benchmark)
    return benchmark


def read_description(file: str) -> dict[str, Any]:
    """The content of a description, with its paths as they are from everywhere: relative ones count from its folder.

    Raises:
        FileError: no JSON, or not of the schema.
    """
    content = read_json(file, "a benchmark", SCHEMA, REMEDY)
    for pair in content["pairs"]:
        pair |= {key: _beside(file, pair[key]) for key in pair.keys() & {"labels", "images"}}
    for row in content["rows"]:
        words = [part for word in row.get("plan", []) for part in _split(word)]
        row["plan"] = [_beside(file, w) if before in FILES else w for before, w in zip(["", *words], words)]
    return content


def _split(word: str) -> list[str]:
    """--class-texts=FILE as --class-texts FILE."""
    return word.split("=", 1) if word.startswith(FILES) else [word]


def _row(entry: dict) -> Row:
    return Row(**{"title": entry["name"], **entry})


def _check_budget(file: str, budget: dict) -> None:
    complaint = schema_complaint(budget["add"], _ADDED) if "add" in budget else ""
    if complaint:
        raise BenchmarkError(f"{file}: budget.add: expected a configuration of nnU-Net's plans; {complaint}. {REMEDY}")
    check_configuration(budget, STOCK_CONFIGURATIONS, f"{file}: ")


def check_configuration(budget: Mapping[str, Any], planned: Iterable[str], where: str = "") -> None:
    """Whether a plan has, or can be given, the budget's configuration.

    Args:
        budget: of a description.
        planned: names of the plan's configurations.
        where: begins the message.

    Raises:
        BenchmarkError: it is not there, inherits from one that is not, or would take another's place.
    """
    name, parent = budget["configuration"], budget.get("add", {}).get("inherits_from")
    if (parent or name) not in planned or (parent and name in planned):
        raise BenchmarkError(
            f"{where}budget: expected one of the plan's configurations {', '.join(planned)}, or another name with add; "
            f"got {name}{f', which inherits from {parent}' if parent else ''}."
        )


def _check_oracles(file: str, benchmark: Benchmark) -> None:
    for row in benchmark.rows:
        if not any(pair.trained_on(row.on) for pair in benchmark.pairs):
            raise BenchmarkError(
                f"{file}: row {row.name} is trained on the target, and no pair has an oracle: give one, or leave it out."
            )


def _values(file: str, row: Row, of_budget: Mapping[str, Any]) -> dict[str, Any]:
    """Effective settings of a row, whatever the seed."""
    overrides = {**of_budget, **row.settings}
    if SEED in overrides:
        raise BenchmarkError(f"{file}: row {row.name}: {SEED} is set by seeds. Take it out of the settings.")
    try:
        return effective_settings(find_trainer(row.trainer).preset, overrides)
    except NnudaError as error:
        raise BenchmarkError(f"{file}: row {row.name}: {error}") from error


def _pair(file: str, entry: dict) -> Pair:
    try:
        source, target = load_dataset(entry["source"], labelled=True), load_dataset(entry["target"])
        oracle = load_dataset(entry["oracle"], labelled=True) if "oracle" in entry else None
        labels = entry["labels"]
        images = _scored_images(target, labels, entry.get("images"))
    except NnudaError as error:
        raise BenchmarkError(f"{file}: pair {entry['name']}: {error}") from error
    if oracle and same_images(oracle, source):
        raise BenchmarkError(
            f"{file}: pair {entry['name']}: oracle: expected labelled cases of the target; {oracle.name} is the source "
            f"{source.name} itself. Name another dataset, or leave the oracle out."
        )
    both = sorted(images.keys() & oracle.images.keys()) if oracle else []
    if both:
        raise BenchmarkError(
            f"{file}: pair {entry['name']}: expected labelled cases of the oracle {oracle.name} that are not scored; "
            f"{', '.join(both[:5])} are also in {labels}. Take them out of one of the two."
        )
    published = entry.get("published")
    if published is not None and published not in (known := published_pairs()):
        raise BenchmarkError(
            f"{file}: pair {entry['name']}: published: expected one of {', '.join(known)}; got {published}."
        )
    return Pair(entry["name"], source, target, oracle, labels, images, published)


def _beside(file: str, path: str) -> str:
    return os.path.normpath(os.path.join(os.path.dirname(os.path.abspath(file)), os.path.expandvars(path)))


def _scored_images(target: Domain, labels: str, folder: str | None) -> dict[str, list[str]]:
    """Images of every case that has a reference label.

    Raises:
        BenchmarkError: no labels, or one without an image.
    """
    ending = target.file_ending
    names = sorted(os.listdir(labels)) if os.path.isdir(labels) else []
    cases = [name.removesuffix(ending) for name in names if name.endswith(ending) and name[0] != "."]
    if not cases:
        raise BenchmarkError(f"labels: expected a folder with reference labels CASE{ending}; {labels} has none.")
    known = find_images(folder, ending) if folder else dict(target.images)
    apart = os.path.join(target.folder, "imagesTs")
    if not folder and os.path.isdir(apart):
        known = {**find_images(apart, ending), **known}
    missing = [case for case in cases if case not in known]
    if missing:
        raise BenchmarkError(
            f"labels: expected an image for each label in {labels}; {len(missing)} of {len(cases)} have none in "
            f"{folder or target.folder}: {', '.join(missing[:5])}. Name the folder of the images: images."
        )
    return {case: known[case] for case in cases}
