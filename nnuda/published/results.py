"""Published figures of a pair, checked: no figure without the page that it is from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from nnuda.files import read_json

MEAN = "mean"
SOURCE, IMAGES, LABELS = "source", "target images", "target labels"
_TEXT = {"type": "string", "minLength": 1}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
SCHEMA = {
    "type": "object",
    "required": ["pairs", "classes", "cases", "sources", "results"],
    "additionalProperties": False,
    "properties": {
        "pairs": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _TEXT},
        "classes": {"type": "array", "minItems": 1, "uniqueItems": True, "items": _TEXT},
        "cases": _TEXT,
        "notes": {"type": "array", "items": _TEXT},
        "sources": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": {
                "type": "object",
                "required": ["title", "address", "place"],
                "additionalProperties": False,
                "properties": {
                    "title": _TEXT,
                    "address": {
                        "type": "string",
                        "pattern": r"^https://(arxiv\.org/abs/|openreview\.net/|github\.com/)",
                    },
                    "place": _TEXT,
                    "note": _TEXT,
                },
            },
        },
        "results": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "required": ["method", "trained_with", "dice", "source"],
                "additionalProperties": False,
                "properties": {
                    "method": _TEXT,
                    "trained_with": {"enum": [SOURCE, IMAGES, LABELS]},
                    "dice": {"type": "object", "minProperties": 1, "additionalProperties": _SHARE},
                    "source": _TEXT,
                    "note": _TEXT,
                },
            },
        },
    },
}


@dataclass(frozen=True)
class Source:
    """Where figures stand.

    Attributes:
        title: of the paper.
        address: of its page.
        place: in it, such as "Table 4".
        note: what makes its figures what they are.
    """

    title: str
    address: str
    place: str
    note: str = ""


@dataclass(frozen=True)
class Result:
    """A line of a paper's table.

    Attributes:
        method: as the paper calls it.
        trained_with: SOURCE alone; also IMAGES of the target; LABELS of the target, which is no adaptation.
        dice: class or MEAN -> Dice, from 0 to 1; what the paper does not say is not there.
        source: key of its source.
        note: such as another set of cases.
    """

    method: str
    trained_with: str
    dice: Mapping[str, float]
    source: str
    note: str = ""


@dataclass(frozen=True)
class Published:
    """All figures of a pair.

    Attributes:
        name: of the pair, as nnUDA_convert names its folder.
        classes: in the order of the table.
        cases: that papers score.
        notes: for all of them.
        sources: key -> source.
        results: in the order of the table.
    """

    name: str
    classes: Sequence[str]
    cases: str
    notes: Sequence[str]
    sources: Mapping[str, Source]
    results: Sequence[Result]


def published_pairs() -> dict[str, Any]:
    """Pair -> its file, of every pair that has figures."""
    files = resources.files("nnuda.published").iterdir()
    found = {}
    for file in sorted((file for file in files if file.name.endswith(".json")), key=lambda file: file.name):
        found |= dict.fromkeys(_content(file)["pairs"], file)
    return found


def load_published(name: str) -> Published:
    """Figures of one of published_pairs.

    Raises:
        KeyError: no such pair.
        FileError: its file is not of the schema.
    """
    content = _content(published_pairs()[name])
    return Published(
        name=name,
        classes=content["classes"],
        cases=content["cases"],
        notes=content.get("notes", []),
        sources={key: Source(**source) for key, source in content["sources"].items()},
        results=[Result(**result) for result in content["results"]],
    )


def _content(file: Any) -> dict[str, Any]:
    with resources.as_file(file) as path:
        return read_json(path, "published figures of a pair", SCHEMA)
