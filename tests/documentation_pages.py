"""The documentation as the tests read it: pages, their bash blocks, and the commands in these."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [
    *(ROOT / f"{name}.md" for name in ("README", "CONTRIBUTING", "CHANGELOG", "SECURITY")),
    *sorted((ROOT / "documentation").rglob("*.md")),
]
METHOD_PAGE = ROOT / "documentation" / "how-to" / "write-a-method.md"
TRAINERS_PAGE = ROOT / "documentation" / "how-to" / "choose-a-trainer.md"
# Pages whose blocks test_documented_roads.py runs, in order, in one shell.
ROADS = {
    "fresh": [
        "documentation/getting-started.md",
        "documentation/how-to/predict-source-images-afterwards.md",
        "documentation/how-to/several-targets.md",
        "documentation/how-to/submit-to-a-challenge.md",
    ],
    "existing": ["documentation/how-to/existing-deployment.md"],
    "method": ["documentation/how-to/write-a-method.md"],
}
SEPARATORS = {"&&", "||", "|", ";"}
_BLOCK = re.compile(r"(?:<!-- (?P<marker>[^\n]*?) -->\n)?^```bash\n(?P<script>.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced bash block.

    Attributes:
        page: path relative to the repository.
        marker: text of the HTML comment directly before it, or "".
        script: its lines.
    """

    page: str
    marker: str
    script: str

    @property
    def commands(self) -> list[list[str]]:
        """Words of each command, without what only the shell reads."""
        found: list[list[str]] = []
        for line in self.script.splitlines():
            found.append([])
            for word in shlex.split(line, comments=True):
                if word in SEPARATORS:
                    found.append([])
                else:
                    found[-1].append(word)
        return [words for words in found if words]


def blocks() -> list[Block]:
    """Every bash block of every page."""
    return [
        Block(page.relative_to(ROOT).as_posix(), match["marker"] or "", match["script"])
        for page in PAGES
        for match in _BLOCK.finditer(page.read_text(encoding="utf-8"))
    ]


def write_files(page: Path, folder: Path) -> list[Path]:
    """Write what a page shows behind `<!-- file: NAME -->` below a folder; returns the files."""
    found = re.findall(
        r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )
    for name, text in found:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name, _ in found]


def section(page: Path, title: str) -> str:
    """Text of a page from a heading of the second level to the next."""
    return re.search(
        rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
    )[1]


def anchors(page: Path) -> set[str]:
    """Names that a link can point to within a page, as GitHub makes them of the headings."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}
