"""The page: its files by reading them, its behaviour in a real browser where one is installed."""

import asyncio
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from agent.status.server import StatusServer, open_status_server
from agent.status.view import SiteView
from agent.status.vocabulary import WORDS

FOLDER = Path(__file__).parents[4] / "agent" / "status"
SCRIPTS = sorted(FOLDER.glob("*.js"))


class Page(HTMLParser):
    """Collects what a browser would fetch, run or look up."""

    def __init__(self) -> None:
        super().__init__()
        self.references: list[str] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.faults: list[str] = []
        self.is_in_script = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.is_in_script = tag in {"script", "style"}
        for name, value in attrs:
            if name in {"src", "href", "action", "data", "poster", "srcset"}:
                self.references.append(value or "")
            if name.startswith("on") or name == "style":
                self.faults.append(f"{tag} {name}")
            if name == "id":
                self.ids.append(value or "")
            if name == "data-word":
                self.words.append(value or "")

    def handle_data(self, data: str) -> None:
        if self.is_in_script and data.strip():
            self.faults.append(data)


@pytest.fixture
def page() -> Page:
    parsed = Page()
    parsed.feed((FOLDER / "page.html").read_text())
    return parsed


async def fetched(server: StatusServer, path: str) -> tuple[int, str]:
    async with asyncio.timeout(5):
        reader, writer = await asyncio.open_connection(server.host, server.port)
        own = f"Host: 127.0.0.1:{server.port}\r\nConnection: close\r\n\r\n"
        writer.write(f"GET {path} HTTP/1.1\r\n{own}".encode())
        head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
        writer.close()
    return int(head.split()[1]), body


def test_nothing_in_the_page_runs_or_styles_inline(page: Page) -> None:
    assert page.faults == []


def test_no_file_refers_to_another_place(page: Page) -> None:
    assert [name for name in page.references if not re.match(r"/$|[/#]\w", name)] == []
    for file in [*SCRIPTS, FOLDER / "page.css", FOLDER / "page.html"]:
        text = file.read_text().replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//\w+\.|@import|url\(", text), file.name


async def test_everything_the_page_refers_to_is_served(server: StatusServer, page: Page) -> None:
    imports = re.findall(r'from "(/[\w.-]+)"', "".join(file.read_text() for file in SCRIPTS))
    paths = {name for name in page.references if name.startswith("/")} | set(imports)
    assert len(paths) >= 9
    for path in paths:
        status, body = await fetched(server, path)
        assert status == 200, path
        assert body, path


async def test_every_script_of_the_folder_is_served_as_it_is(server: StatusServer) -> None:
    for file in SCRIPTS:
        assert await fetched(server, f"/{file.name}") == (200, file.read_text()), file.name


def test_text_only_enters_the_document_as_text() -> None:
    for file in SCRIPTS:
        forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
        assert not re.search(forbidden, file.read_text()), file.name


def test_every_element_a_script_asks_for_is_in_the_page(page: Page) -> None:
    assert len(page.ids) == len(set(page.ids))
    wanted: set[str] = set()
    for file in SCRIPTS:
        wanted |= set(re.findall(r'byId\("([\w-]+)"\)', file.read_text()))
        tables = re.findall(r'showTable\("(\w+)"', file.read_text())
        wanted |= {f"{name}-{part}" for name in tables for part in ("head", "rows")}
    assert len(wanted) > 30
    assert wanted - set(page.ids) == set()


def test_every_word_the_page_asks_for_is_in_the_table_and_none_is_left_over(page: Page) -> None:
    table = set(WORDS["en"])
    text = "".join(file.read_text() for file in SCRIPTS)
    asked = set(page.words) | set(re.findall(r'word\("(\w+)"', text))
    prefixes = set(re.findall(r"word\(`(\w+_)\$\{", text))
    known = {"mode_", "mode_short_", "severity_", "broker_", "quality_", "tx_", "state_", "kind_"}
    assert prefixes == known | {"relay_", "about_", "reason_", "span_", "stage_", "col_"}
    assert asked - table == set()
    facts = set(re.findall(r'\["(\w+)", ', text))
    chosen = set(re.findall(r'[?:] "(\w+)"', text))
    unused = {
        name for name in table - asked - facts - chosen if not name.startswith(tuple(prefixes))
    }
    assert unused == set()


# The lists are here and the chart is drawn.
WHOLE = (
    "document.querySelectorAll('#miner-rows tr').length > 1"
    " && document.querySelectorAll('.tile').length > 0"
    " && document.querySelector('#chart-energy svg') !== null"
)
STALE = "document.body.classList.contains('is-stale')"
BANNER = (
    "!document.getElementById('banner')?.hidden && document.getElementById('banner').textContent"
)


def text_of(document: str, element_id: str) -> str:
    found = re.search(rf'id="{element_id}"[^>]*>([^<]*)<', document)
    assert found, element_id
    return found[1]


