"""Simulated Whatsminers with API v2 as a caller without our driver sees them, byte by byte."""

import asyncio
import base64
import hashlib
import json
import os
import time
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

from simulator.farm_file import FarmFileError, load_farm_file
from simulator.faults import FaultKind
from simulator.whatsminer_v2_wire import key_text, sign_of

FAMILY = "whatsminer-v2"
PASSWORD = "farmpass"
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}


@pytest.fixture
def open_hall(open_site):
    """An M50 and an M30S++; the arguments are the [whatsminer_v2] table."""

    async def make(**table: Any) -> Any:
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
            machines=[
                {"family": FAMILY, "model": "m50", "count": 1},
                {"family": FAMILY, "model": "m30s++", "count": 1, "profile": "80%"},
            ],
            whatsminer_v2=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


def traits(site: Any, index: int = 0) -> Any:
    return site.network.dialects[FAMILY].traits(index)


def flawed(site: Any, **changes: Any) -> None:
    """The same site with another table from now on."""
    table = site.farm.file.whatsminer_v2.model_copy(update=changes)
    site.farm.file = site.farm.file.model_copy(update={"whatsminer_v2": table})


async def ask(site: Any, document: Any, index: int = 0) -> dict[str, Any]:
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    told: dict[str, Any] = json.loads(await site.raw(index, body))
    return told


def cipher(key: str) -> Any:
    return Cipher(algorithms.AES(hashlib.sha256(key.encode()).digest()), modes.ECB())


class Caller:
    """One who knows the password: a token, and sealed writes with it."""

    def __init__(self, site: Any, *, password: str = PASSWORD, index: int = 0) -> None:
        self.site, self.password, self.index = site, password, index
        self.key = self.sign = ""

    async def log_in(self) -> None:
        given = (await ask(self.site, {"cmd": "get_token"}, self.index))["Msg"]
        assert len(given["time"]) == 4
        self.key = key_text(self.password, given["salt"])
        self.sign = sign_of(self.key, given["time"], given["newsalt"])

    def sealed(self, command: str, *, pad: str = "nul", **fields: Any) -> bytes:
        plain = json.dumps({"token": self.sign, "cmd": command, **fields}).encode()
        missing = 16 - len(plain) % 16
        plain += bytes([missing]) * missing if pad == "pkcs7" else bytes(missing)
        data = base64.b64encode(cipher(self.key).encryptor().update(plain)).decode()
        return json.dumps({"enc": 1, "data": data}).encode()

    async def order(self, command: str, **fields: Any) -> dict[str, Any]:
        if not self.sign:
            await self.log_in()
        answer = await ask(self.site, self.sealed(command, **fields), self.index)
        if "enc" not in answer:
            return answer
        plain = cipher(self.key).decryptor().update(base64.b64decode(answer["enc"]))
        document: dict[str, Any] = json.loads(plain.rstrip(bytes(range(17))))
        return document


def test_the_sheets_vector_is_this_machines_as_well() -> None:
    key = key_text("admin", "BQ5hoXV9")
    assert (key, sign_of(key, "5626", "jbzkfQls")) == (
        "RxmaDUO33TS7O26yeMHZ81",
        "w.BNbkCV6n1aNWgiBWLzT/",
    )


async def test_reads_have_the_two_shapes(open_hall) -> None:
    site = await open_hall()
    summary = await ask(site, {"command": "summary"})
    assert summary["STATUS"][0]["STATUS"] == "S"
    assert summary["SUMMARY"][0]["MHS av"] == pytest.approx(118e6)
    assert summary["SUMMARY"][0]["Power"] == 3350
    status = await ask(site, {"cmd": "status"}, 1)
    assert (status["STATUS"], status["Code"], status["Msg"]["mineroff"]) == ("S", 131, "false")
    assert status["Msg"]["power_pct"] == "80"
    boards = (await ask(site, {"cmd": "edevs"}))["DEVS"]
    assert [row["HS RT"] for row in boards] == pytest.approx([118e6 / 3] * 3)
    info = await ask(site, {"cmd": "get_miner_info"})
    assert info["Msg"]["mac"] == site.farm.labels[0].mac.upper()
    assert (await ask(site, {"cmd": "devdetails"}, 1))["DEVDETAILS"][0]["Model"] == "M30S++_VH41"


