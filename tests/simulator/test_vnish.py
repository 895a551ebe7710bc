"""Simulated VNish machines as a caller without our driver sees them: raw HTTP, raw TCP."""

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from simulator.farm_file import FarmFileError, load_farm_file
from simulator.vnish_reads import uptime

PORT = 8080
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
QUICK |= {"board_on_s": 0.2, "board_off_s": 0.1, "reboot_s": 0.3}
FARMS = Path(__file__).parents[2] / "simulator" / "farms"


class Browser:
    """Asks one machine; ``token`` goes along once there is one."""

    def __init__(self, session: aiohttp.ClientSession, site: Any) -> None:
        self.session, self.site, self.token = session, site, ""

    @property
    def machine(self) -> Any:
        return self.site.farm.plant.machines[0]

    async def ask(
        self, name: str, body: Any = None, *, method: str = "", header: str | None = None
    ) -> tuple[int, Any]:
        headers = {"Authorization": f"Bearer {self.token}" if header is None else header}
        url = f"http://{self.site.address(0)}:{PORT}/{name}"
        verb = method or ("GET" if body is None else "POST")
        payload = body if isinstance(body, bytes) else json.dumps(body).encode()
        asking = self.session.request(verb, url, headers=headers, data=payload if body else None)
        async with asyncio.timeout(5.0), asking as response:
            content = await response.read()
            is_json = response.content_type == "application/json"
            return response.status, json.loads(content) if content and is_json else content

    async def api(self, name: str, body: Any = None, **more: Any) -> tuple[int, Any]:
        return await self.ask(f"api/v1/{name}", body, **more)

    async def tell(self, name: str, body: Any = None) -> tuple[int, Any]:
        return await self.api(name, body, method="POST")

    async def unlock(self, password: str = "farm-pass") -> int:
        status, answer = await self.api("unlock", {"pw": password})
        self.token = answer.get("token", "")
        return status

    async def miner(self) -> Any:
        return (await self.api("summary"))[1]["miner"]


