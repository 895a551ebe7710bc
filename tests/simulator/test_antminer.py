"""Simulated Antminers as a caller without our driver sees them: raw bytes, a digest, a form."""

import asyncio
import hashlib
import json
import os
from dataclasses import replace
from typing import Any

import aiohttp
import pytest

from simulator.antminer_login import Doorkeeper
from simulator.faults import FaultKind

WEB = 8080
QUICK = {
    "profile_up_s": 0.2,
    "profile_down_s": 0.2,
    "restart_gap_s": 0.05,
    "sleep_s": 0.2,
    "wake_s": 0.3,
    "reboot_s": 0.3,
}
POOLS = [{"url": f"stratum+tcp://p{n}:1", "user": "u", "pass": "x"} for n in range(3)]


@pytest.fixture
def open_hall(open_site):
    """A farm of two Antminers; the arguments are the [antminer] table."""

    async def make(**table: Any) -> Any:
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "web_port": WEB},
            machines=[
                {"family": "antminer", "model": "s19j-pro", "count": 1},
                {"family": "antminer", "model": "s21-pro", "count": 1, "profile": "low"},
            ],
            antminer={"form_s": 0.0} | table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


async def ask(site: Any, index: int, command: str, **more: Any) -> dict[str, Any]:
    request = json.dumps({"command": command} | more).encode()
    document: dict[str, Any] = json.loads((await site.raw(index, request)).rstrip(b"\0"))
    return document


async def page(
    site: Any, index: int, name: str, form: Any = None, *, password: str = "root", port: int = WEB
) -> Any:
    """A page as JSON, or the status where it is none."""
    digest = aiohttp.DigestAuthMiddleware("root", password)
    async with aiohttp.ClientSession(middlewares=(digest,)) as session:
        method = "GET" if form is None else "POST"
        url = f"http://{site.address(index)}:{port}/{name}"
        async with session.request(method, url, json=form) as reply:
            if reply.status != 200:
                return reply.status
            return await reply.json() if "json" in reply.content_type else await reply.text()


async def order(site: Any, index: int, mode: Any, **changes: Any) -> Any:
    """A form as the machine's own page sends it; None takes a key away."""
    form = {"bitmain-fan-ctrl": False, "bitmain-fan-pwm": "100", "freq-level": "100"}
    form |= {"miner-mode": mode, "pools": POOLS} | changes
    form = {key: value for key, value in form.items() if value is not None}
    return await page(site, index, "cgi-bin/set_miner_conf.cgi", form)


async def conf(site: Any, index: int) -> Any:
    return await page(site, index, "cgi-bin/get_miner_conf.cgi")


async def test_the_api_has_the_recorded_keys_and_the_plants_values(open_hall) -> None:
    site = await open_hall(power="chain_power")
    version = await ask(site, 0, "version")
    assert version["VERSION"][0]["Type"] == "Antminer S19j Pro"
    header, row = (await ask(site, 0, "stats"))["STATS"]
    assert header["BMMiner"] == "1.0.0"
    assert row["GHS 5s"] == pytest.approx(104_000.0)
    assert [row[f"chain_rate{n}"] for n in (1, 4)] == ["34666.67", ""]
    assert [row[f"chain_acn{n}"] for n in range(1, 5)] == [126, 126, 126, 0]
    assert row["chain_power"] == "3068 W"
    assert [one["POOL"] for one in (await ask(site, 0, "pools"))["POOLS"]] == [0, 1, 2]
    assert (await ask(site, 0, "devs"))["DEVS"][0]["Name"] == "BTM_SOC"
    (summary,) = (await ask(site, 1, "summary"))["SUMMARY"]
    assert summary["GHS 5s"] == pytest.approx(234_000.0 * 0.83, rel=1e-4)


async def test_the_flag_is_heard_by_newer_firmware_alone(open_hall) -> None:
    newer = await (site := await open_hall(stats="new_api", power="watt")).raw(
        0, b'{"command":"stats","new_api":true}'
    )
    document = json.loads(newer)
    (row,) = document["STATS"]
    assert document["STATUS"]["STATUS"] == "S"
    assert row["rate_unit"] == "GH/s"
    assert [chain["index"] for chain in row["chain"]] == [0, 1, 2]
    assert row["watt"] == 3068
    assert len((await ask(site, 0, "stats"))["STATS"]) == 2
    assert "user" in (await ask(site, 0, "pools", new_api=True))["POOLS"][0]