async def test_the_manual_lets_two_commands_be_joined_and_no_more(open_hall) -> None:
    site = await open_hall(joined_max=2)
    both = await ask(site, {"cmd": "summary+edevs"})
    assert set(both) == {"summary", "edevs", "id"}
    assert both["edevs"][0]["DEVS"][0]["Slot"] == 0
    for joined in ("summary+edevs+pools", "summary+status", "summary+get_psu", "summary+x"):
        assert (await ask(site, {"cmd": joined}))["Code"] == 14


async def test_what_is_wrong_has_its_code(open_hall) -> None:
    site = await open_hall()
    for request, code in (
        ({"cmd": "make.coffee"}, 14),
        ({"cmd": ""}, 14),
        ({"cmd": 5}, 14),
        (b"[]", 23),
        (b'{"enc":1,"data":"%"}', 137),
        (b'{"enc":1,"data":"AAAA"}', 23),
        ({"enc": 1, "data": base64.b64encode(bytes(32)).decode()}, 23),
        ({"cmd": "power_off"}, 14),
    ):
        assert (await ask(site, request))["Code"] == code, request


async def test_whoever_says_nothing_is_sent_away_and_half_a_question_is_answered(
    open_hall,
) -> None:
    site = await open_hall()
    site.network.dialects[FAMILY].patience_s = 0.2
    started_s = time.monotonic()
    async with asyncio.timeout(2.0):
        reader, writer = await asyncio.open_connection(site.address(0), 4028)
        assert await reader.read() == b""
        writer.close()
    assert json.loads(await site.raw(0, b'{"cmd":"sum'))["Code"] == 23
    assert json.loads(await site.raw(0, b"x" * 70_000))["Code"] == 23
    assert time.monotonic() - started_s < 2.0


@pytest.mark.parametrize("pad", ["nul", "pkcs7"])
async def test_a_percent_off_and_on_move_the_plant_with_either_padding(open_hall, pad) -> None:
    site = await open_hall(padding=pad)
    machine, caller = site.farm.plant.machines[0], Caller(site)
    assert (await caller.order("set_power_pct", percent="62", pad=pad))["Msg"] == "API command OK"
    assert machine.point.name == "60%"
    assert (await ask(site, {"cmd": "status"}))["Msg"]["power_pct"] == "62"
    assert (await caller.order("restore_power_pct"))["Code"] == 131
    assert machine.point.name == "100%"
    assert (await caller.order("power_off", respbefore="true"))["Code"] == 131
    assert not machine.is_awake
    await asyncio.sleep(0.3)
    status = (await ask(site, {"cmd": "status"}))["Msg"]
    assert (status["mineroff"], status["mineroff_reason"]) == ("true", "by whatsminer api")
    assert (await ask(site, {"cmd": "get_psu"}))["Msg"]["pin"] == "25"
    assert (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]["Power Limit"] == 0
    assert (await caller.order("set_power_pct", percent="80"))["Code"] == 132
    assert (await caller.order("power_on"))["Code"] == 131
    assert (machine.is_awake, machine.point.name) == (True, "100%")
    assert (await ask(site, {"cmd": "edevs"}))["DEVS"][0]["Upfreq Complete"] == 0


async def waited(site: Any, request: bytes) -> bytes:
    """What comes within a moment."""
    reader, writer = await asyncio.open_connection(site.address(0), 4028)
    try:
        writer.write(request)
        async with asyncio.timeout(0.3):
            return await reader.read()
    except TimeoutError:
        return b"nothing yet"
    finally:
        writer.transport.abort()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def test_some_writes_have_no_answer(open_hall) -> None:
    site = await open_hall()
    machine, caller = site.farm.plant.machines[0], Caller(site)
    await caller.log_in()
    for command, fields in (("power_off", {"respbefore": "false"}), ("set_low_power", {})):
        assert await waited(site, caller.sealed(command, **fields)) == b"nothing yet"
    assert machine.point.name == "70%"
    assert machine.is_awake
    assert (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]["Power Mode"] == "Low"


async def test_a_limit_restarts_mining_and_one_too_low_crashes_it(open_hall) -> None:
    site = await open_hall()
    machine, caller = site.farm.plant.machines[0], Caller(site)
    assert (await caller.order("adjust_power_limit", power_limit="2700"))["Code"] == 131
    assert (machine.point.name, machine.counters.mining_restarts) == ("80%", 1)
    assert (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]["Power Limit"] == 2700
    assert (await caller.order("adjust_power_limit", power_limit="1000"))["Code"] == 131
    assert not machine.is_awake
    faults = (await ask(site, {"cmd": "get_error_code"}))["Msg"]["error_code"]
    assert [code for fault in faults for code in fault] == ["560", "561", "562", "563"]
    assert (await ask(site, {"cmd": "status"}))["Msg"]["mineroff"] == "false"
    assert (await caller.order("adjust_power_limit", power_limit="99999"))["Code"] == 131
    assert machine.point.name == "100%"
    assert (await ask(site, {"cmd": "get_error_code"}))["Msg"]["error_code"] == []
    machine.started_s -= 100.0
    traits(site).mining_from_s -= 100.0
    assert (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]["Elapsed"] >= 100
    assert (await caller.order("restart_btminer"))["Code"] == 131
    assert machine.is_awake
    summary = (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]
    assert summary["Elapsed"] < 20
    assert summary["Uptime"] >= 160


