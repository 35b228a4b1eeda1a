"""What MkDocs is told beyond mkdocs.yml: the pages at the top of the repository, and equations as MathML.

Browsers draw MathML themselves: no script, nothing to download, and it is there in print and offline.
"""

from __future__ import annotations

import html
import re
from pathlib import Path, PurePosixPath
from typing import Any

from latex2mathml.converter import convert

TOP = {"README.md": "index.md", **{name: name for name in ("CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")}}
_LINK = re.compile(r"\]\((?!\w+:|#)([^)\s#]+)(#[^)\s]*)?\)")
_MATH = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that lie above the folder documentation/."""
    from mkdocs.structure.files import File

    root = Path(config.config_file_path).parent
    for name, page in TOP.items():
        text = (root / name).read_text(encoding="utf-8")
        text = _LINK.sub(lambda link: f"]({_from_top(link[1])}{link[2] or ''})", text)
        files.append(File.generated(config, page, content=text))
    return files


def _from_top(path: str) -> str:
    """A link of a page at the top, as seen from documentation/. What the site does not hold is named alone."""
    below = path.removeprefix("documentation/")
    return below if below != path else TOP.get(path, f"#{path}" if path != "LICENSE" else "#licence")


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links out of documentation/ to a page at the top lead to where it is in the site."""
    up = "../" * len(PurePosixPath(page.file.src_uri).parent.parts)

    def inside(link: re.Match) -> str:
        name = link[1].removeprefix(f"{up}../")
        return f"]({up}{TOP[name]}{link[2] or ''})" if link[1] == f"{up}../{name}" and name in TOP else link[0]

    return _LINK.sub(inside, markdown)


def on_page_content(content: str, **_: Any) -> str:
    """Equations of a page as MathML."""
    return _MATH.sub(lambda m: convert(html.unescape(m[2]), display="block" if m[1] == "div" else "inline"), content)
