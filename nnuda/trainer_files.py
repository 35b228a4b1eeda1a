"""Trainers and presets, found by reading the files of the folders in `nnUNet_extTrainer`; nothing is imported."""

from __future__ import annotations

import ast
import os
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import resources

from nnuda.registration import VARIABLE, trainers_folder

BASE_TRAINER = "nnUDATrainer"
RECOMMENDED = "nnUDATrainerAdapt"
BASE = "base"


@dataclass(frozen=True)
class TrainerClass:
    """A class in a file.

    Attributes:
        name: of the class.
        parents: names of its bases, without their modules.
        preset: what it says in `preset = "..."`; None where it says nothing.
        file: that it stands in.
    """

    name: str
    parents: tuple[str, ...]
    preset: str | None
    file: str


def own_trainers() -> list[str]:
    """Class names of the trainers that nnuda brings, without the base."""
    return sorted(_trainers(trainers_folder()))


def outside_trainers() -> list[str]:
    """Class names of the trainers in the other folders of `nnUNet_extTrainer` that have one of nnuda's as parent."""
    return sorted({name for folder in outside_folders() for name in _trainers(folder)} - set(own_trainers()))


def known_trainers() -> list[str]:
    """The base, nnuda's own, and those outside."""
    return [BASE_TRAINER, *own_trainers(), *outside_trainers()]


def preset_of(trainer: str) -> str | None:
    """The preset that a trainer's class, or the nearest of its parents, says; None where no file has such a class."""
    if trainer == BASE_TRAINER:
        return BASE
    for folder in [trainers_folder(), *outside_folders()]:
        for found in (found for found in _classes_below(folder) if found.name == trainer):
            return found.preset or next(filter(None, map(preset_of, found.parents)), None)
    return None


def preset_files() -> dict[str, list[str]]:
    """Files of each preset: those of nnuda/plans, and `<preset>.json` beside a class that says `preset = "<preset>"`.

    More than one file of a name is a clash; other JSON files beside a trainer are left alone.
    """
    found = {name: [file] for name, file in package_presets().items()}
    for folder in outside_folders():
        for trainer in _classes_below(folder):
            file = os.path.join(os.path.dirname(trainer.file), f"{trainer.preset}.json")
            if trainer.preset is not None and os.path.isfile(file):
                files = found.setdefault(trainer.preset, [])
                if os.path.realpath(file) not in map(os.path.realpath, files):
                    files.append(file)
    return found


@cache
def package_presets() -> dict[str, str]:
    """File of each preset that nnuda brings, the base's among them."""
    entries = resources.files("nnuda.plans").iterdir()
    return {entry.name[:-5]: str(entry) for entry in entries if entry.name.endswith(".json")}


def outside_folders() -> list[str]:
    """Folders of `nnUNet_extTrainer` besides nnuda's own, in nnU-Net's order."""
    folders = [folder for folder in os.environ.get(VARIABLE, "").split(os.pathsep) if folder.strip()]
    own = os.path.realpath(trainers_folder())
    return [folder for folder in dict.fromkeys(folders) if os.path.isdir(folder) and os.path.realpath(folder) != own]


def _trainers(folder: str) -> set[str]:
    """Names of the classes below a folder whose parents lead to a class called nnUDATrainer..."""
    classes, found = _classes_below(folder), set()
    while True:
        more = {
            trainer.name
            for trainer in classes
            if trainer.name not in found
            and any(parent in found or parent.startswith(BASE_TRAINER) for parent in trainer.parents)
        }
        if not more:
            return found
        found |= more


def _classes_below(folder: str) -> list[TrainerClass]:
    """Of the modules that nnU-Net's finder looks at: of the folder, and of the packages below it."""
    found = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_file() and entry.name.endswith(".py"):
            found += _classes(entry.path, entry.stat().st_mtime_ns)
        elif entry.is_dir() and os.path.isfile(os.path.join(entry.path, "__init__.py")):
            found += _classes_below(entry.path)
    return found


@lru_cache(maxsize=1024)
def _classes(file: str, changed: int) -> tuple[TrainerClass, ...]:
    """Classes of a file as it was at a time; none where it is no Python: nnU-Net's finder says so."""
    try:
        with open(file, "rb") as content:
            nodes = ast.parse(content.read()).body
    except (OSError, SyntaxError, ValueError):
        return ()
    return tuple(
        TrainerClass(node.name, tuple(ast.unparse(base).rsplit(".", 1)[-1] for base in node.bases), _preset(node), file)
        for node in nodes
        if isinstance(node, ast.ClassDef)
    )


def _preset(node: ast.ClassDef) -> str | None:
    for statement in node.body:
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        value = getattr(statement, "value", None)
        if (
            any(isinstance(target, ast.Name) and target.id == "preset" for target in targets)
            and isinstance(value, ast.Constant)
            and isinstance(value.value, str)
        ):
            return value.value
    return None
