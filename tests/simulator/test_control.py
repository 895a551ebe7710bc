"""The control API: truth and faults over HTTP."""

import asyncio
import time

import aiohttp
import pytest
from aiohttp import web

from simulator.control import Control


@pytest.fixture
async def api(open_site):
    """A site, and a function that asks its control API."""
    site = await open_site()
    control = Control(site.farm, site.network, None)
    runner = web.AppRunner(control.application(), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    base = f"http://127.0.0.1:{runner.addresses[0][1]}"
    async with aiohttp.ClientSession() as session:

        async def ask(method, path, body=None, *, text=None):
            async with session.request(method, base + path, json=body, data=text) as reply:
                return reply.status, await reply.json()

        yield site, ask
    await runner.cleanup()


async def test_the_farm_document_says_where_everything_is(api) -> None:
    site, ask = api
    status, document = await ask("GET", "/v1/farm")
    assert status == 200
    assert [row["model"] for row in document["machines"]][-1] == "Antminer S21"
    assert document["machines"][0]["mac"] == site.farm.labels[0].mac
    assert document["meters"][0]["address"] == f"127.0.0.1:{site.meter_port}"
    assert document["pool"] is None


async def test_truth_adds_up(api) -> None:
    _site, ask = api
    await asyncio.sleep(0.1)
    _, truth = await ask("GET", "/v1/truth")
    assert truth["power_w"] == pytest.approx(truth["machines_power_w"] + truth["base_load_w"])
    span_s = (truth["at_ms"] - truth["started_at_ms"]) / 1000.0
    assert truth["energy_wh"] == pytest.approx(truth["power_w"] * span_s / 3600.0, rel=0.05)
    assert (truth["board_switches"], truth["mining_restarts"], truth["commands"]) == (0, 0, 0)


async def test_energy_at_an_instant_may_lie_up_to_the_present(api) -> None:
    site, ask = api
    await asyncio.sleep(0.2)
    now_ms = time.time_ns() // 1_000_000
    status, now = await ask("GET", f"/v1/truth/energy?at_ms={now_ms}")
    _, before = await ask("GET", f"/v1/truth/energy?at_ms={now_ms - 100}")
    assert status == 200
    expected_wh = site.farm.plant.power_w * 0.1 / 3600.0
    assert now["energy_wh"] - before["energy_wh"] == pytest.approx(expected_wh, rel=0.02)
    status, refused = await ask("GET", f"/v1/truth/energy?at_ms={now_ms + 60_000}")
    assert status == 404
    assert "future" in refused["error"]
    assert (await ask("GET", "/v1/truth/energy?at_ms=soon"))[0] == 400


async def test_truth_of_machines_follows_a_command(api) -> None:
    site, ask = api
    await site.order(0, "disableboard", "2")
    await asyncio.sleep(0.15)
    _, document = await ask("GET", "/v1/truth/machines")
    first = document["machines"][0]
    assert first["boards_on"] == [0, 1]
    assert first["power_w"] == pytest.approx(1890, rel=0.03)
    assert (first["board_switches"], first["commands"]) == (1, 1)
    assert first["energy_wh"] > 0


async def test_faults_are_switched_listed_and_cleared(api) -> None:
    site, ask = api
    status, document = await ask("POST", "/v1/faults", {"kind": "miner_gone", "target": [1]})
    assert (status, document["active"]) == (200, {"miner_gone": [1]})
    with pytest.raises(ConnectionRefusedError):
        await site.ask(1, "version")
    await ask("POST", "/v1/faults", {"kind": "meter_silent"})
    _, document = await ask("GET", "/v1/faults")
    assert document["active"] == {"miner_gone": [1], "meter_silent": [0]}
    await ask("POST", "/v1/faults", {"kind": "meter_silent", "active": False})
    assert (await ask("GET", "/v1/faults"))[1]["active"] == {"miner_gone": [1]}
    assert (await ask("DELETE", "/v1/faults"))[1]["active"] == {}
    assert (await site.ask(1, "version"))["STATUS"][0]["STATUS"] == "S"


async def test_the_base_load_can_be_set_and_comes_back(api) -> None:
    _site, ask = api
    await ask("POST", "/v1/faults", {"kind": "base_load", "value": 50_000})
    _, truth = await ask("GET", "/v1/truth")
    assert truth["base_load_w"] == pytest.approx(50_000, abs=25)
    await ask("POST", "/v1/faults", {"kind": "base_load", "active": False})
    _, truth = await ask("GET", "/v1/truth")
    assert truth["base_load_w"] == pytest.approx(1000, abs=25)


@pytest.mark.parametrize(
    "body",
    [
        {"kind": "earthquake"},
        {"kind": "miner_gone", "target": [99]},
        {"kind": "miner_gone", "target": "share:2"},
        {"kind": "miner_gone", "target": "all"},
        {"kind": "miner_gone", "nonsense": 1},
        {"kind": "base_load"},
        {"kind": "base_load", "value": -1},
    ],
)
async def test_orders_that_mean_nothing_are_refused_with_a_sentence(api, body) -> None:
    _site, ask = api
    status, document = await ask("POST", "/v1/faults", body)
    assert status == 400
    assert document["error"]


async def test_what_is_not_json_and_what_is_not_there_gets_a_sentence(api) -> None:
    _site, ask = api
    assert (await ask("POST", "/v1/faults", text="{"))[0] == 400
    status, document = await ask("GET", "/v1/nothing")
    assert status == 404
    assert "/v1/nothing" in document["error"]
    status, document = await ask("GET", "/v1/pool")
    assert status == 404
    assert "--broker" in document["error"]
