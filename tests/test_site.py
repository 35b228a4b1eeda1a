"""The documentation as a site: built strictly, that is, without a broken link, anchor or page left out."""

from __future__ import annotations

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", str(ROOT / "mkdocs.yml"), "-d", folder]
    built = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=folder)
    assert built.returncode == 0, f"mkdocs.yml (a new page needs a line in nav there):\n{built.stderr}"
    return folder


class Page(HTMLParser):
    """What a page loads, and how many equations stand in lines of their own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.equations = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        named = dict(attributes)
        if tag in ("script", "img", "iframe") or (tag == "link" and named.get("rel") in ("stylesheet", "preload")):
            self.loaded.append(named.get("src") or named.get("href") or "")
        self.equations += tag == "math" and named.get("display") == "block"


def test_every_equation_is_rendered(site: Path) -> None:
    pages = [page for page in (ROOT / "documentation").rglob("*.md") if "$$" in page.read_text(encoding="utf-8")]
    assert len(pages) >= 5
    for page in pages:
        source = page.read_text(encoding="utf-8")
        built = site / page.relative_to(ROOT / "documentation").with_suffix("") / "index.html"
        html = built.read_text(encoding="utf-8")
        lines = [line for line in source.splitlines() if line.startswith("$$")]
        closed = sum(line.count("$$") for line in lines)
        assert Page(html).equations == closed // 2, page
        assert "arithmatex" not in html and "$$" not in html, page


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loaded = {url for page in site.rglob("*.html") for url in Page(page.read_text(encoding="utf-8")).loaded}
    assert loaded and not [url for url in loaded if url.startswith(("http:", "https:", "//"))]


def test_readme_is_the_home_page(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    assert "nnUDA_demo" in home and 'href="getting-started/"' in home and 'href="documentation/' not in home