async def test_a_browser_shows_the_site_and_no_name_becomes_markup(
    source, site: SiteView, browse
) -> None:
    hostile = '<img src=x onerror="document.title=1">'
    miners = [site.miners[0].model_copy(update={"miner_id": hostile}), *site.miners[1:]]
    status = site.status.model_copy(update={"farm": hostile})
    source.current = site.model_copy(update={"miners": miners, "status": status})
    async with open_status_server(source, "127.0.0.1", 0) as server:
        document, console = await browse(server.url, WHOLE)
    assert console == []
    assert "<img" not in document
    assert "&lt;img src=x" in document
    assert text_of(document, "state-word") == "Inside budget"
    assert text_of(document, "power-now") == "180.5&nbsp;kW"
    assert text_of(document, "energy-left") == "587.250&nbsp;kWh"
    assert text_of(document, "time-left") == "35 min 29 s"
    assert text_of(document, "time-end") == "until 14:00"
    assert text_of(document, "site-zone") == "Asia/Almaty"
    assert text_of(document, "alarms-title") == "2 alarms"
    assert text_of(document, "ahead-verdict") == "can be kept"
    assert text_of(document, "ahead-words") == "The next window can be kept: 97% of the watts obey."
    assert ">17.310&nbsp;kWh<" in document
    assert ">Purchase rules<" in document
    assert ">Grid order<" in document
    assert ">open: no feed<" in document
    assert "mp-2 is blind" in document
    assert document.count('class="tile ') == 60
    assert document.count('class="line-power"') == 2
    assert 'aria-valuetext="180.5&nbsp;kW of 182.4&nbsp;kW"' in document


async def test_a_site_with_one_meter_point_has_no_table_of_points(
    source, site: SiteView, browse
) -> None:
    status = site.status.model_copy(update={"meter_points": site.status.meter_points[:1]})
    decisions = [row.model_copy(update={"meter_point": "mp-1"}) for row in site.decisions]
    source.current = site.model_copy(update={"status": status, "decisions": decisions})
    async with open_status_server(source, "127.0.0.1", 0) as server:
        document, console = await browse(server.url, WHOLE)
    assert console == []
    assert re.search(r'<section id="points"[^>]* hidden', document)
    assert "mp-1: " not in document


async def test_data_that_stands_still_goes_grey_and_stops_claiming(source, browse) -> None:
    async with open_status_server(source, "127.0.0.1", 0) as server:
        document, _ = await browse(server.url, STALE)
    assert re.search(r'<body class="[^"]*is-stale', document)
    assert text_of(document, "banner").startswith("The agent answers, but its data does not change")
    assert text_of(document, "state-word") == "Last known: Inside budget"


async def test_an_agent_that_stops_answering_is_said_so(source, browse) -> None:
    class Dying:
        """Serves one image, then behaves as a dead process: every further answer fails."""

        answers = 0

        def view(self) -> SiteView | None:
            self.answers += 1
            if self.answers > 8:
                raise ConnectionResetError
            return source.view()

        def is_healthy(self) -> bool:
            return True

    async with open_status_server(Dying(), "127.0.0.1", 0) as server:
        document, _ = await browse(server.url, STALE)
    assert re.search(r'<body class="[^"]*is-stale', document)
    assert text_of(document, "banner").startswith("The agent does not answer.")


async def test_before_the_first_tick_the_page_says_so(source, browse) -> None:
    source.current = None
    async with open_status_server(source, "127.0.0.1", 0) as server:
        document, _ = await browse(server.url, BANNER)
    assert text_of(document, "banner").startswith("The agent is starting.")


async def test_a_window_that_cannot_be_kept_is_red_and_without_relays_there_is_no_panel(
    source, site: SiteView, browse
) -> None:
    hostile = '<img src=x onerror="document.title=1">'
    assert site.status.preflight is not None
    ahead = site.status.preflight.model_copy(
        update={"can_comply": False, "words": hostile, "transactions": ["a", "b", "c", hostile]}
    )
    limits = [
        one.model_copy(update={"words": hostile, "kind": "new"}) for one in site.status.limits
    ]
    update = {"preflight": ahead, "relays": [], "limits": limits}
    status = site.status.model_copy(update=update)
    source.current = site.model_copy(update={"status": status})
    async with open_status_server(source, "127.0.0.1", 0) as server:
        document, console = await browse(server.url, WHOLE)
    assert console == []
    assert "<img" not in document
    assert text_of(document, "ahead-verdict") == "cannot be kept"
    assert re.search(r'id="ahead"[^>]*data-tone="bad"', document)
    assert re.search(r'id="relays"[^>]* hidden', document)
    assert ">a, b, c …<" in document
    assert ">new rules<" in document  # a kind that the page has never heard of