async def test_older_firmware_does_not_know_the_flag(open_hall) -> None:
    site = await open_hall()
    assert "chain_rate1" in (await ask(site, 0, "stats", new_api=True))["STATS"][1]


@pytest.mark.parametrize(
    ("flaw", "sign"), [("joint", b"}{"), ("comma", b'"STATS":[,{'), ("nul", b"}\0"), ("none", b"}")]
)
async def test_answers_are_broken_as_the_vendor_breaks_them(
    open_hall, flaw: str, sign: bytes
) -> None:
    site = await open_hall(flaw=flaw)
    assert sign in await site.raw(0, b'{"command":"stats"}\n')


async def test_the_api_changes_nothing_and_joins_nothing(open_hall) -> None:
    site = await open_hall()
    codes = [
        (await ask(site, 0, name))["STATUS"][0]["Code"]
        for name in ("restart", "version+stats", "make coffee")
    ]
    assert codes == [45, 14, 14]
    assert json.loads(await site.raw(0, b"{half\n"))["STATUS"][0]["Code"] == 23
    assert json.loads(await site.raw(0, b"x" * 20_000))["STATUS"][0]["Code"] == 23


async def test_pages_want_a_digest_with_a_new_nonce_each_time(open_hall) -> None:
    site = await open_hall(password="other")
    assert await page(site, 0, "", password="root") == 401
    assert "Miner" in await page(site, 0, "", password="other")
    async with aiohttp.ClientSession() as session:
        url = f"http://{site.address(0)}:{WEB}/kaonsu/v1/brief"
        async with session.get(url) as reply:
            assert reply.status == 401
            challenge = reply.headers["WWW-Authenticate"]
            assert challenge.startswith('Digest realm="antMiner Configuration"')
    assert await page(site, 0, "cgi-bin/nothing.cgi", password="other") == 404
    assert await page(site, 0, "kaonsu/v1/brief", password="other") == 404


def test_a_nonce_is_good_for_its_uses_and_a_wrong_answer_for_nothing() -> None:
    keeper = Doorkeeper(uses=1)
    nonce = keeper.challenge(is_stale=False).split('nonce="')[1].partition('"')[0]

    def header(password: str, **changes: str) -> str:
        def md5(text: str) -> str:
            return hashlib.md5(text.encode()).hexdigest()

        first = md5(f"root:antMiner Configuration:{password}")
        response = md5(f"{first}:{nonce}:00000001:c:auth:{md5('GET:/a')}")
        parts = {"username": "root", "nonce": nonce, "uri": "/a", "response": response}
        parts |= {"cnonce": "c", "nc": "00000001", "qop": "auth"} | changes
        return "Digest " + ", ".join(f'{key}="{value}"' for key, value in parts.items())

    def judge(told: str, path: str = "/a") -> str:
        return keeper.judge(told, method="GET", path=path, password="p")

    assert judge("") == judge("Basic cm9vdDpyb290") == judge("Digest ") == "out"
    assert judge(header("wrong")) == judge(header("p"), "/b") == "out"
    assert judge(header("p", username="admin")) == "out"
    assert judge(header("p")) == "in"
    assert judge(header("p")) == "stale"