WRONG = [
    ("set_power_pct", {"percent": 80}, 132),
    ("set_power_pct", {"percent": "101"}, 132),
    ("set_power_pct", {}, 132),
    ("adjust_power_limit", {"power_limit": "100000"}, 132),
    ("adjust_power_limit", {}, 132),
    ("update_pwd", {"old": "a", "new": "b"}, 14),
    ("factory_reset", {}, 14),
]


@pytest.mark.parametrize("has_sealed_refusals", [False, True])
async def test_a_wrong_write_is_refused_and_changes_nothing(open_hall, has_sealed_refusals) -> None:
    site = await open_hall(has_sealed_refusals=has_sealed_refusals)
    caller, machine = Caller(site), site.farm.plant.machines[0]
    for command, fields, code in WRONG:
        assert (await caller.order(command, **fields))["Code"] == code, command
    traits(site).is_busy = True
    assert (await caller.order("power_off"))["Code"] == 132
    assert (machine.is_awake, machine.point.name) == (True, "100%")


async def test_a_token_lapses_is_forgotten_by_a_reboot_and_there_are_only_so_many(
    open_hall,
) -> None:
    site = await open_hall(tokens_max=2, token_life_s=0.4)
    machine, caller = site.farm.plant.machines[0], Caller(site)
    machine.timings = replace(machine.timings, reboot_s=0.2)
    await caller.log_in()
    await caller.log_in()
    assert (await ask(site, {"cmd": "get_token"}))["Code"] == 136
    await asyncio.sleep(0.5)
    assert (await caller.order("power_off", respbefore="true"))["Code"] == 135
    await caller.log_in()
    assert (await caller.order("reboot"))["Code"] == 131
    with suppress(ConnectionError):
        assert await site.raw(0, b'{"cmd":"status"}') == b""
    await asyncio.sleep(0.3)
    assert (await caller.order("power_off", respbefore="true"))["Code"] == 135


async def test_newer_firmware_tells_how_long_a_token_lives_without_use(open_hall) -> None:
    site = await open_hall(api="2.2.0", token_life_s=1.0)
    assert (await ask(site, {"cmd": "get_token"}))["Msg"]["timeout"] == "1"
    caller = Caller(site)
    for _ in range(3):
        assert (await caller.order("restore_power_pct"))["Code"] == 131
        await asyncio.sleep(0.4)


@pytest.mark.parametrize("table", [{"is_api_on": False}, {"password": "admin"}])
async def test_writes_are_closed_as_they_come_from_the_factory(open_hall, table) -> None:
    site = await open_hall(**table)
    refused = await Caller(site, password=table.get("password", PASSWORD)).order("power_off")
    assert (refused["Code"], refused["Msg"]) == (45, "can't access write cmd")
    assert (await ask(site, {"cmd": "power_off"}))["Code"] == 45
    assert (await ask(site, {"command": "open_write_api", "enable": True}))["Code"] == 14
    assert traits(site).unlock_tries == 1


async def test_the_oldest_firmware_has_fewer_reads_and_no_percent(open_hall) -> None:
    site = await open_hall(api="1.4.0")
    assert (await ask(site, {"cmd": "get_version"}))["Msg"]["api_ver"] == "whatsminer v1.4.0"
    status = (await ask(site, {"cmd": "status"}))["Msg"]
    assert status == {"btmineroff": "false", "Firmware Version": "'20210322.22.REL'"}
    for name in ("edevs", "get_miner_info", "get_error_code"):
        assert (await ask(site, {"cmd": name}))["Code"] == 14
    traits(site).faults["110"] = "x"
    row = (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]
    assert (row["MAC"], row["Error Code 0"]) == (site.farm.labels[0].mac.upper(), 110)
    assert set((await ask(site, {"cmd": "get_psu"}))["Msg"]) == {
        *("hw_version", "model", "name", "sw_version")
    }
    caller = Caller(site)
    assert (await caller.order("set_power_pct", percent="80"))["Code"] == 14
    assert (await caller.order("power_off", respbefore="true"))["Code"] == 131


