"""Which room may import which: documentation/explanation/architecture.md as a table, checked over the whole tree."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "documentation" / "explanation" / "architecture.md"
# Room, that is a package or module of nnuda (and trainers/, which is installed as nnuda/trainers): what it may import
# of nnuda. An arrow that is not here is a mistake, or a line to add; none may close a circle.
ALLOWED = {
    # the ground: what everything stands on
    "errors": [],
    "environment": ["errors"],
    "registration": [],
    "labels": [],
    "histograms": [],
    "files": ["errors"],
    "case_files": ["errors", "files"],
    "commands": ["errors"],
    "processes": ["errors"],
    "plan_key": ["errors", "files"],
    "dataset_json": ["errors", "files"],
    "plan_check": ["dataset_json", "files", "plan_key"],
    "plan_network": ["errors"],
    "images": ["errors", "files"],
    "datasets": ["dataset_json", "errors", "images"],
    "results": ["errors", "files"],
    "predictor": ["errors", "plan_check", "results"],
    "trainer_files": ["registration"],
    "settings": ["errors", "files", "trainer_files"],
    "published": ["files"],
    "find_trainer": ["registration", "settings", "trainer_files"],  # training by name alone, when it is asked
    # mathematics: torch, and the room itself
    "losses": [],
    "statistics": [],
    # what works on tensors, images and texts
    "text": ["errors", "files", "settings"],
    "networks": ["errors", "plan_network", "text"],
    "data": [],
    "selection": ["files", "losses"],
    # what users do
    "training": [
        "case_files",
        "data",
        "environment",
        "errors",
        "files",
        "images",
        "labels",
        "losses",
        "plan_check",
        "plan_key",
        "plan_network",
        "processes",
        "results",
        "selection",
        "settings",
        "statistics",
        "text",
    ],
    "planning": [
        "case_files",
        "dataset_json",
        "datasets",
        "errors",
        "files",
        "find_trainer",
        "histograms",
        "images",
        "labels",
        "plan_check",
        "plan_key",
        "plan_network",
        "processes",
        "results",
        "settings",
        "text",
        "trainer_files",
    ],
    "preprocessing": ["case_files", "datasets", "errors", "files", "plan_key", "planning", "processes"],
    "evaluation": [
        "case_files",
        "data",
        "datasets",
        "errors",
        "files",
        "images",
        "labels",
        "losses",
        "plan_key",
        "predictor",
        "processes",
        "results",
        "settings",
        "trainer_files",
    ],
    "export": [
        "datasets",
        "errors",
        "files",
        "images",
        "plan_check",
        "plan_key",
        "plan_network",
        "predictor",
        "results",
    ],
    "report": [
        "datasets",
        "errors",
        "evaluation",
        "files",
        "find_trainer",
        "histograms",
        "images",
        "labels",
        "plan_key",
        "results",
        "selection",
        "settings",
        "trainer_files",
        "training",
    ],
    "demo": ["commands", "evaluation", "files", "plan_key", "results", "stages"],
    "stages": [
        "case_files",
        "commands",
        "datasets",
        "errors",
        "files",
        "find_trainer",
        "plan_key",
        "planning",
        "preprocessing",
        "results",
        "selection",
        "selftraining",
        "settings",
        "training",
    ],
    "look": [
        "commands",
        "datasets",
        "errors",
        "evaluation",
        "files",
        "histograms",
        "images",
        "planning",
        "predictor",
        "report",
        "results",
    ],
    "benchmark": [
        "commands",
        "datasets",
        "errors",
        "evaluation",
        "files",
        "find_trainer",
        "images",
        "plan_key",
        "plan_network",
        "planning",
        "published",
        "report",
        "results",
        "settings",
        "stages",
        "trainer_files",
    ],
    "choosing": [
        "datasets",
        "errors",
        "evaluation",
        "files",
        "images",
        "plan_key",
        "processes",
        "results",
        "selection",
        "selftraining",
    ],
    "convert": ["errors", "files", "processes", "published"],
    "selftraining": [
        "datasets",
        "errors",
        "files",
        "images",
        "labels",
        "plan_check",
        "plan_key",
        "predictor",
        "planning",
        "processes",
        "results",
    ],
    # the roofs
    "trainers": [
        "data",
        "errors",
        "labels",
        "losses",
        "networks",
        "plan_key",
        "settings",
        "statistics",
        "text",
        "training",
    ],
    "train": ["errors", "files", "training"],
    "api": ["cli", "errors", "files", "stages"],
    "cli": [
        "benchmark",
        "case_files",
        "choosing",
        "convert",
        "datasets",
        "demo",
        "environment",
        "errors",
        "evaluation",
        "export",
        "files",
        "find_trainer",
        "look",
        "plan_key",
        "plan_network",
        "planning",
        "preprocessing",
        "registration",
        "report",
        "results",
        "selftraining",
        "settings",
        "stages",
        "text",
        "trainer_files",
        "training",
    ],
}
TORCH_ALONE = {
    "losses": {"__future__", "collections", "math", "typing", "torch"},
    "statistics": {"__future__", "collections", "math", "typing", "torch"},
}


def files() -> list[tuple[str, Path]]:
    """(room, file) of all code of the package."""
    found = [
        (path.relative_to(ROOT / "nnuda").parts[0].removesuffix(".py"), path)
        for path in sorted((ROOT / "nnuda").rglob("*.py"))
    ]
    found += [("trainers", path) for path in sorted((ROOT / "trainers").glob("*.py"))]
    return [(room, path) for room, path in found if room != "__init__"]


def imported(path: Path) -> list[tuple[str, int]]:
    """(module, line) of each import, those within functions too; `from nnuda import x` is nnuda.x."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: expected an absolute import"
            names = [f"nnuda.{name.name}" for name in node.names] if node.module == "nnuda" else [node.module]
        else:
            names = [name.name for name in node.names] if isinstance(node, ast.Import) else []
        found += [(name, node.lineno) for name in names]
    return found


def test_every_room_has_a_row_here_and_on_the_page():
    rooms = {room for room, _ in files()}
    assert rooms == set(ALLOWED), (
        f"ALLOWED of {Path(__file__).name}: rooms without a row: "
        f"{sorted(rooms - set(ALLOWED))}; rows without a room: {sorted(set(ALLOWED) - rooms)}"
    )
    page = PAGE.read_text(encoding="utf-8")
    missing = sorted(room for room in rooms if f"`{room}/`" not in page and f"`{room}.py`" not in page)
    assert not missing, f"{PAGE.name}, table of rooms: add a row for {', '.join(missing)}"


@pytest.mark.parametrize("room", ALLOWED)
def test_a_room_imports_what_it_may(room):
    wrong = []
    for _, path in (entry for entry in files() if entry[0] == room):
        for module, line in imported(path):
            parts = module.split(".")
            if parts[0] == "nnuda" and len(parts) > 1 and parts[1] not in (room, "__version__", *ALLOWED[room]):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
            elif parts[0] != "nnuda" and parts[0] not in TORCH_ALONE.get(room, {parts[0]}):
                wrong.append(f"{path.relative_to(ROOT)}:{line} imports {module}: {room} import torch alone")
    assert not wrong, "\n".join(
        [*wrong, f"Move what is shared to a room below, or add the arrow to ALLOWED[{room!r}] and say on the page why."]
    )


def test_no_circle():
    TopologicalSorter(ALLOWED).prepare()


def test_the_comparison_can_fail():
    modules = [module for module, _ in imported(ROOT / "nnuda" / "cli" / "report.py")]
    assert "nnuda.report.run" in modules and "argparse" in modules