async def test_a_form_moves_the_plant_and_is_read_back_under_its_other_name(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[0]
    assert (await conf(site, 0))["bitmain-work-mode"] == "0"
    assert (await conf(site, 1))["bitmain-work-mode"] == "3"
    assert await order(site, 0, 1) == {"stats": "success", "code": "M000", "msg": "OK!"}
    kept = await conf(site, 0)
    assert (kept["bitmain-work-mode"], kept["pools"]) == ("1", POOLS)
    assert "miner-mode" not in kept
    await asyncio.sleep(0.3)
    assert machine.watts.value(site.farm.clock.now_s()) == machine.timings.standby_w
    for name in ("stats", "summary"):
        assert (await ask(site, 0, name))[name.upper()] == []
        assert (await page(site, 0, f"cgi-bin/{name}.cgi"))[name.upper()] == []
    await order(site, 0, "3")
    assert (machine.is_awake, machine.point.name) == (True, "low")
    await order(site, 0, 0)
    assert machine.point.name == "normal"
    assert (await ask(site, 0, "stats"))["STATS"][1]["Elapsed"] <= 1


async def test_a_sleeper_may_show_zeros_instead(open_hall) -> None:
    site = await open_hall(sleep_shows="zeros", mode_key="miner-mode")
    await order(site, 0, 1)
    await asyncio.sleep(0.3)
    row = (await ask(site, 0, "stats"))["STATS"][1]
    assert (row["GHS 5s"], row["chain_rate1"], row["fan1"]) == (0.0, "0.00", 0)
    assert (await conf(site, 0))["miner-mode"] == "1"


async def test_pools_that_a_form_leaves_out_are_erased(open_hall) -> None:
    site = await open_hall()
    await order(site, 0, 0, pools=None)
    assert (await conf(site, 0))["pools"] == []
    assert (await ask(site, 0, "pools"))["POOLS"] == []


@pytest.mark.parametrize("form", [[], "x", {"pools": 1}, {"pools": [{"url": "only"}]}])
async def test_what_is_no_form_is_refused(open_hall, form: Any) -> None:
    site = await open_hall()
    before = await conf(site, 0)
    answer = await page(site, 0, "cgi-bin/set_miner_conf.cgi", form)
    assert answer["code"] == "M001"
    assert await conf(site, 0) == before


@pytest.mark.parametrize(
    ("kind", "told", "is_awake"),
    [
        ("number", 1, False),
        ("number", "1", True),
        ("text", "1", False),
        ("text", 1, True),
        ("any", True, True),
        ("any", 7, True),
        ("any", None, True),
    ],
)
async def test_a_mode_of_the_wrong_kind_is_accepted_and_ignored(
    open_hall, kind: str, told: Any, is_awake: bool
) -> None:
    site = await open_hall(takes_mode_as=kind)
    assert (await order(site, 0, told))["code"] == "M000"
    assert site.farm.plant.machines[0].is_awake is is_awake


async def test_an_unwilling_machine_says_yes(open_hall) -> None:
    site = await open_hall()
    site.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    assert (await order(site, 0, 1))["code"] == "M000"
    assert (await conf(site, 0))["bitmain-work-mode"] == "0"


async def test_some_follow_a_mode_only_after_a_restart(open_hall) -> None:
    site = await open_hall(needs_reboot=True)
    machine = site.farm.plant.machines[0]
    await order(site, 0, 1)
    assert (await conf(site, 0))["bitmain-work-mode"] == "1"
    assert machine.is_awake
    await page(site, 0, "cgi-bin/reboot.cgi")
    with pytest.raises((ConnectionError, aiohttp.ClientError)):
        await page(site, 0, "cgi-bin/get_miner_conf.cgi")
    await asyncio.sleep(0.4)
    assert not machine.is_awake


async def test_the_answer_to_a_form_takes_its_time(open_hall) -> None:
    site = await open_hall(form_s=0.4)
    started_s = asyncio.get_running_loop().time()
    await order(site, 0, 1)
    assert asyncio.get_running_loop().time() - started_s >= 0.4


@pytest.mark.parametrize(
    ("power", "told"), [("service", "miner power:3068"), ("old_service", "error 6060 cmd")]
)
async def test_a_service_tells_watts_on_a_port_of_its_own(open_hall, power: str, told: str) -> None:
    site = await open_hall(power=power)
    assert await page(site, 0, "miner_power", port=6060) == told
    if power == "service":
        assert await page(site, 0, "warning", port=6060) == {"error_message": "None"}
        assert await page(site, 0, "other", port=6060) == "error 6060 cmd"


async def test_a_login_at_one_machine_outlives_any_number_of_challenges_at_another(
    open_hall: Any,
) -> None:
    site = await open_hall()
    stranger = f"http://{site.address(1)}:{WEB}/cgi-bin/summary.cgi"
    digest = aiohttp.DigestAuthMiddleware("root", "root")

    async def meanwhile(request: aiohttp.ClientRequest, handler: Any) -> aiohttp.ClientResponse:
        """Between the challenge and its answer the other machine is asked by many."""
        if "Authorization" in request.headers:
            async with aiohttp.ClientSession() as session:
                for _ in range(300):
                    async with session.get(stranger) as reply:
                        assert reply.status == 401
        answer: aiohttp.ClientResponse = await handler(request)
        return answer

    async with aiohttp.ClientSession(middlewares=(digest, meanwhile)) as session:
        url = f"http://{site.address(0)}:{WEB}/cgi-bin/summary.cgi"
        async with session.get(url) as reply:
            assert reply.status == 200
