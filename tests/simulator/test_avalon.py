"""Simulated Avalons as a caller without our driver sees them: bytes, shapes, quirks."""

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from simulator.farm_file import FarmFileError, load_farm_file
from simulator.faults import FaultKind

FARMS = Path(__file__).parents[2] / "simulator" / "farms"
QUICK = {"profile_up_s": 0.2, "profile_down_s": 0.2, "restart_gap_s": 0.0}
QUICK |= {"sleep_s": 0.2, "wake_s": 0.4, "reboot_s": 0.3}


@pytest.fixture
def open_hall(open_site):
    """An A1466 and a Q; the arguments are the [avalon] table."""

    async def make(**table: Any) -> Any:
        site = await open_site(
            addresses={"base": f"127.{192 + os.getpid() % 60}.0.0", "has_web": False},
            machines=[
                {"family": "avalon", "model": "a1466", "count": 1},
                {"family": "avalon", "model": "avalon-q", "count": 1},
            ],
            avalon=table,
            spread={"reporting": 0.0, "tolerance": 0.0},
        )
        for machine in site.farm.plant.machines:
            machine.timings = replace(machine.timings, **QUICK)
        return site

    return make


def is_awake(site: Any, index: int = 0) -> bool:
    return site.farm.plant.machines[index].is_awake


async def test_version_in_both_shapes(open_hall) -> None:
    site = await open_hall()
    text = await site.raw(0, b"version")
    assert text.startswith(b"STATUS=S,When=")
    assert text.endswith(b"|\x00")
    assert b"|VERSION,CGMiner=4.11.1,API=3.7," in text
    assert b"PROD=AvalonMiner 1466-150,MODEL=1466-150," in text
    plain = site.farm.labels[0].mac.replace(":", "").encode()
    assert b"MAC=" + plain in text
    told = await site.ask(0, "version")
    assert told["STATUS"][0]["Code"] == 22
    assert told["VERSION"][0]["MAC"] == plain.decode()
    assert (await site.ask(1, "version"))["VERSION"][0]["MAC"] == site.farm.labels[1].mac.upper()


async def test_the_report_has_the_keys_of_its_series(open_hall) -> None:
    site = await open_hall()
    row = (await site.ask(0, "estats"))["STATS"][0]
    words = row["MM ID0"]
    assert "SYSTEMSTATU[Work: In Work, Hash Board: 3 ]" in words
    assert "WALLPOWER[3230]" in words
    assert "MPO[3230]" in words
    assert "PVT_T2[" in words
    q = (await site.ask(1, "stats"))["STATS"][0]
    assert q["MM ID0:Summary"].startswith("'STATS':{Ver[Q-")
    assert q["HBinfo"].startswith("'HB0':{PVT_T0[")
    lite = (await site.ask(1, "litestats"))["STATS"][0]
    assert "HBinfo" not in lite
    assert "PVT_T0" not in (await site.ask(0, "litestats"))["STATS"][0]["MM ID0"]


async def test_the_rates_of_boards_are_averages_that_do_not_fall_in_sleep(open_hall) -> None:
    site = await open_hall()
    await site.raw(0, b"ascset|0,softoff")
    await asyncio.sleep(0.3)
    words = (await site.ask(0, "stats"))["STATS"][0]["MM ID0"]
    assert "SYSTEMSTATU[Work: In Idle, Hash Board: 3 ]" in words
    assert "SoftOFF[5]" in words
    assert "GHSspd[0.00]" in words
    assert "MGHS[4999" in words or "MGHS[5000" in words
    assert "PS[0 1209 1 0 0 1188 11]" in words


@pytest.mark.parametrize("counts_from_start", [False, True])
async def test_softoff_and_softon_act_at_their_time(open_hall, counts_from_start: bool) -> None:
    site = await open_hall(counts_from_start=counts_from_start)
    clock_s = (await site.ask(0, "version"))["STATUS"][0]["When"]
    told = await site.ask(0, "ascset", f"0,softoff,1:{clock_s + 1}")
    status = told["STATUS"][0]
    assert (status["STATUS"], status["Code"]) == ("I", 118)
    assert status["Msg"] == f"ASC 0 set info: success softoff:{clock_s + 1}"
    assert is_awake(site)
    await asyncio.sleep(1.1)
    assert not is_awake(site)
    reply = await site.raw(0, f"ascset|0,softon,1:{clock_s}".encode())
    assert b"Code=118,Msg=ASC 0 set info: success softon:" in reply
    assert is_awake(site)


async def test_a_unix_time_is_far_ahead_for_a_machine_that_counts_from_its_start(
    open_hall,
) -> None:
    site = await open_hall(counts_from_start=True)
    unix_s = site.farm.clock.ms_at(site.farm.clock.now_s()) // 1000
    assert (await site.ask(0, "ascset", f"0,softoff,1:{unix_s}"))["STATUS"][0]["Code"] == 118
    await asyncio.sleep(0.1)
    assert is_awake(site)


async def test_a_softon_may_close_without_a_word_and_act(open_hall) -> None:
    site = await open_hall(is_softon_silent=True)
    await site.raw(0, b"ascset|0,softoff")
    assert not is_awake(site)
    assert await site.raw(0, b"ascset|0,softon,1:1") == b""
    assert is_awake(site)


