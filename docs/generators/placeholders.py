"""Puts what the code says of itself where a page has a line ``<!-- generated: name -->``.

In a browser of repositories such a line shows nothing; the page says there what the manual has.
A link to a folder is good in such a browser only: the manual keeps its words.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from sphinx.application import Sphinx
from sphinx.errors import ExtensionError

from generators.alarms import alarms_text
from generators.commands import kwota_text, simulator_text
from generators.contents import contents_text
from generators.http import http_text
from generators.records import records_text
from generators.settings import settings_text

WRITERS: Final[Mapping[str, Callable[[], str]]] = {
    "contents": contents_text,
    "alarms": alarms_text,
    "settings": settings_text,
    "kwota": kwota_text,
    "kwota-sim": simulator_text,
    "http": http_text,
    "records": records_text,
}
_PLACE: Final = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)
_LINK: Final = re.compile(r"\[([^\]]+)\]\(([^)\s:#]+)\)")


def filled(text: str) -> str:
    """A page's text with every place filled. Raises ExtensionError for a name that is none."""

    def written(match: re.Match[str]) -> str:
        if match[1] not in WRITERS:
            known = ", ".join(WRITERS)
            raise ExtensionError(f"nothing writes {match[1]!r}; a page may ask for: {known}")
        return WRITERS[match[1]]()

    return _PLACE.sub(written, text)


def without_folders(text: str, folder: Path) -> str:
    """A page's text with the words alone of each link that leads from ``folder`` to a folder."""
    return _LINK.sub(lambda link: link[1] if (folder / link[2]).is_dir() else link[0], text)


def _fill(app: Sphinx, page: str, source: list[str]) -> None:
    folder = Path(app.env.doc2path(page)).parent
    source[0] = filled(without_folders(source[0], folder))


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("source-read", _fill)
    return {"version": "1", "parallel_read_safe": True}
