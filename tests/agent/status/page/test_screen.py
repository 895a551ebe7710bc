"""What one look at the page tells, how it gets its news, and how soon something is to be seen."""

import pytest

from agent.status.server import StatusServer
from agent.status.view import SiteView
from agent.status.vocabulary import ALARMS

WHOLE = "document.querySelector('.tile') && document.querySelector('#decision-rows tr')"
POWER = "document.getElementById('power-now').innerText.startsWith(%r)"
PAINTS = "performance.getEntriesByType('paint').map((entry) => entry.startTime)"
CELLS = """
[...document.querySelectorAll('#%s tr')].map((row) =>
  [...row.cells].map((cell) => cell.innerText.replaceAll(/[\\u00a0\\u202f]/g, " ")))
"""
FIRST_PAINT_MS = 300


async def rows(tab, table: str) -> list[list[str]]:
    found: list[list[str]] = await tab.value(CELLS % table)
    return found


async def test_meters_have_their_age_and_quality(server: StatusServer, tab) -> None:
    await tab.show(server.url, WHOLE)
    silent = "No answer since the start: check the address and the cable."
    assert await rows(tab, "meter-rows") == [
        ["site", "180.5 kW", "48 213 907.412 kWh", "good", "0.4 s", "sdm630 · 10.1.0.10:502/1"],
        ["feeder-2", "–", "–", "–", "–", silent],
    ]
    ages = "document.querySelectorAll('#meter-rows td:nth-child(5) span')"
    assert await tab.value(f"[...{ages}].map((span) => span.className)") == ["", "bad"]


async def test_purchases_have_their_progress_and_decisions_their_reasons(
    server: StatusServer, site: SiteView, tab
) -> None:
    await tab.show(server.url, WHOLE)
    purchases = {row[0].removeprefix("mp-1: "): row for row in await rows(tab, "purchase-rows")}
    assert purchases["tx-2026-1121-14a"][1] == "open"
    assert purchases["tx-2026-1121-14a"][3] == "412.000 kWh · 68.7 %"
    assert purchases["tx-2026-1121-13a"][3] == "997.412 kWh · 99.7 %"
    bar = "document.querySelector('#purchase-rows td.progress').style.getPropertyValue('--share')"
    assert abs(float((await tab.value(bar)).removesuffix("%")) - 68.67) < 0.01
    decisions = await rows(tab, "decision-rows")
    assert [row[0] for row in decisions[:3]] == ["13:24:31", "13:24:22", "13:24:13"]
    assert decisions[0][1:5] == ["following", "180.5 kW", "182.4 kW", "3"]
    assert decisions[0][5] == site.decisions[0].because.words


async def test_delivery_says_what_waits_and_when_the_pool_last_had_something(
    server: StatusServer, tab
) -> None:
    await tab.show(server.url, WHOLE)
    told = (await tab.text("delivery")).replace("\u202f", " ").replace("\xa0", " ").split("\n")
    facts = dict(zip(told[::2], told[1::2], strict=True))
    assert facts["Broker"] == "connected"
    assert facts["Waiting"] == "23"
    assert facts["Last receipt"] == "13:24:27 (3.4 s)"
    assert facts["Cosigned by the pool"] == "1 482 090"


async def test_an_alarm_says_since_when_how_often_why_and_what_to_do(
    server: StatusServer, tab
) -> None:
    await tab.show(server.url, WHOLE)
    listed = "[...document.querySelectorAll('#alarm-list li')].map((item) => item.innerText)"
    items = await tab.value(listed)
    assert len(items) == 2
    for item, code, since in (
        (items[0], "RELAY_TEST", "since 2026-11-25 13:24, seen 1×, relay-1"),
        (items[1], "MINER_UNREACHABLE", "since 13:23, seen 14×, r2-s02, r4-s03"),
    ):
        text = ALARMS[code]["en"]
        for words in (text.text, text.remedy, f"Cause: {text.cause}", since):
            assert words in item


@pytest.mark.parametrize("blocked", ["stream", "status"])
async def test_news_come_by_the_stream_or_where_there_is_none_by_asking(
    server: StatusServer, source, site: SiteView, tab, blocked: str
) -> None:
    await tab.do("Network.enable")
    await tab.do("Network.setBlockedURLs", urls=[f"*/api/v1/{blocked}"])
    await tab.show(server.url, f"{WHOLE} && {POWER % '180.5'}")
    for number, power_w in enumerate((150_000.0, 120_000.0), start=1):
        news = {"power_w": power_w, "at_ms": site.status.at_ms + number * 1000}
        source.current = site.model_copy(update={"status": site.status.model_copy(update=news)})
        await tab.until(POWER % f"{power_w / 1000:.1f}")
    assert (await tab.text("data-age")).startswith("data ")
    asked = "performance.getEntriesByType('resource').filter((e) => e.responseStatus === 200)"
    names = await tab.value(f"{asked}.map((e) => e.name.split('/').pop())")
    assert blocked not in names
    assert "meters" in names


async def test_something_is_to_be_seen_before_any_script_has_come(
    server: StatusServer, tab
) -> None:
    """The browser is given no script at all, and paints the page's head all the same."""
    await tab.do("Fetch.enable", patterns=[{"urlPattern": "*.js"}])
    await tab.show(server.url, f"{PAINTS}.length > 0")
    assert "kwota" in await tab.value("document.body.innerText")
    assert await tab.value("document.readyState") != "complete"  # the scripts are still held back
    await tab.do("Fetch.disable")
    await tab.until(WHOLE)


async def test_the_page_is_there_with_its_figures_within_300_ms_of_the_processor(
    server: StatusServer, tab
) -> None:
    """Over a network as slow as a hall's; processor time, since the check runs much at once."""
    await tab.do("Network.enable")
    lan = {"latency": 5, "downloadThroughput": 1_250_000, "uploadThroughput": 1_250_000}
    await tab.do("Network.emulateNetworkConditions", offline=False, **lan)

    async def open_it() -> None:
        await tab.show(server.url, f"{PAINTS}.length > 0 && {POWER % '180.5'}")

    assert 0 < sum(await tab.tasks_ms(open_it)) < FIRST_PAINT_MS
