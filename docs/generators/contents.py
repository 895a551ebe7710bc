"""The order of the manual: that of the links on its first page.

Each heading of the first page with links below it is a part. What lies beside it, or among the
machines, and is linked nowhere on it comes last, so that a new page is never lost; a page in any
other folder has to be linked, or the build says that it is an orphan.
"""

import re
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parents[1]
GATHERED: Final = ("*.md", "miners/*.md")
_LINK: Final = re.compile(r"\]\(([\w./-]+)\.md\)")


def contents_text() -> str:
    """The hidden tables of contents that the first page's links stand for."""
    first_page = (DOCS / "index.md").read_text(encoding="utf-8")
    parts: list[tuple[str, list[str]]] = []
    for section in re.split(r"^## ", first_page, flags=re.MULTILINE)[1:]:
        title, _, body = section.partition("\n")
        parts.append((title.strip(), list(dict.fromkeys(_LINK.findall(body)))))
    linked = {"index"}.union(*(pages for _, pages in parts))
    found = (path for pattern in GATHERED for path in sorted(DOCS.glob(pattern)))
    names = (path.relative_to(DOCS).with_suffix("").as_posix() for path in found)
    parts.append(("More", [name for name in names if name not in linked]))
    return "\n".join(_tree(title, pages) for title, pages in parts if pages)


def _tree(title: str, pages: list[str]) -> str:
    return "\n".join(("```{toctree}", ":hidden:", f":caption: {title}", "", *pages, "```", ""))
