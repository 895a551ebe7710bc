"""Simulated Bitaxes and NerdQAxes as a caller without our driver sees them."""

import asyncio
import json
import os
from typing import Any

import pytest

NET = f"127.{192 + os.getpid() % 60}.0.0"
PORT = 8080
GAMMA, NERD = 0, 1


@pytest.fixture
def open_axes(open_site):
    """A Gamma and a NerdQAxe++; the arguments are the [bitaxe] table."""

    async def make(**table: Any) -> Any:
        return await open_site(
            addresses={"base": NET, "web_port": PORT},
            bitaxe=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
            machines=[
                {"family": "bitaxe", "model": "gamma", "count": 1},
                {"family": "bitaxe", "model": "nerdqaxe", "count": 1},
            ],
        )

    return make


async def ask(site: Any, index: int, line: str, body: bytes = b"") -> tuple[int, bytes, bytes]:
    """One HTTP request on a connection of its own: status, head and body."""
    head = f"{line} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
    async with asyncio.timeout(5.0):
        reader, writer = await asyncio.open_connection(site.address(index), PORT)
        writer.write(head.encode() + body)
        answer_head = await reader.readuntil(b"\r\n\r\n")
        size = int(answer_head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        answer = await reader.readexactly(size)
        writer.close()
    return int(answer_head.split(b" ", 2)[1]), answer_head, answer


async def info(site: Any, index: int) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((await ask(site, index, "GET /api/system/info"))[2])
    return told


async def test_info_has_the_firmwares_keys_and_the_plants_values(open_axes) -> None:
    site = await open_axes()
    told = await info(site, GAMMA)
    assert (told["ASICModel"], told["version"], told["miningPaused"]) == (
        "BM1370",
        "v2.14.0",
        False,
    )
    assert told["macAddr"] == site.farm.labels[GAMMA].mac.upper()
    assert (told["hashRate"], told["power"]) == (pytest.approx(1200.0), pytest.approx(18.0))
    assert (told["frequency"], told["coreVoltage"]) == (525, 1150)
    nerd = await info(site, NERD)
    assert (nerd["deviceModel"], nerd["asicCount"], nerd["otp"]) == ("NerdQAxe++", 4, False)
    assert (nerd["hashRate"], nerd["power"]) == (pytest.approx(4800.0), pytest.approx(76.0))
    assert "miningPaused" not in nerd


async def test_the_chips_page_offers_more_than_stock_and_only_a_nerdqaxe_an_eco_point(
    open_axes,
) -> None:
    site = await open_axes()
    told = json.loads((await ask(site, GAMMA, "GET /api/system/asic"))[2])
    assert told["defaultFrequency"] == 525
    assert max(told["frequencyOptions"]) > 525
    assert "ecoFrequency" not in told
    nerd = json.loads((await ask(site, NERD, "GET /api/system/asic"))[2])
    assert (nerd["ecoFrequency"], nerd["ecoVoltage"]) == (450, 1060)


async def test_pages_are_told_apart_and_a_nerdqaxe_closes_after_each_answer(open_axes) -> None:
    site = await open_axes()
    _, head, page = await ask(site, GAMMA, "GET /")
    assert b"AxeOS" in page
    assert b"connection: close" not in head.lower()
    _, head, page = await ask(site, NERD, "GET /")
    assert b"Nerd" in page
    assert b"AxeOS" not in page
    assert b"connection: close" in head.lower()


async def test_settings_are_taken_and_the_plant_follows(open_axes) -> None:
    site = await open_axes()
    body = b'{"frequency": 400, "coreVoltage": 1100, "hostname": "x"}'
    assert (await ask(site, GAMMA, "PATCH /api/system", body))[::2] == (200, b"")
    assert site.farm.plant.machines[GAMMA].point.name == "400MHz"
    told = await info(site, GAMMA)
    assert (told["frequency"], told["coreVoltage"]) == (400, 1100)


@pytest.mark.parametrize(
    "body", [b"{", b'{"frequency": "400"}', b'{"coreVoltage": 0}', b"[" * 5000]
)
async def test_settings_that_are_none_are_a_bad_request(open_axes, body: bytes) -> None:
    site = await open_axes()
    assert (await ask(site, GAMMA, "PATCH /api/system", body))[0] == 400
    assert site.farm.plant.machines[GAMMA].counters.commands == 0


async def test_pause_and_resume_need_the_firmware(open_axes) -> None:
    site = await open_axes()
    assert (await ask(site, GAMMA, "POST /api/system/pause"))[0] == 200
    assert not site.farm.plant.machines[GAMMA].is_awake
    assert (await info(site, GAMMA))["miningPaused"] is True
    assert (await ask(site, GAMMA, "POST /api/system/resume"))[0] == 200
    assert site.farm.plant.machines[GAMMA].is_awake
    assert (await ask(site, NERD, "POST /api/system/pause"))[0] == 404
    older = await open_axes_again(site, open_axes)
    assert (await ask(older, GAMMA, "POST /api/system/pause"))[0] == 404
    assert "miningPaused" not in await info(older, GAMMA)


async def open_axes_again(site: Any, open_axes: Any) -> Any:
    """The same addresses once more, with firmware from before pauses."""
    await site.network.close()
    return await open_axes(version="v2.9.0")


async def test_a_shutdown_is_ended_by_a_restart_only(open_axes) -> None:
    site = await open_axes()
    assert (await ask(site, NERD, "POST /api/system/shutdown"))[0] == 200
    assert (await info(site, NERD))["shutdown"] is True
    assert not site.farm.plant.machines[NERD].is_awake
    assert (await ask(site, NERD, "POST /api/system/resume"))[0] == 404
    assert (await ask(site, NERD, "POST /api/system/restart"))[0] == 200
    assert site.farm.plant.machines[NERD].is_awake
    assert (await ask(site, GAMMA, "POST /api/system/shutdown"))[0] == 404


async def test_callers_from_elsewhere_and_without_a_one_time_password_are_turned_away(
    open_axes,
) -> None:
    site = await open_axes(is_private=False)
    assert (await ask(site, GAMMA, "GET /api/system/info"))[0] == 401
    await site.network.close()
    site = await open_axes(has_otp=True)
    body = b'{"frequency": 400}'
    assert (await ask(site, NERD, "PATCH /api/system", body))[::2] == (401, b"OTP/Session required")
    assert (await ask(site, GAMMA, "PATCH /api/system", body))[0] == 200


async def test_firmware_from_before_describes_no_chips_and_unknown_paths_are_json(
    open_axes,
) -> None:
    site = await open_axes(version="v2.6.0")
    status, _, body = await ask(site, GAMMA, "GET /api/system/asic")
    assert (status, json.loads(body)) == (404, {"error": "unknown route"})
    assert (await ask(site, GAMMA, "GET /api/nothing"))[0] == 404
    assert (await ask(site, GAMMA, "DELETE /api/system"))[0] == 404
