"""Who can use the page, as axe-core judges it, in every state that the page has; each is kept."""

import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from agent.status.server import open_status_server
from agent.status.view import SiteView

AXE = Path(__file__).parent / "axe" / "node_modules" / "axe-core" / "axe.min.js"
RUN = """
axe.run(document, { resultTypes: ["violations"] }).then((told) => told.violations.map((one) => ({
  rule: one.id, impact: one.impact,
  at: one.nodes.map((node) => node.html.slice(0, 160)).slice(0, 3),
})))
"""
SHOWN = "document.querySelector('.tile') && document.querySelector('#decision-rows tr')"
STALE = f"{SHOWN} && document.body.classList.contains('is-stale')"
LINKED = f"{SHOWN} && document.querySelector('#machine-card h3')"
STARTING = "!document.getElementById('banner').hidden"
CHOSEN = "document.querySelector('.tile').click()"
SPEAK = """
(() => {
  const control = document.getElementById("language");
  control.value = %r;
  control.dispatchEvent(new Event("change"));
})()
"""
# One machine of each kind is among the first sixteen. A judge that looks at every node needs no
# more of them, and takes a second for each picture as it is.
MINERS = 16
DECISIONS = 5

DARK_RUSSIAN = {"scheme": "dark", "language": "ru"}

pytestmark = [
    pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed"),
    pytest.mark.timeout(120),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """How the page is looked at; its name is that of its picture."""

    name: str
    width: int = 1400
    scheme: str = "light"
    language: str = "en"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the page is shown of."""

    looks: tuple[Look, ...]
    path: str = ""
    update: dict[str, Any] | None = None
    until: str = SHOWN
    is_ticking: bool = True
    is_started: bool = True


# Every pair of a state with a language, width and scheme would take minutes. Here each language,
# width and scheme is in some state, and ``make looks`` adds more of their pairs.
STATES = {
    "alarms stand": State(
        looks=(Look(name="light"), Look(name="phone", width=360, **DARK_RUSSIAN))
    ),
    "a machine": State(
        path="m/62f75eb70103",
        until=LINKED,
        looks=(Look(name="machine-phone", width=360, language="kk"),),
    ),
    "the agent is gone": State(
        is_ticking=False,
        until=STALE,
        looks=(Look(name="grey", width=800, scheme="dark", language="fr"),),
    ),
    "the agent is starting": State(
        is_started=False, until=STARTING, looks=(Look(name="starting"),)
    ),
}
MORE = {
    "alarms stand, seen otherwise": State(
        looks=(
            Look(name="dark", scheme="dark", language="kk"),
            Look(name="tablet", width=800, language="fr"),
            Look(name="phone-light", width=360),
        )
    ),
    "no alarm": State(
        update={"alarms": []},
        looks=(Look(name="no-alarm"), Look(name="no-alarm-tablet", width=800, scheme="dark")),
    ),
    "no purchase": State(
        update={"window": None, "mode": "no_purchase", "preflight": None, "alarms": []},
        looks=(Look(name="no-purchase", **DARK_RUSSIAN),),
    ),
    "a machine, on a desk": State(
        path="m/62f75eb70103", until=LINKED, looks=(Look(name="machine-dark", **DARK_RUSSIAN),)
    ),
    "an unknown machine": State(
        path="m/020000000099", looks=(Look(name="machine-unknown", width=360, language="kk"),)
    ),
    "the agent is gone, on a desk": State(
        is_ticking=False, until=STALE, looks=(Look(name="grey-light"),)
    ),
}
if os.environ.get("LOOKS") == "all":
    STATES |= MORE


class Ticking:
    """Shows a site whose clock goes on while somebody looks at it."""

    def __init__(self, site: SiteView, state: State) -> None:
        status = site.status.model_copy(update=state.update or {})
        lists = {"miners": site.miners[:MINERS], "decisions": site.decisions[:DECISIONS]}
        self._site = site.model_copy(update={"status": status, **lists})
        self._state = state
        self._second = -1
        self._begun_s = time.monotonic()

    def view(self) -> SiteView | None:
        if not self._state.is_started:
            return None
        second = int(time.monotonic() - self._begun_s) if self._state.is_ticking else 0
        if second != self._second:
            self._second = second
            at_ms = self._site.status.at_ms + 1_000
            status = self._site.status.model_copy(update={"at_ms": at_ms})
            self._site = self._site.model_copy(update={"status": status})
        return self._site

    def is_healthy(self) -> bool:
        return True


async def judged(tab, look: Look) -> list[dict[str, Any]]:
    features = [{"name": "prefers-color-scheme", "value": look.scheme}]
    await tab.do("Emulation.setEmulatedMedia", features=features)
    size = {"width": look.width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    await tab.do("Emulation.setDeviceMetricsOverride", **size)
    await tab.value(SPEAK % look.language)
    await tab.until(f"document.documentElement.lang === {look.language!r}")
    await tab.picture(f"page-{look.name}")
    found: list[dict[str, Any]] = await tab.value(RUN)
    return found


@pytest.mark.parametrize("name", STATES)
async def test_axe_finds_nothing_that_keeps_anybody_from_using_the_page_while(
    site: SiteView, tab, name: str
) -> None:
    state = STATES[name]
    async with open_status_server(Ticking(site, state), "127.0.0.1", 0) as server:
        await tab.show(f"{server.url}{state.path}", state.until)
        if state.path == "" and state.is_ticking and state.is_started:
            await tab.value(CHOSEN)
        await tab.value(AXE.read_text())
        faults = {look.name: await judged(tab, look) for look in state.looks}
    assert not any(faults.values()), json.dumps(faults, indent=1)


async def test_axe_sees_a_button_without_a_name(server, tab) -> None:
    await tab.show(server.url, STARTING.replace("!", ""))
    await tab.value("document.querySelector('.brand').append(document.createElement('button'))")
    await tab.value(AXE.read_text())
    found = await tab.value(RUN.replace("document,", "document.querySelector('.brand'),"))
    assert [one["rule"] for one in found] == ["button-name"]