@pytest_asyncio.fixture
async def browse(open_site):
    """A hall of one S21 and a browser with a login; the arguments are the [vnish] table."""
    sessions: list[aiohttp.ClientSession] = []

    async def make(**table: Any) -> Browser:
        site = await open_site(
            addresses={"base": f"127.{128 + os.getpid() % 64}.0.0", "web_port": PORT},
            machines=[{"family": "vnish", "model": "s21", "count": 1}],
            vnish=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        machine = site.farm.plant.machines[0]
        machine.timings = replace(machine.timings, **QUICK)
        sessions.append(aiohttp.ClientSession())
        browser = Browser(sessions[-1], site)
        await browser.unlock()
        return browser

    yield make
    for session in sessions:
        await session.close()


async def test_the_page_and_who_it_is_are_open_to_all(browse) -> None:
    browser = await browse()
    browser.token = ""
    status, page = await browser.ask("")
    assert (status, b"AnthillOS" in page) == (200, True)
    _, info = await browser.api("info")
    assert (info["miner"], info["fw_name"], info["fw_version"]) == (
        "Antminer S21",
        "Vnish",
        "1.3.4",
    )
    label = browser.site.farm.labels[0]
    assert info["system"]["network_status"]["mac"] == label.mac.upper()
    _, model = await browser.api("model")
    assert model["chain"]["num_chains"] == 3
    _, factory = await browser.api("chains/factory-info")
    assert tuple(chain["serial"] for chain in factory["chains"]) == label.board_serials
    _, chains = await browser.api("chains")
    assert [(chain["id"], len(chain["chips"])) for chain in chains] == [
        (1, 108),
        (2, 108),
        (3, 108),
    ]
    for name in ("settings", "autotune/presets"):
        assert (await browser.api(name))[0] == 401
    for name in ("mining/pause", "settings"):
        assert (await browser.tell(name))[0] == 401
    assert (await browser.api("nothing"))[0] == 404
    assert (await browser.ask("cgi-bin/summary.cgi"))[0] == 404
    assert (await browser.tell("make/coffee"))[0] == 404
    assert (await browser.api("info", method="PUT"))[0] == 405


async def test_the_summary_is_what_the_plant_does(browse) -> None:
    browser = await browse()
    miner = await browser.miner()
    assert miner["miner_status"]["miner_state"] == "mining"
    assert (miner["miner_status"]["throttled"], miner["hr_stock"]) == (100, 200_000)
    assert miner["power_consumption"] == 3500
    assert miner["hr_realtime"] == pytest.approx(200_000)
    assert sum(chain["power_consumption"] for chain in miner["chains"]) == 3420
    assert [pool["pool_type"] for pool in miner["pools"]] == [*["UserPool"] * 3, "DevFee"]


async def test_some_firmware_shows_the_summary_only_to_who_is_logged_in(browse) -> None:
    browser = await browse(has_open_summary=False)
    assert (await browser.api("summary"))[0] == 200
    assert (await browser.api("summary", header=browser.token))[0] == 200
    assert (await browser.api("summary", header=""))[0] == 401
    assert (await browser.api("status", header=""))[0] == 200


async def test_wrong_passwords_lock_everybody_out_for_a_while(browse) -> None:
    browser = await browse(wrong_tries=2, lock_s=0.3)
    assert [await browser.unlock("x"), await browser.unlock("y")] == [403, 403]
    assert await browser.unlock() == 429
    await asyncio.sleep(0.35)
    assert await browser.unlock() == 200
    assert (await browser.api("unlock", b"{half"))[0] == 403


async def test_a_token_ends_when_it_is_not_used(browse) -> None:
    browser = await browse(token_s=0.5)
    for _ in range(3):
        await asyncio.sleep(0.2)
        assert (await browser.api("settings"))[0] == 200
    await asyncio.sleep(0.55)
    assert (await browser.api("settings"))[0] == 401


async def test_the_dimmer_moves_the_plant_without_a_restart(browse) -> None:
    browser = await browse()
    machine = browser.machine
    assert await browser.tell("mining/throttle", {"percent": 47}) == (200, {})
    assert machine.point.name == "50%"
    assert (await browser.miner())["miner_status"]["throttled"] == 47
    assert machine.counters.mining_restarts == 0
    for wrong in ({"percent": 19}, {"percent": 101}, {"percent": "50"}, {"percent": True}, {}, []):
        assert (await browser.tell("mining/throttle", wrong or b"[]"))[0] == 400
    assert machine.point.name == "50%"


async def test_older_firmware_has_no_dimmer(browse) -> None:
    browser = await browse(version="1.2.6")
    assert (await browser.tell("mining/throttle", {"percent": 50}))[0] == 404
    assert "throttled" not in (await browser.miner())["miner_status"]


@pytest.mark.parametrize(("down", "up"), [("pause", "resume"), ("stop", "start")])
async def test_a_stop_ends_in_standby_and_a_start_forgets_the_throttle(
    browse, down: str, up: str
) -> None:
    browser = await browse()
    machine = browser.machine
    await browser.tell("mining/throttle", {"percent": 60})
    assert await browser.tell(f"mining/{down}") == (200, {})
    assert (await browser.api("status"))[1]["miner_state"] == "shutting-down"
    await asyncio.sleep(0.3)
    miner = await browser.miner()
    assert (miner["miner_status"]["miner_state"], miner["miner_status"]["throttled"]) == (
        "stopped",
        100,
    )
    assert miner["power_consumption"] == machine.timings.standby_w
    assert (await browser.tell("mining/throttle", {"percent": 60}))[0] == 500
    status, answer = await browser.tell(f"mining/{down}")
    assert (status, "pause-mode" in answer["err"]) == (500, True)
    assert await browser.tell(f"mining/{up}") == (200, {})
    assert (await browser.api("status"))[1]["miner_state"] == "initializing"
    assert (await browser.tell(f"mining/{up}"))[0] == 500
    assert machine.point.name == "100%"
    await asyncio.sleep(0.6)
    assert (await browser.api("status"))[1]["miner_state"] == "mining"


async def test_a_board_is_a_setting_that_waits_for_a_restart(browse) -> None:
    browser = await browse()
    machine = browser.machine
    chains = [{}, {"disabled": True}, {}]
    saved = await browser.tell("settings", {"miner": {"overclock": {"chains": chains}}})
    assert saved == (200, {"restart_required": True, "reboot_required": False})
    assert machine.boards[1].is_enabled
    assert (await browser.api("status"))[1]["restart_required"]
    assert await browser.tell("mining/restart") == (200, {})
    assert [board.is_enabled for board in machine.boards] == [True, False, True]
    assert not (await browser.api("status"))[1]["restart_required"]
    await asyncio.sleep(0.6)
    states = [chain["status"]["state"] for chain in (await browser.miner())["chains"]]
    assert states == ["mining", "disabled", "mining"]
    settings = (await browser.api("settings"))[1]["miner"]
    assert [chain["disabled"] for chain in settings["overclock"]["chains"]] == [False, True, False]


async def test_settings_keep_what_is_not_sent(browse) -> None:
    browser = await browse()
    before = (await browser.api("settings"))[1]
    assert (await browser.tell("settings", {"miner": {"misc": {"quiet_mode": True}}}))[0] == 200
    before["miner"]["misc"]["quiet_mode"] = True
    assert (await browser.api("settings"))[1] == before
    for nothing in ({"ui": {}}, {"miner": 1}, b"[]"):
        assert (await browser.tell("settings", nothing))[0] == 200
    for wrong in ({"overclock": 1}, {"overclock": {"chains": 1}}, {"overclock": {"preset": "1"}}):
        assert (await browser.tell("settings", {"miner": wrong}))[0] == 400
    assert (await browser.api("settings"))[1] == before


@pytest.mark.parametrize(
    ("preset", "point", "state"),
    [("2852", "80%", "mining"), ("3174", "90%", "auto-tuning"), ("disabled", "100%", "mining")],
)
async def test_a_preset_is_accepted_alike_whether_it_is_tuned_or_not(
    browse, preset: str, point: str, state: str
) -> None:
    browser = await browse()
    presets = {row["name"]: row["status"] for row in (await browser.api("autotune/presets"))[1]}
    assert (presets["2852"], presets["3174"], presets["disabled"]) == (
        "tuned",
        "untuned",
        "untuned",
    )
    answer = await browser.tell("settings", {"miner": {"overclock": {"preset": preset}}})
    assert answer == (200, {"restart_required": False, "reboot_required": False})
    assert browser.machine.point.name == point
    assert (await browser.api("status"))[1]["miner_state"] == state
    _, perf = await browser.api("perf-summary")
    assert perf["current_preset"]["name"] == preset


async def test_throttling_is_a_share_of_the_preset(browse) -> None:
    browser = await browse()
    await browser.tell("settings", {"miner": {"overclock": {"preset": "2852"}}})
    await browser.tell("mining/throttle", {"percent": 50})
    assert browser.machine.point.name == "40%"


async def test_a_reboot_hangs_up_and_forgets_the_throttle(browse) -> None:
    browser = await browse()
    await browser.tell("mining/throttle", {"percent": 60})
    assert await browser.tell("system/reboot") == (200, {"after": 3})
    with pytest.raises(aiohttp.ClientError):
        await browser.api("info")
    await asyncio.sleep(0.4)
    assert (await browser.miner())["miner_status"]["throttled"] == 100


async def test_a_yes_may_have_no_body(browse) -> None:
    browser = await browse(has_silent_yes=True)
    assert await browser.tell("mining/pause") == (200, b"")


async def older(browser: Browser, *names: str) -> dict[str, Any]:
    reply = await browser.site.raw(0, json.dumps({"command": "+".join(names)}).encode())
    assert reply.endswith(b"\0")
    document: dict[str, Any] = json.loads(reply[:-1])
    return document


async def test_the_older_port_answers_reads_and_joins_them(browse) -> None:
    browser = await browse()
    version = await older(browser, "version")
    assert version["VERSION"][0]["Miner"] == "Vnish 1.3.4"
    both = await older(browser, "summary", "stats")
    assert both["summary"][0]["SUMMARY"][0]["GHS 5s"] == pytest.approx(200_000)
    assert both["stats"][0]["STATS"][0]["Type"] == "Antminer S21 (Vnish 1.3.4)"
    assert (await older(browser, "restart"))["STATUS"][0]["STATUS"] == "E"
    assert (await older(browser))["STATUS"][0]["STATUS"] == "E"


async def test_a_farm_may_have_the_older_port_closed(browse) -> None:
    browser = await browse(has_older_reads=False)
    with pytest.raises(ConnectionRefusedError):
        await browser.site.raw(0, b'{"command":"version"}')


def test_uptime_reads_as_the_machine_writes_it() -> None:
    assert [uptime(5.0), uptime(3_700.0), uptime(950_400.0)] == ["0:00", "1:01", "11 days, 0:00"]


def test_the_mixed_farm_has_machines_of_this_family(tmp_path: Path) -> None:
    assert "vnish" in {group.family for group in load_farm_file(FARMS / "mixed.toml").machines}
    path = tmp_path / "farm.toml"
    rest = 'family = "vnish"\nmodel = "s21"\ncount = 1\n[[meters]]\nid = "site"\nserial = 1\n'
    path.write_text(f'[vnish]\nversion = "1.4"\n[[machines]]\n{rest}')
    with pytest.raises(FarmFileError, match=r"vnish\.version"):
        load_farm_file(path)
