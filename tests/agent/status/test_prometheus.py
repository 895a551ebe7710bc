"""A real Prometheus scrapes a real endpoint: an alert fires, and every panel has its numbers."""

import asyncio
import contextlib
import json
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from ports import free_port

from agent.status.server import Proof, StatusServer, open_status_server
from agent.status.view import SiteView

RULES = Path(__file__).parents[3] / "config" / "prometheus" / "kwota.rules.yml"
DASHBOARD = RULES.parents[1] / "grafana" / "kwota.json"
PROMETHEUS = shutil.which("prometheus")
TOKEN = "0123456789abcdef0123456789abcdef"
WAIT_S = 15.0

pytestmark = pytest.mark.skipif(
    PROMETHEUS is None, reason="NOT TESTED: prometheus is not installed (Debian: prometheus)"
)


@contextlib.asynccontextmanager
async def scraping(directory: Path, server: StatusServer) -> AsyncIterator[str]:
    """A Prometheus that scrapes the server; its own address."""
    assert PROMETHEUS is not None
    port = free_port()
    (directory / "token").write_text(TOKEN)
    config = directory / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}\n"
        f"rule_files: ['{RULES}']\n"
        "scrape_configs:\n"
        "  - job_name: kwota\n"
        f"    authorization: {{credentials_file: '{directory / 'token'}'}}\n"
        f"    static_configs: [{{targets: ['127.0.0.1:{server.port}']}}]\n"
    )
    with (directory / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            PROMETHEUS,
            f"--config.file={config}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
            stdout=log,
            stderr=log,
        )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.terminate()
        await process.wait()


async def asked(
    session: aiohttp.ClientSession, url: str, query: dict[str, str] | None = None
) -> dict[str, Any]:
    """What Prometheus says; empty while it does not answer yet."""
    try:
        async with session.get(url, params=query) as answer:
            said: dict[str, Any] = (await answer.json())["data"] if answer.status == 200 else {}
            return said
    except aiohttp.ClientConnectionError:
        return {}


async def firing(session: aiohttp.ClientSession, address: str) -> set[str]:
    said = await asked(session, f"{address}/api/v1/alerts")
    alerts = said.get("alerts", [])
    return {one["labels"]["alertname"] for one in alerts if one["state"] == "firing"}


async def test_an_alert_fires_when_more_is_used_than_was_bought_and_ends_with_it(
    source, site: SiteView, tmp_path: Path
) -> None:
    proof = Proof(token=TOKEN.encode())
    async with (
        asyncio.timeout(WAIT_S),
        open_status_server(source, "127.0.0.1", 0, proof=proof) as server,
        scraping(tmp_path, server) as address,
        aiohttp.ClientSession() as session,
    ):
        url = f"{address}/api/v1/query?query=kwota_site_power_watts"

        async def is_scraped() -> bool:
            return bool((await asked(session, url)).get("result"))

        async def is_firing() -> bool:
            return "KwotaOver" in await firing(session, address)

        await becomes(is_scraped, is_wanted=True)
        (sample,) = (await asked(session, url))["result"]
        assert float(sample["value"][1]) == site.status.power_w
        assert not await is_firing()
        over = site.status.model_copy(update={"over_wh": 120})
        source.current = site.model_copy(update={"status": over})
        await becomes(is_firing, is_wanted=True)
        source.current = site
        await becomes(is_firing, is_wanted=False)


async def test_every_rule_is_sound_and_every_panel_of_the_dashboard_has_its_numbers(
    source, tmp_path: Path
) -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    expressions = {target["expr"] for panel in panels for target in panel["targets"]}
    left = {one.replace("$instance", ".+") for one in expressions}
    proof = Proof(token=TOKEN.encode())
    async with (
        asyncio.timeout(WAIT_S),
        open_status_server(source, "127.0.0.1", 0, proof=proof) as server,
        scraping(tmp_path, server) as address,
        aiohttp.ClientSession() as session,
    ):

        async def are_all_drawn() -> bool:
            for one in sorted(left):
                asking = {"query": one}
                if (await asked(session, f"{address}/api/v1/query", asking)).get("result"):
                    left.discard(one)
            return not left

        async def are_all_judged() -> bool:
            (group,) = (await asked(session, f"{address}/api/v1/rules")).get("groups", [{}])
            return {rule["health"] for rule in group.get("rules", [])} == {"ok"}

        await becomes(are_all_drawn, is_wanted=True)
        await becomes(are_all_judged, is_wanted=True)


async def becomes(ask: Callable[[], Awaitable[bool]], *, is_wanted: bool) -> None:
    for _ in range(int(WAIT_S / 0.1)):
        if await ask() is is_wanted:
            return
        await asyncio.sleep(0.1)
    pytest.fail("it did not come about in time")