async def test_a_sleeper_may_have_no_mining_program(open_hall) -> None:
    site = await open_hall(answers_asleep=False)
    await Caller(site).order("power_off", respbefore="true")
    for name in ("summary", "edevs", "pools", "devdetails"):
        line = await site.raw(0, json.dumps({"cmd": name}).encode())
        assert line == b"Socket connect failed: Connection refused\n"
    assert (await ask(site, {"cmd": "status"}))["Msg"]["mineroff"] == "true"


BROKEN = [
    ({"flaw": "newline"}, b'"20230714.15.\nRel"'),
    ({"flaw": "comma"}, b",}"),
    ({"flaw": "truncated"}, b"Rel"),
    ({"ends_with_nul": True}, b"\0"),
]


@pytest.mark.parametrize(("table", "piece"), BROKEN)
async def test_json_is_broken_as_firmware_breaks_it(open_hall, table, piece) -> None:
    site = await open_hall(**table)
    raw = await site.raw(0, b'{"cmd":"get_version"}')
    assert piece in raw
    with pytest.raises(ValueError):
        json.loads(raw)


async def test_lists_and_floats_are_broken_as_well(open_hall) -> None:
    site = await open_hall(flaw="joint")
    assert b'[,{"ASC"' in await site.raw(0, b'{"cmd":"devs"}')
    assert b'}{"ASC"' in await site.raw(0, b'{"cmd":"devs"}')
    flawed(site, flaw="inf")
    assert b'"Debug": inf' in await site.raw(0, b'{"cmd":"summary"}')


async def test_faults_may_come_as_a_list_written_like_a_table(open_hall) -> None:
    site = await open_hall(api="2.0.4")
    assert b'"error_code": []' in await site.raw(0, b'{"cmd":"get_error_code"}')
    traits(site).faults |= {"110": "a", "329": "b"}
    raw = await site.raw(0, b'{"cmd":"get_error_code"}')
    assert b'"error_code": ["110": "a", "329": "b"]}' in raw


async def test_one_that_ignores_says_ok_and_one_that_lies_shows_it_too(open_hall) -> None:
    site = await open_hall()
    machine, caller = site.farm.plant.machines[0], Caller(site)
    site.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    assert (await caller.order("set_power_pct", percent="60"))["Code"] == 131
    assert (await ask(site, {"cmd": "status"}))["Msg"]["power_pct"] == "100"
    assert machine.point.name == "100%"
    site.farm.clear_faults()
    flawed(site, is_lying=True)
    assert (await caller.order("set_power_pct", percent="60"))["Code"] == 131
    assert (await caller.order("power_off", respbefore="true"))["Code"] == 131
    status = (await ask(site, {"cmd": "status"}))["Msg"]
    assert (status["power_pct"], status["mineroff"]) == ("60", "true")
    assert (machine.point.name, machine.is_awake) == ("100%", True)
    assert (await caller.order("power_on"))["Code"] == 131
    assert (await ask(site, {"cmd": "status"}))["Msg"]["mineroff"] == "false"


@pytest.mark.parametrize("is_fast_boot", [True, False])
async def test_without_fast_boot_a_percent_goes_through_no_power(open_site, is_fast_boot) -> None:
    site = await open_site(
        addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
        machines=[{"family": FAMILY, "model": "m50", "count": 1}],
        whatsminer_v2={"is_fast_boot": is_fast_boot},
    )
    machine = site.farm.plant.machines[0]
    assert (machine.timings.restart_gap_s == 0.0) is is_fast_boot
    await Caller(site).order("set_power_pct", percent="80")
    assert machine.counters.mining_restarts == (0 if is_fast_boot else 1)
    row = (await ask(site, {"cmd": "summary"}))["SUMMARY"][0]
    assert row["Btminer Fast Boot"] == ("enable" if is_fast_boot else "disable")


def test_a_password_longer_than_the_machine_takes_is_a_fault_of_the_farm_file(tmp_path) -> None:
    path = tmp_path / "farm.toml"
    rest = '[[machines]]\nmodel = "s21"\ncount = 1\n[[meters]]\nid = "site"\nserial = 1\n'
    path.write_text(f'[whatsminer_v2]\npassword = "123456789"\n{rest}')
    with pytest.raises(FarmFileError, match=r"whatsminer_v2\.password"):
        load_farm_file(path)
