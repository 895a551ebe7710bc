"""Simulated machines with Braiins OS, asked as the vendor's document says."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.faults import FaultKind

PORT = 8080
LOGIN = {"username": "root", "password": "farm-pass"}

Ask = Callable[..., Awaitable[tuple[int, Any]]]


@pytest_asyncio.fixture
async def ask(open_site: Any) -> AsyncIterator[Any]:
    """Opens a farm of two machines; gives it with a function that asks one of them."""
    async with AsyncExitStack() as stack:

        async def open_it(**table: Any) -> Any:
            site = await open_site(
                addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "web_port": PORT},
                braiins=table,
                machines=[
                    {"family": "braiins", "model": "s19-xp", "count": 1},
                    {"family": "braiins", "model": "s19k-pro", "count": 1, "profile": "80 W%"},
                ],
                spread={"reporting": 0.0, "tolerance": 0.0},
            )
            web = await stack.enter_async_context(aiohttp.ClientSession())

            async def send(
                method: str, path: str, body: Any = None, *, token: str = "", index: int = 0
            ) -> tuple[int, Any]:
                url = f"http://{site.address(index)}:{PORT}{path}"
                data = body if isinstance(body, bytes) or body is None else json.dumps(body)
                headers = {"Authorization": token} if token else {}
                async with web.request(method, url, data=data, headers=headers) as reply:
                    text = await reply.text()
                    is_json = reply.content_type == "application/json"
                    return reply.status, json.loads(text) if is_json else text

            return site, send

        yield open_it


async def token_of(send: Ask, index: int = 0) -> str:
    status, answer = await send("POST", "/api/v1/auth/login", LOGIN, index=index)
    assert status == 200
    token: str = answer["token"]
    return token


async def test_a_login_gives_a_token_that_stands_alone_in_its_header(ask: Any) -> None:
    _, send = await ask()
    token = await token_of(send)
    assert (await send("GET", "/api/v1/miner/details"))[0] == 401
    assert (await send("GET", "/api/v1/miner/details", token=f"Bearer {token}"))[0] == 401
    status, details = await send("GET", "/api/v1/miner/details", token=token)
    assert (status, details["status"]) == (200, 2)
    assert (await send("GET", "/api/v1/version/"))[1] == {"major": 1, "minor": 0, "patch": 0}
    # A token of one machine is nothing to another.
    assert (await send("GET", "/api/v1/miner/details", token=token, index=1))[0] == 401


async def test_each_use_renews_a_token_and_idleness_ends_it(ask: Any) -> None:
    _, send = await ask(token_s=0.4)
    token = await token_of(send)
    for _ in range(4):
        await asyncio.sleep(0.2)
        assert (await send("GET", "/api/v1/network/", token=token))[0] == 200
    await asyncio.sleep(0.5)
    assert (await send("GET", "/api/v1/network/", token=token))[0] == 401


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"username": "root", "password": "root"}, 401),
        ({"username": "admin", "password": "farm-pass"}, 401),
        ({"username": "root", "password": None}, 401),
        ([], 401),
        (b"{", 400),
        (b"[" * 20_000, 400),
    ],
)
async def test_a_wrong_login_gets_no_token(ask: Any, body: Any, status: int) -> None:
    _, send = await ask()
    assert (await send("POST", "/api/v1/auth/login", body))[0] == status


async def test_reads_have_every_key_of_the_recordings(ask: Any) -> None:
    folder = Path(__file__).parents[2].parent / "shared" / "captures" / "braiins-25.07"
    if not folder.is_dir():
        pytest.skip(f"NOT TESTED: the recordings of real devices are not at {folder}")
    _, send = await ask()
    token = await token_of(send)
    pages = {
        "configuration_miner": "configuration/miner",
        "cooling_state": "cooling/state",
        "miner_details": "miner/details",
        "miner_errors": "miner/errors",
        "miner_hw_hashboards": "miner/hw/hashboards",
        "miner_stats": "miner/stats",
        "network": "network",
        "performance_tuner_state": "performance/tuner-state",
        "pools": "pools",
        "version": "version",
    }
    for name, path in pages.items():
        recorded = json.loads((folder / f"{name}.json").read_text("utf-8"))
        status, told = await send("GET", f"/api/v1/{path}", token=token)
        assert status == 200
        missing = shape(recorded) - shape(told)
        assert not {one for one in missing if not one.startswith("/errors/")}, name


def shape(value: Any, path: str = "") -> set[str]:
    """Every path of a document, the members of a list as one."""
    if isinstance(value, dict):
        return {path}.union(*(shape(inner, f"{path}/{key}") for key, inner in value.items()))
    if isinstance(value, list):
        return {path}.union(*(shape(inner, f"{path}/") for inner in value))
    return {path}


async def test_values_are_the_plants(ask: Any) -> None:
    site, send = await ask(first_board=6)
    token = await token_of(send, 1)
    machine = site.farm.plant.machines[1]
    _, stats = await send("GET", "/api/v1/miner/stats", token=token, index=1)
    watts = stats["power_stats"]["approximated_consumption"]["watt"]
    assert watts == round(machine.watts.value(site.farm.clock.now_s())) == 2208
    ghs = stats["miner_stats"]["real_hashrate"]["last_5s"]["gigahash_per_second"]
    assert ghs == pytest.approx(0.84 * 120_000)
    _, boards = await send("GET", "/api/v1/miner/hw/hashboards", token=token, index=1)
    assert [board["id"] for board in boards["hashboards"]] == ["6", "7", "8"]
    assert boards["hashboards"][0]["chips_count"] == 77
    _, limits = await send("GET", "/api/v1/configuration/constraints", token=token, index=1)
    assert limits["tuner_constraints"]["power_target"] == {
        "min": {"watt": 1656},
        "default": {"watt": 2760},
        "max": {"watt": 2760},
    }


async def test_a_target_between_two_points_is_a_point_of_this_machine_alone(ask: Any) -> None:
    site, send = await ask()
    token = await token_of(send)
    machine, other = site.farm.plant.machines
    machine.timings = replace(machine.timings, profile_down_s=0.1, profile_up_s=0.1)
    known = len(other.model.profiles)
    path = "/api/v1/performance/power-target"
    for watts in (2900, 2000, 2900, 3010):
        assert await send("PUT", path, {"watt": watts}, token=token) == (200, {"watt": watts})
        await asyncio.sleep(0.15)
        assert machine.watts.value(site.farm.clock.now_s()) == pytest.approx(watts)
        _, state = await send("GET", "/api/v1/performance/tuner-state", token=token)
        told = state["mode_state"]["powertargetmodestate"]
        assert (told["current_target"], state["overall_tuner_state"]) == ({"watt": watts}, 2)
    assert machine.point.step == 0
    assert len(other.model.profiles) == known
    assert len(machine.model.profiles) == known + 2
    assert [p.watts for p in machine.model.profiles] == sorted(
        p.watts for p in machine.model.profiles
    )


REFUSED: list[tuple[str, str, Any, int]] = [
    ("PUT", "performance/power-target", {"watt": 1805}, 412),
    ("PUT", "performance/power-target", {"watt": 3011}, 412),
    ("PUT", "performance/power-target", {"watt": True}, 422),
    ("PUT", "performance/power-target", {"watt": 2000.5}, 422),
    ("PUT", "performance/power-target", {}, 422),
    ("PUT", "performance/power-target", None, 422),
    ("PUT", "performance/power-target", b"{", 400),
    ("PATCH", "performance/power-target", {"watt": 2000}, 405),
    ("PATCH", "performance/power-target/increment", {"watt": 100}, 404),
    ("PATCH", "miner/hw/hashboards", {"enable": False, "hashboard_ids": ["4"]}, 412),
    ("PATCH", "miner/hw/hashboards", {"enable": False, "hashboard_ids": [1]}, 412),
    ("PATCH", "miner/hw/hashboards", {"enable": False, "hashboard_ids": []}, 412),
    ("PATCH", "miner/hw/hashboards", {"enable": "no", "hashboard_ids": ["1"]}, 422),
    ("PUT", "performance/quick-ramping", {"up_s": 0, "down_s": 2}, 412),
    ("PUT", "actions/locate", {"on": True}, 422),
    ("GET", "actions/pause", None, 405),
    ("DELETE", "miner/stats", None, 405),
    ("GET", "miner/nothing", None, 404),
    ("GET", "auth/login", None, 405),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), REFUSED)
async def test_what_is_wrong_has_its_status_and_changes_nothing(
    ask: Any, method: str, path: str, body: Any, status: int
) -> None:
    site, send = await ask()
    token = await token_of(send)
    machine = site.farm.plant.machines[0]
    assert (await send(method, f"/api/v1/{path}", body, token=token))[0] == status
    assert (machine.point.watts, machine.is_awake) == (3010, True)
    assert all(board.is_enabled for board in machine.boards)


async def test_pause_and_resume_say_whether_it_was_so_already(ask: Any) -> None:
    site, send = await ask(pause_s=1, resume_s=3)
    token = await token_of(send)
    machine = site.farm.plant.machines[0]
    assert (machine.timings.sleep_s, machine.timings.wake_s) == (1.0, 3.0)
    answers = [
        (await send("PUT", f"/api/v1/actions/{verb}", token=token))[1]
        for verb in ("resume", "pause", "pause", "resume")
    ]
    assert answers == [True, False, True, False]
    ramps = {"up_s": 5, "down_s": 2}
    told = await send("PUT", "/api/v1/performance/quick-ramping", ramps, token=token)
    assert told == (200, ramps)
    assert (machine.timings.sleep_s, machine.timings.wake_s) == (2.0, 5.0)


async def test_a_stopped_mining_program_answers_412_until_it_is_started(ask: Any) -> None:
    _, send = await ask()
    token = await token_of(send)
    assert (await send("PUT", "/api/v1/actions/stop", token=token))[1] is False
    for method, path in (("GET", "miner/stats"), ("PUT", "actions/pause")):
        status, words = await send(method, f"/api/v1/{path}", token=token)
        assert (status, words) == (412, "BOSminer is not running")
    assert (await send("GET", "/api/v1/miner/details", token=token))[1]["status"] == 1
    assert (await send("PUT", "/api/v1/actions/start", token=token))[1] is False
    assert (await send("PUT", "/api/v1/actions/restart", token=token))[1] is True
    assert (await send("GET", "/api/v1/miner/details", token=token))[1]["status"] == 2
    assert await send("PUT", "/api/v1/actions/locate", True, token=token) == (200, True)
    assert await send("GET", "/api/v1/actions/locate", token=token) == (200, True)


async def test_a_reboot_keeps_the_target_and_cuts_whoever_asks(ask: Any) -> None:
    site, send = await ask()
    token = await token_of(send)
    machine = site.farm.plant.machines[0]
    machine.timings = replace(machine.timings, reboot_s=0.3)
    await send("PUT", "/api/v1/performance/power-target", {"watt": 2000}, token=token)
    assert (await send("PUT", "/api/v1/actions/reboot", token=token))[0] == 204
    with pytest.raises(aiohttp.ClientError):
        await send("GET", "/api/v1/version/")
    await asyncio.sleep(0.4)
    assert (await send("GET", "/api/v1/version/"))[0] == 200
    assert machine.point.watts == 2000


async def test_a_machine_that_ignores_says_yes_and_stays_as_it_is(ask: Any) -> None:
    site, send = await ask()
    token = await token_of(send)
    site.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    off = {"enable": False, "hashboard_ids": ["1", "3"]}
    status, told = await send("PATCH", "/api/v1/miner/hw/hashboards", off, token=token)
    assert (status, told["hashboards"][1]) == (200, {"id": "3", "is_enabled": False})
    await send("PUT", "/api/v1/performance/power-target", {"watt": 2000}, token=token)
    machine = site.farm.plant.machines[0]
    assert machine.point.watts == 3010
    assert all(board.is_enabled for board in machine.boards)


async def test_an_old_firmware_has_a_page_and_graphql_and_no_rest(ask: Any) -> None:
    _, send = await ask(firmware="25.05.1")
    assert (await send("POST", "/api/v1/auth/login", LOGIN))[0] == 405
    for path in ("/", "/api/v1/version/", "/dashboard"):
        status, page = await send("GET", path)
        assert (status, "Braiins OS" in page) == (200, True)
    query = {"query": "{ bos { info { version { full } } } }"}
    _, told = await send("POST", "/graphql", query)
    assert told["data"]["bos"]["info"]["version"]["full"].endswith("-25.05.1-plus")
    assert (await send("POST", "/graphql", {}))[1]["data"] is None
    assert "Braiins OS" in (await send("GET", "/graphql"))[1]


async def test_older_reads_answer_on_4028_alone_and_joined(ask: Any) -> None:
    site, _ = await ask()
    version = await site.ask(0, "version")
    assert version["VERSION"][0]["BOSer"].startswith("boser")
    joined = await site.ask(0, "summary+devs+pools+devdetails+tunerstatus")
    assert joined["summary"][0]["SUMMARY"][0]["MHS 1m"] == pytest.approx(140e6)
    assert joined["devdetails"][0]["DEVDETAILS"][0]["Model"] == "Antminer S19 XP"
    assert joined["tunerstatus"][0]["TUNERSTATUS"][0]["PowerLimit"] == 3010
    assert (await site.ask(0, "quit"))["STATUS"][0]["STATUS"] == "E"
    for broken in (b"{", b"[]", b"x" * 5000):
        assert b'"STATUS": "E"' in await site.raw(0, broken, has_eof=True)
    site.farm.switch_fault(FaultKind.MINER_SILENT, [0], is_active=True, value=None)
    assert site.network.dialects["braiins"].older.reply(0, b'{"command":"version"}') is None


async def test_without_older_reads_nothing_listens_on_4028(ask: Any) -> None:
    site, _ = await ask(has_older_reads=False)
    with pytest.raises(ConnectionRefusedError):
        await site.ask(0, "version")