async def test_older_firmware_is_woken_by_a_reboot_alone(open_hall) -> None:
    site = await open_hall(wakes_by_reboot_only=True)
    await site.raw(0, b"ascset|0,hashpower,0")
    assert b"success" in await site.raw(0, b"ascset|0,softon,1:1")
    assert not is_awake(site)
    assert b"Code=119" in await site.raw(0, b"ascset|0,reboot,0")
    assert is_awake(site)
    reply = b""
    with suppress(ConnectionError):
        reply = await site.raw(0, b"version")
    assert reply == b""
    await asyncio.sleep(0.4)
    assert await site.raw(0, b"version")


@pytest.mark.parametrize(
    ("words", "code", "letter"),
    [
        (b"ascset|0,led,1-1", 119, "S"),
        (b"ascset|0,hashpower", 118, "I"),
        (b"ascset|0,workmode,get", 118, "I"),
        (b"ascset|0,workmode,9", 120, "E"),
        (b"ascset|0,worklevel,set,9", 120, "E"),
        (b"ascset|0,hashpower,7", 120, "E"),
        (b"ascset|0,softoff,5", 120, "E"),
        (b"ascset|0,selfdestruct,1", 120, "E"),
        (b"ascset|1,softoff", 120, "E"),
        (b"ascset|", 120, "E"),
        (b"VERSION", 14, "E"),
        (b"privileged", 14, "E"),
        (b'{"command":7}\n', 14, "E"),
    ],
)
async def test_codes_of_settings_and_refusals(
    open_hall, words: bytes, code: int, letter: str
) -> None:
    site = await open_hall()
    reply = (await site.raw(0, words)).decode()
    assert f"Code={code}" in reply or f'"Code":{code}' in reply
    assert f"STATUS={letter}" in reply or f'"STATUS":"{letter}"' in reply
    assert is_awake(site)


async def test_half_a_question_is_answered_after_a_while(open_hall) -> None:
    site = await open_hall()
    site.network.dialects["avalon"].patience_s = 0.2
    assert b"Invalid JSON" in await site.raw(0, b'{"command":')


async def test_a_work_mode_of_the_a_series_waits_for_the_reboot(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[0]
    assert b"Code=119" in await site.raw(0, b"ascset|0,workmode,0")
    assert machine.point.name == "standard"
    await site.raw(0, b"ascset|0,reboot,0")
    assert machine.point.name == "eco"


async def test_a_work_mode_of_the_q_wants_its_verb_and_acts_at_once(open_hall) -> None:
    site = await open_hall()
    machine = site.farm.plant.machines[1]
    assert b"unknown argument" in await site.raw(1, b"ascset|0,workmode,2")
    assert b"Code=119" in await site.raw(1, b"ascset|0,workmode,set,2")
    assert machine.point.name == "super"
    assert b"WORKMODE[2]" in await site.raw(1, b"litestats")


async def test_joined_reads_are_answered_in_json(open_hall) -> None:
    site = await open_hall()
    told = json.loads((await site.raw(0, b'{"command":"version+pools+nothing"}'))[:-1])
    assert told["version"][0]["STATUS"][0]["Code"] == 22
    assert len(told["pools"][0]["POOLS"]) == 3
    assert told["nothing"][0]["STATUS"][0]["Code"] == 14


async def test_callers_are_served_one_after_the_other(open_hall) -> None:
    site = await open_hall(answer_delay_s=0.15)
    loop = asyncio.get_running_loop()
    started_s = loop.time()
    replies = await asyncio.gather(*[site.raw(0, b"version") for _ in range(3)])
    assert all(reply.startswith(b"STATUS=S") for reply in replies)
    assert loop.time() - started_s >= 0.45
    assert site.network.dialects["avalon"].most_at_once == 3


async def test_a_caller_that_says_nothing_holds_up_the_next_until_it_is_gone(open_hall) -> None:
    site = await open_hall()
    _, idle = await asyncio.open_connection(site.address(0), 4028)
    await asyncio.sleep(0.05)
    waiting = asyncio.ensure_future(site.raw(0, b"version"))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    idle.close()
    assert (await waiting).startswith(b"STATUS=S")


async def test_faults_are_silence_and_garbage(open_hall) -> None:
    site = await open_hall()
    site.farm.switch_fault(FaultKind.MINER_GARBAGE, [0], is_active=True, value=None)
    garbage = {await site.raw(0, b"version") for _ in range(3)}
    assert len(garbage) == 3
    assert not any(reply.endswith(b"|\x00") for reply in garbage)
    site.farm.switch_fault(FaultKind.MINER_SILENT, [1], is_active=True, value=None)
    reader, writer = await asyncio.open_connection(site.address(1), 4028)
    writer.write(b"version")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3):
            await reader.read()
    writer.close()
    await writer.wait_closed()


async def test_watts_are_those_of_the_plant(open_hall) -> None:
    site = await open_hall(has_wall_power=False, has_input_power=False)
    words = (await site.ask(0, "stats"))["STATS"][0]["MM ID0"]
    assert "WALLPOWER" not in words
    assert "PS[0 1209 1187 254 3019 1188]" in words


def test_the_mixed_farm_has_avalons_of_both_kinds() -> None:
    groups = [
        one for one in load_farm_file(FARMS / "mixed.toml").machines if one.family == "avalon"
    ]
    assert {group.model for group in groups} == {"a1566", "avalon-q"}


def test_an_unknown_setting_of_the_table_is_refused(tmp_path: Path) -> None:
    text = (FARMS / "mixed.toml").read_text("utf-8") + "\n[avalon]\nhas_wheels = true\n"
    path = tmp_path / "farm.toml"
    path.write_text(text, "utf-8")
    with pytest.raises(FarmFileError, match="has_wheels"):
        load_farm_file(path)
