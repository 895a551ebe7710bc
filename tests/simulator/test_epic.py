"""Simulated machines with ePIC's PowerPlay as a caller without our driver sees them."""

import asyncio
import json
import os
from typing import Any

import pytest

from simulator.farm_file import FarmFileError, load_farm_file

NET = f"127.{192 + os.getpid() % 60}.0.0"
OFF = {"param": [{"Index": 1, "Data": False}], "password": "letmein"}


@pytest.fixture
def open_epic(open_site):
    """An S19 XP beside a LuxOS machine; the arguments are the [epic] table."""

    async def make(**table: Any) -> Any:
        return await open_site(
            addresses={"base": NET, "web_port": 8080},
            epic=table,
            machines=[
                {"family": "epic", "model": "s19-xp", "count": 1},
                {"model": "s21", "count": 1},
            ],
        )

    return make


async def ask(site: Any, path: str, body: Any = None, *, port: int = 4028) -> tuple[int, bytes]:
    """One HTTP request on a connection of its own: status and body."""
    told = body if isinstance(body, bytes) else json.dumps(body).encode()
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
    length = "" if body is None else f"Content-Length: {len(told)}\r\n"
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(site.address(0), port)
        writer.write(f"{head}{length}\r\n".encode() + (b"" if body is None else told))
        reply = await reader.read()
        writer.close()
    answer_head, _, answer = reply.partition(b"\r\n\r\n")
    return int(answer_head.split(b" ", 2)[1]), answer


async def told(site: Any, path: str, body: Any = None) -> Any:
    status, answer = await ask(site, path, body)
    assert status == 200
    return json.loads(answer)


async def test_reads_are_open_and_have_the_vendors_keys(open_epic) -> None:
    site = await open_epic()
    summary = await told(site, "/summary")
    assert summary["Status"]["Operating State"] == "Mining"
    assert summary["Software"] == "PowerPlay-BM v1.30.0"
    assert [row["Index"] for row in summary["HBs"]] == [0, 1, 2]
    machine = site.farm.plant.machines[0]
    assert sum(row["Hashrate"][0] for row in summary["HBs"]) == pytest.approx(140e6)
    watts = summary["Power Supply Stats"]["Input Power"]
    assert watts == pytest.approx(machine.reported_w(site.farm.clock.now_s()))
    capabilities = await told(site, "/capabilities")
    assert (capabilities["Max HBs"], capabilities["Default Hashrate"]) == (3, 140)
    assert (await told(site, "/network"))["dhcp"]["mac_address"] == site.farm.labels[0].mac
    for path in ("/temps", "/temps/chip", "/voltages", "/clocks", "/hashrate"):
        assert [row["Index"] for row in await told(site, path)] == [0, 1, 2]


async def test_the_page_names_the_dashboard(open_epic) -> None:
    site = await open_epic()
    status, page = await ask(site, "/", port=8080)
    assert (status, b"Miner Web Dashboard" in page) == (200, True)
    assert (await ask(site, "/summary", port=8080))[0] == 404


async def test_a_board_off_takes_its_share_of_the_watts(open_epic) -> None:
    site = await open_epic()
    before_w = site.farm.plant.machines[0].watts.final
    assert await told(site, "/boardenable", OFF) == {"result": True, "error": None}
    machine = site.farm.plant.machines[0]
    assert machine.watts.final == pytest.approx(80 + (before_w - 80) * 2 / 3)
    assert [row["Index"] for row in (await told(site, "/summary"))["HBs"]] == [0, 2]
    assert [row["Enabled"] for row in (await told(site, "/summary"))["HBStatus"]] == [
        True,
        False,
        True,
    ]


async def test_stop_empties_the_list_of_boards_and_autostart_fills_it(open_epic) -> None:
    site = await open_epic()
    assert (await told(site, "/miner", {"param": "Stop", "password": "letmein"}))["result"]
    summary = await told(site, "/summary")
    assert (summary["Status"]["Operating State"], summary["HBs"]) == ("Stopping", [])
    assert (await told(site, "/miner", {"param": "Autostart", "password": "letmein"}))["result"]
    assert (await told(site, "/summary"))["Status"]["Operating State"] in ("Initializing", "Mining")


REFUSED = [
    ("/miner", {"param": "Stop", "password": "wrong"}, "BadPassword"),
    ("/miner", {"param": "Stop"}, "BadPassword"),
    ("/miner", {"password": "letmein"}, "MissingParam"),
    ("/miner", b"{", "MissingParam"),
    ("/miner", b"[" * 5000, "MissingParam"),
    ("/boardenable", {"param": [], "password": "letmein"}, "MissingParam"),
    ("/boardenable", {"param": [{"Index": "1", "Data": 0}], "password": "letmein"}, "MissingParam"),
    ("/boardenable", {"param": [1], "password": "letmein"}, "MissingParam"),
    (
        "/boardenable",
        {"param": [{"Index": 3, "Data": False}], "password": "letmein"},
        {"InvalidHashboardIndex": [3]},
    ),
]


@pytest.mark.parametrize(("path", "body", "error"), REFUSED)
async def test_a_refusal_names_its_reason_and_changes_nothing(
    open_epic, path: str, body: Any, error: Any
) -> None:
    site = await open_epic()
    assert await told(site, path, body) == {"result": False, "error": error}
    machine = site.farm.plant.machines[0]
    assert machine.is_awake
    assert machine.counters.commands == 0


async def test_what_it_does_not_know_is_not_found(open_epic) -> None:
    site = await open_epic()
    assert (await ask(site, "/perpetualtune", {"param": True, "password": "letmein"}))[0] == 404
    assert (await ask(site, "/nothing"))[0] == 404


async def test_a_reboot_brings_every_board_back(open_epic) -> None:
    site = await open_epic()
    await told(site, "/boardenable", OFF)
    await told(site, "/reboot", {"param": "0", "password": "letmein"})
    assert all(board.is_enabled for board in site.farm.plant.machines[0].boards)
    with pytest.raises((ConnectionError, IndexError)):
        await ask(site, "/summary")


def test_an_unknown_key_of_its_table_is_named(tmp_path) -> None:
    path = tmp_path / "farm.toml"
    path.write_text(
        '[epic]\nversion = "0.9"\npasword = "x"\n'
        '[[machines]]\nmodel = "s21"\ncount = 1\n[[meters]]\nid = "site"\nserial = 1\n'
    )
    with pytest.raises(FarmFileError, match=r"(?s)epic\.version.*epic\.pasword: unknown key"):
        load_farm_file(path)
