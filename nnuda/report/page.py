"""One HTML page that needs no other file: tables, pictures and text in the order in which they are given."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import resources

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

FILE_KINDS = {b"\xff\xd8": "jpeg", b"RIFF": "webp"}
PAGE_MARK = b'<meta name="generator" content="nnuda">'  # how a page of ours begins


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind = "text"


@dataclass(frozen=True)
class Notes:
    """A list of remarks."""

    items: Sequence[str]
    kind = "notes"


@dataclass(frozen=True)
class Table:
    """Head and rows; the first column names the row.

    Attributes:
        rows: the head first. Columns after the first are numbers, or `words`.
        marked: indices of body rows that stand out.
        words: columns of text: to the left, with line breaks.
    """

    rows: Sequence[Sequence[str]]
    marked: frozenset[int] = frozenset()
    words: frozenset[int] = frozenset()
    kind = "table"


@dataclass(frozen=True)
class Picture:
    """A PNG, JPEG or WebP file, what it shows in words, and what stands below it.

    `scan`: it shows an image of a case, or some. On a dark page the colours of charts are turned, those of scans stay.
    """

    file: bytes
    alt: str
    caption: str = ""
    scan: bool = False
    kind = "picture"

    @cached_property
    def address(self) -> str:
        """Its content as the address that a page loads it from."""
        kind = next((name for start, name in FILE_KINDS.items() if self.file.startswith(start)), "png")
        return f"data:image/{kind};base64,{base64.b64encode(self.file).decode()}"


@dataclass(frozen=True)
class Slices:
    """Pictures of which a slider shows one; sliders of one case move together.

    Attributes:
        pictures: in order; their captions name the slices.
        start: index of the one that is shown first, and alone where a browser is too old for the slider.
        case: that they are of.
        caption: of all.
    """

    pictures: Sequence[Picture]
    start: int
    case: str
    caption: str = ""
    kind = "slices"


@dataclass(frozen=True)
class Pictures:
    """Pictures side by side, as many as there is room for; `wide` ones take the whole row."""

    pictures: Sequence[Picture | Slices]
    wide: bool = False
    kind = "pictures"


@dataclass(frozen=True)
class Legend:
    """What the colours of outlines mean: name -> CSS colour; and how they are drawn."""

    colours: dict[str, str]
    text: str = ""
    kind = "legend"


@dataclass(frozen=True)
class Fact:
    """An answer: its question, the answer in few words, more about it. `level`: "", "good" or "bad"."""

    question: str
    answer: str
    more: Sequence[str] = ()
    level: str = ""


@dataclass(frozen=True)
class Facts:
    """Answers side by side."""

    facts: Sequence[Fact]
    kind = "facts"


@dataclass(frozen=True)
class Folded:
    """Blocks that a reader opens."""

    title: str
    blocks: Sequence
    kind = "folded"


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it."""

    title: str
    blocks: Sequence

    @property
    def anchor(self) -> str:
        """Name to link to."""
        return "".join(letter if letter.isalnum() else "-" for letter in self.title.lower())


def breakable(name: str) -> Markup:
    """A name that may go on in the next line after a dot, a stroke or within CamelCase, rather than anywhere."""
    return Markup("<wbr>").join(map(escape, re.split(r"(?<=[._/=-])(?=\w)|(?<=[a-z]{3})(?=[A-Z])", name)))


def page_html(title: str, top: Sequence, sections: Sequence[Section], contents: bool = False) -> str:
    """The page's text. Nothing in it is loaded from anywhere, and it has no script: a slider is a group of radio buttons,
    by which the style sheet shows a slice.

    Args:
        title: of the page.
        top: blocks before the first section.
        sections: in order.
        contents: a line of links to the sections below the title.
    """
    template = resources.files("nnuda.report").joinpath("page.html").read_text(encoding="utf-8")
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters["breakable"] = breakable
    sliders = {found.case: len(found.pictures) for found in _slices([*top, *sections])}
    content = {"title": title, "top": top, "sections": sections, "contents": contents, "sliders": sliders}
    return environment.from_string(template).render(content)


def _slices(blocks: Sequence) -> Iterator[Slices]:
    for block in blocks:
        if isinstance(block, Pictures):
            yield from (picture for picture in block.pictures if isinstance(picture, Slices))
        elif isinstance(block, (Folded, Section)):
            yield from _slices(block.blocks)
