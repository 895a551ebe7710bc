"""The driver of Whatsminer API v2 reads simulated machines of every firmware."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from drivers.errors import WrongDeviceError
from drivers.miners.registry import open_miner
from drivers.miners.whatsminer_v2 import WhatsminerV2Reader
from drivers.readings import Activity, PowerProvenance

Open = Callable[..., Awaitable[Any]]
Listen = Callable[[Any], Awaitable[int]]


async def test_it_identifies_by_two_signs_and_reads_what_is_true(hall: Open) -> None:
    site = await hall()
    reader, label = site.reader(), site.farm.labels[0]
    identity = await reader.identify()
    assert (identity.family, identity.model) == ("whatsminer-v2", "WhatsMiner M50")
    assert (identity.mac, identity.serial) == (label.mac, label.serial)
    assert (identity.firmware, identity.board_count) == ("20230714.15.Rel", 3)
    assert identity.nameplate_hashrate_hs == pytest.approx(118e12)
    assert identity.is_writable
    reading = await reader.read()
    assert reading.activity is Activity.HASHING
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    assert reading.power_provenance is PowerProvenance.METERED_PSU
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([118e12 / 3] * 3)
    assert tuple(board.serial for board in reading.boards) == label.board_serials
    assert reading.profile == "100%"
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_serials_pools_limit_faults_and_percents(hall: Open) -> None:
    site = await hall()
    site.traits.faults["541"] = "2026-01-01 00:00:00"
    details = await site.reader().read_details()
    label = site.farm.labels[0]
    assert details.board_serials == label.board_serials
    assert details.power_supply_serial == f"PS{label.serial}"
    assert [(pool.slot, pool.is_active) for pool in details.pools] == [
        (1, True),
        (2, False),
        (3, False),
    ]
    assert details.pools[0].user == "farm.sim-00000"
    assert details.power_limit_w == 3518.0
    assert (details.profiles[0].name, details.profiles[-1].power_w) == ("60%", 3276.0)
    assert details.fan_speeds_rpm == (5000, 5040)
    assert [fault.code for fault in details.faults] == ["541"]
    assert details.uptime_s is not None


async def test_a_power_supply_that_measures_nothing_leaves_the_firmwares_figure(
    hall: Open,
) -> None:
    site = await hall(has_meter=False)
    reading = await site.reader().read()
    machine = site.farm.plant.machines[0]
    assert reading.power_w == machine.reported_w(site.farm.clock.now_s())
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE


SHAPES: list[dict[str, Any]] = [
    {"api": "2.0.4"},
    {"api": "2.2.0", "ends_with_nul": True},
    {"flaw": "newline"},
    {"flaw": "comma"},
    {"flaw": "joint"},
    {"flaw": "inf", "ends_with_nul": True},
]


@pytest.mark.parametrize("table", SHAPES)
async def test_every_firmwares_json_says_the_same(hall: Open, table: dict[str, Any]) -> None:
    site = await hall(**table)
    site.traits.faults |= {"110": "2026-01-01", "2010": "2026-01-02"}
    reader = site.reader()
    reading = await reader.read()
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    details = await reader.read_details()
    assert details.identity.is_writable
    assert details.identity.mac == site.farm.labels[0].mac
    assert [fault.code for fault in details.faults] == ["110", "2010"]


async def test_firmware_with_api_v1_is_read(hall: Open) -> None:
    site = await hall(api="1.4.0")
    site.traits.faults["110"] = "x"
    reader = site.reader()
    identity = await reader.identify()
    assert (identity.mac, identity.serial) == (site.farm.labels[0].mac, "")
    assert not identity.is_writable
    reading = await reader.read()
    assert reading.activity is Activity.HASHING
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    details = await reader.read_details()
    assert [profile.name for profile in details.profiles] == ["100%"]
    assert [fault.code for fault in details.faults] == ["110"]
    assert details.power_supply_serial is None


async def test_a_sleeper_whose_mining_program_is_gone_is_read_all_the_same(hall: Open) -> None:
    site = await hall(answers_asleep=False)
    reader = site.reader()
    assert (await reader.read()).activity is Activity.HASHING
    site.farm.act(0, lambda machine, now_s: machine.sleep(now_s=now_s))
    await asyncio.sleep(0.3)
    reading = await reader.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert (reading.power_w, len(reading.boards)) == (25.0, 3)
    details = await reader.read_details()
    assert (details.pools, details.fan_speeds_rpm, details.uptime_s) == ((), (), None)
    assert details.identity.board_count == 3
    stranger = site.reader()
    assert (await stranger.read()).boards == ()
    assert (await stranger.identify()).model == "WhatsMiner"


async def test_a_machine_that_starts_is_ramping(hall: Open) -> None:
    site = await hall()
    site.farm.act(0, lambda machine, now_s: machine.sleep(now_s=now_s))
    traits = site.traits
    traits.tuned_from_s = site.farm.clock.now_s() + 60.0
    site.farm.act(0, lambda machine, now_s: machine.wake(now_s=now_s))
    assert (await site.reader().read()).activity is Activity.RAMPING


async def test_another_mac_is_not_read(hall: Open) -> None:
    site = await hall()
    reader = site.reader(mac="02:00:00:00:00:99")
    for verb in (reader.identify, reader.read, reader.read_details):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()


async def test_a_machine_exchanged_between_two_reads_is_noticed(hall: Open) -> None:
    site = await hall()
    reader = site.reader()
    await reader.read()
    boards = ("HEM1", "HEM2", "HEM3")
    moved = replace(site.farm.labels[0], mac="02:00:00:00:00:98", board_serials=boards)
    site.farm.labels[0] = moved
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:98"):
        await reader.read()


async def test_firmware_with_api_v3_is_told_to_be_configured_as_such(hall: Open) -> None:
    site = await hall()
    reader = site.reader(index=1)
    for verb in (reader.identify, reader.read, reader.read_details):
        with pytest.raises(WrongDeviceError, match="configure it as whatsminer-v3"):
            await verb()


async def test_firmware_with_api_v3_is_known_where_its_own_port_is_closed(hall: Open) -> None:
    site = await hall()
    for verb in ("identify", "read", "read_details"):
        with pytest.raises(WrongDeviceError, match="by get_version"):
            await getattr(site.reader(index=1, newer_index=0), verb)()


async def test_an_update_to_api_v3_between_two_reads_is_noticed(hall: Open, listen: Listen) -> None:
    site = await hall()
    is_updated = False

    async def updated(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readline()
        is_flat = is_updated and b"summary" in question
        dialect = site.network.dialects["whatsminer-v3"] if is_flat else site.whatsminers
        writer.write(dialect.reply(1 if is_flat else 0, question) or b"")
        await writer.drain()

    reader = site.reader(port=await listen(updated))
    assert (await reader.read()).activity is Activity.HASHING
    is_updated = True
    with pytest.raises(WrongDeviceError, match="by summary"):
        await reader.read()


async def test_a_machine_that_listens_on_the_newer_port_as_well_is_of_api_v3(hall: Open) -> None:
    site = await hall()
    newer = site.farm.labels[1].address
    with pytest.raises(WrongDeviceError, match=rf"by {newer}:4433"):
        await site.reader(newer_index=1).identify()


async def test_firmware_without_edevs_devdetails_and_psu_is_read_by_what_it_has(
    hall: Open, listen: Listen
) -> None:
    site = await hall()
    asked: list[str] = []

    async def poorer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        question = await reader.readline()
        asked.append(json.loads(question)["command"])
        if asked[-1].rpartition("+")[2] in {"edevs", "devdetails", "get_psu"}:
            question = b'{"cmd":"no.such.command"}'
        writer.write(site.whatsminers.reply(0, question) or b"")
        await writer.drain()

    reader = site.reader(port=await listen(poorer))
    identity = await reader.identify()
    assert (identity.model, identity.board_count) == ("WhatsMiner", 3)
    reading = await reader.read()
    assert reading.hashrate_hs == pytest.approx(118e12, rel=1e-6)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert asked.count("edevs") == asked.count("summary+edevs") == 1  # found out once
    await reader.read()
    assert asked[-2:] == ["get_psu", "summary+devs"]


async def test_closing_is_always_possible(hall: Open) -> None:
    site = await hall()
    label = site.farm.labels[0]
    miner = open_miner(f"whatsminer-v2://{label.address}?v3=4433", miner_id="w", mac=label.mac)
    assert isinstance(miner, WhatsminerV2Reader)
    assert (await miner.read()).miner_id == "w"
    await miner.close()
