"""The driver of stock Antminers against simulated machines: what is read, told and read back."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.device import SelectsProfile, SharesSession, Sleeps, SwitchesBoards
from drivers.errors import BadReplyError, RefusedError, UnsupportedError, WrongDeviceError
from drivers.readings import Activity, PowerProvenance
from drivers.wire import antminer_modes
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]


SHAPES = [
    {"stats": "legacy"},
    {"stats": "legacy", "flaw": "joint"},
    {"stats": "legacy", "flaw": "comma"},
    {"stats": "legacy", "flaw": "nul", "nonce_uses": 100},
    {"stats": "new_api", "flaw": "nul"},
]


@pytest.mark.parametrize("table", SHAPES)
async def test_it_identifies_by_two_signs_and_reads_what_is_true(
    hall: Open, table: dict[str, Any]
) -> None:
    site = await hall(**table)
    miner, label = site.miner(), site.farm.labels[0]
    identity = await miner.identify()
    assert (identity.family, identity.model) == ("antminer", "Antminer S19j Pro")
    assert (identity.mac, identity.serial) == (label.mac, label.serial)
    assert (identity.board_count, identity.nameplate_hashrate_hs) == (3, 104e12)
    assert identity.is_writable
    reading = await miner.read()
    assert reading.activity is Activity.HASHING
    assert reading.hashrate_hs == pytest.approx(104e12)
    assert [board.hashrate_hs for board in reading.boards] == pytest.approx([104e12 / 3] * 3)
    assert [board.temperature_c for board in reading.boards] == [51.0] * 3
    assert (reading.power_w, reading.power_provenance) == (None, PowerProvenance.ABSENT)
    assert reading.profile == "normal"
    assert reading.requested_at_s < reading.replied_at_s


async def test_details_have_pools_fans_serials_uptime_and_modes(hall: Open) -> None:
    site = await hall(stats="new_api", serial_key="serial_no")
    details = await site.miner().read_details()
    label = site.farm.labels[0]
    assert details.identity.firmware == "FR-1.12(251009)"
    assert details.identity.serial == label.serial
    assert details.board_serials == label.board_serials
    assert [pool.is_active for pool in details.pools] == [True, False, False]
    assert [pool.is_alive for pool in details.pools] == [True] * 3
    assert details.pools[1].user == f"farm.{label.hostname}"
    assert (details.pools[0].accepted, details.pools[0].rejected) == (0, 0)
    assert details.fan_speeds_rpm == (5880, 6000, 5040, 5040)
    assert details.uptime_s is not None
    assert details.uptime_s >= 3_600
    assert [(one.name, one.step) for one in details.profiles] == [("low", -1), ("normal", 0)]
    assert details.profiles[1].power_w == 3068.0
    assert details.profiles[0].power_w < details.profiles[1].power_w
    assert details.faults == ()


async def test_faults_are_told_in_our_words_with_the_vendors_code(hall: Open) -> None:
    site = await hall(power="service")
    site.traits.checks["fans"] = {"status": "e", "code": 3, "msg": "fan lost"}
    site.traits.warning = "J1:4"
    faults = {fault.code: fault.words for fault in (await site.miner().read_details()).faults}
    assert faults == {
        "fans:3": "A fan has failed (fan lost).",
        "J1:4": "A hashboard's memory cannot be read.",
    }


@pytest.mark.parametrize("power", ["chain_power", "watt", "service"])
async def test_watts_are_read_where_the_machine_tells_them(hall: Open, power: str) -> None:
    site = await hall(stats="new_api" if power == "watt" else "legacy", power=power)
    miner = site.miner()
    await miner.read_details()  # finds out whether there is a service
    reading = await miner.read()
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE


async def test_an_old_service_tells_no_watts(hall: Open) -> None:
    site = await hall(power="old_service")
    miner = site.miner()
    await miner.read_details()
    assert (await miner.read()).power_provenance is PowerProvenance.ABSENT


async def test_a_service_that_falls_silent_is_a_failure_once_and_absent_after_it(
    hall: Open,
) -> None:
    site = await hall(power="service")
    miner = site.miner()
    await miner.read_details()
    site.traits.is_service_old = True  # as after a change of firmware
    with pytest.raises(BadReplyError, match="any more"):
        await miner.read()
    await miner.read_details()
    assert (await miner.read()).power_w is None


@pytest.mark.parametrize("shows", ["empty", "zeros"])
@pytest.mark.parametrize("stats", ["legacy", "new_api"])
async def test_sleep_and_wake_move_the_plant_and_are_read_back(
    hall: Open, stats: str, shows: str
) -> None:
    site = await hall(stats=stats, sleep_shows=shows)
    miner = site.miner()
    await miner.sleep()
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.hashrate_hs) == (Activity.SLEEPING, 0.0)
    assert (asleep.profile, len(asleep.boards)) == ("normal", 3)
    assert site.true_w < 60.0
    details = await miner.read_details()
    assert details.identity.is_writable
    assert details.profiles[-1].power_w == 3068.0
    miner = site.miner()  # another process: nothing is remembered of the last write
    await miner.wake()
    ramping = await miner.read()
    assert (ramping.activity, ramping.boards[0].is_ramping) == (Activity.RAMPING, True)
    await asyncio.sleep(0.5)
    assert (await miner.read()).activity is Activity.HASHING
    assert site.true_w == pytest.approx(3068.0, rel=0.01)
    assert site.traits.writes == 2


async def test_the_form_gives_back_everything_that_it_does_not_change(hall: Open) -> None:
    site = await hall()
    site.traits.fan_ctrl, site.traits.fan_pwm, site.traits.freq_level = True, "70", "90"
    before = json.dumps(site.traits.pools)
    await site.miner().sleep()
    assert json.dumps(site.traits.pools) == before
    assert (site.traits.fan_ctrl, site.traits.fan_pwm, site.traits.freq_level) == (True, "70", "90")
    assert site.traits.mode == 1


async def test_the_low_power_mode_is_chosen_by_the_number_of_the_model(hall: Open) -> None:
    site = await hall(low_mode=3)
    miner = site.miner()
    await miner.select_profile("low")
    await asyncio.sleep(0.4)
    reading = await miner.read()
    assert (reading.profile, site.traits.mode, site.machine.point.name) == ("low", 3, "low")
    assert reading.hashrate_hs == pytest.approx(104e12 * 0.83, rel=0.01)


async def test_what_it_should_hash_in_low_power_is_not_its_nameplate(hall: Open) -> None:
    site = await hall()
    await site.miner().select_profile("low")
    await asyncio.sleep(0.4)
    details = await site.miner().read_details()
    assert details.identity.nameplate_hashrate_hs == 104e12
    assert details.profiles[-1].hashrate_hs == 104e12


async def test_a_model_without_a_known_low_mode_offers_none(hall: Open) -> None:
    site = await hall("s21-pro")
    miner = site.miner()
    assert [one.name for one in (await miner.read_details()).profiles] == ["normal"]
    with pytest.raises(UnsupportedError, match="not the name of a mode"):
        await miner.select_profile("low")
    assert site.traits.writes == 0


async def test_a_wake_into_the_low_power_mode_is_one_write(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    with pytest.raises(RefusedError, match="asleep"):
        await miner.select_profile("low")
    other = site.miner()
    async with other.writing() as session:
        await session.wake()
        await session.select_profile("low")
    assert (site.traits.mode, site.traits.writes, site.machine.is_awake) == (3, 2, True)
    async with other.writing() as session:
        await session.sleep()
    assert (site.traits.mode, site.traits.writes) == (1, 3)
    async with other.writing():
        pass
    assert site.traits.writes == 3


async def test_the_flash_is_spared_but_a_stop_never_waits(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall()
    miner = site.miner()
    await miner.sleep()
    with pytest.raises(RefusedError, match=r"keeps modes in flash: the next one is due in 15 min"):
        await miner.wake()
    assert site.traits.writes == 1
    monkeypatch.setattr(antminer_modes, "WRITES_APART_S", 0.0)
    await miner.wake()
    monkeypatch.undo()
    await miner.sleep()
    assert (site.traits.mode, site.traits.writes) == (1, 3)


async def test_what_is_so_already_is_not_written(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.wake()
    await miner.select_profile("normal")
    assert site.traits.writes == 0
    await miner.sleep()
    await miner.sleep()
    assert site.traits.writes == 1


@pytest.mark.parametrize("kind", ["text", "number"])
async def test_a_number_that_is_ignored_is_told_once_more_as_text(hall: Open, kind: str) -> None:
    site = await hall(takes_mode_as=kind)
    miner = site.miner()
    await miner.sleep()
    assert site.machine.is_awake is (kind == "text")  # accepted, and nothing else
    await miner.sleep()
    assert not site.machine.is_awake
    assert site.traits.writes == (2 if kind == "text" else 1)


async def test_a_machine_that_ignores_every_mode_is_not_told_for_ever(hall: Open) -> None:
    site = await hall()
    site.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = site.miner()
    await miner.sleep()
    assert (await miner.read()).activity is Activity.HASHING
    await miner.sleep()
    with pytest.raises(RefusedError, match="next one is due"):
        await miner.sleep()
    assert site.traits.writes == 2


async def test_a_machine_that_keeps_the_mode_and_hashes_on_is_read_as_hashing(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(needs_reboot=True)
    miner = site.miner()
    await miner.sleep()
    assert (await miner.read()).activity is Activity.HASHING
    assert site.traits.mode == 1
    await miner.sleep()  # it may take a while: not told again
    monkeypatch.setattr(antminer_modes, "FALLS_S", 0.0)
    with pytest.raises(RefusedError, match="restart it by hand"):
        await miner.sleep()
    assert site.traits.writes == 1


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert site.machine.counters.commands == 0


async def test_a_wrong_password_is_one_sentence_and_stays_secret(
    hall: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await hall()
    miner = site.miner(password="swordfish")
    for verb in (miner.identify, miner.read, miner.sleep):
        with pytest.raises(RefusedError, match=r"check the machine's password file\.\Z") as caught:
            await verb()
        assert "swordfish" not in f"{caught.value} {caught.value.reply!r} {caplog.text}"
    assert site.machine.counters.commands == 0


async def test_without_a_password_the_api_alone_is_read_and_nothing_can_be_written(
    hall: Open,
) -> None:
    site = await hall(power="chain_power")
    reader = site.reader()
    assert not isinstance(reader, Sleeps | SelectsProfile | SharesSession | SwitchesBoards)
    details = await reader.read_details()
    assert (details.identity.model, details.identity.mac) == ("Antminer S19j Pro", "")
    assert not details.identity.is_writable
    assert len(details.pools) == 3
    reading = await reader.read()
    assert reading.hashrate_hs == pytest.approx(104e12)
    assert (reading.activity, reading.profile) == (Activity.HASHING, None)
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    await site.miner().sleep()
    await asyncio.sleep(0.3)
    assert (await reader.read()).activity is Activity.STOPPED


async def test_a_writer_has_the_abilities_of_its_family(hall: Open) -> None:
    miner = (await hall()).miner()
    assert isinstance(miner, Sleeps)
    assert isinstance(miner, SelectsProfile)
    assert isinstance(miner, SharesSession)
    assert not isinstance(miner, SwitchesBoards)


async def test_no_pool_password_is_in_what_the_driver_shows(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    shown = repr(await miner.read_details()) + repr(await miner.read())
    assert "pool-secret" not in shown
    site.traits.fan_pwm = "100"
    site.traits.mode = "soon"  # a configuration that cannot be read
    with pytest.raises(BadReplyError) as caught:
        await miner.identify()
    assert "pool-secret" not in f"{caught.value!r} {caught.value.reply!r} {caught.value.__cause__}"
