"""What the driver of Braiins OS refuses, and what it says when the machine does."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from drivers.device import SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import (
    RefusedError,
    UnreachableError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.miners import braiins
from drivers.miners.braiins import BraiinsMiner, BraiinsReader
from drivers.miners.registry import open_miner
from drivers.readings import Activity

Open = Callable[..., Awaitable[Any]]


async def test_a_mining_program_that_does_not_run_is_said_in_words(hall: Open) -> None:
    site = await hall()
    site.dialect.traits(0).is_stopped = True
    miner = site.miner()
    for verb in (miner.read, miner.sleep, miner.wake):
        with pytest.raises(RefusedError, match=r"412.*BOSminer is not running.*status"):
            await verb()


async def test_without_a_password_it_reads_as_far_as_that_goes(hall: Open) -> None:
    site = await hall()
    with pytest.raises(RefusedError, match="password_file"):
        await site.reader().read()
    assert not isinstance(site.reader(), SwitchesBoards | SelectsProfile | Sleeps)


async def test_a_wrong_password_says_what_to_do_and_keeps_the_secret(
    hall: Open, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    site = await hall()
    miner = site.miner(password="hunter2")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep):
        with pytest.raises(RefusedError, match="password file") as caught:
            await verb()
        assert "hunter2" not in f"{caught.value} {caught.value.reply!r} {caplog.text} {miner!r}"
    assert site.machine.is_awake


async def test_another_mac_is_neither_read_nor_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner(mac="02:00:00:00:00:99")
    for verb in (miner.identify, miner.read, miner.read_details, miner.sleep, miner.wake):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:99"):
            await verb()
    assert site.machine.counters.commands == 0


async def test_an_address_that_moved_to_another_machine_is_not_written_to(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.identify()
    labels = site.network.farm.labels
    labels[0] = replace(labels[0], mac="02:00:00:00:00:98")
    for verb in (miner.sleep, lambda: miner.switch_board(1, is_on=False)):
        with pytest.raises(WrongDeviceError, match="02:00:00:00:00:98"):
            await verb()
    assert site.machine.counters.commands == 0


async def test_a_machine_of_one_sign_is_read_but_not_written_to(hall: Open) -> None:
    site = await hall()
    labels = site.network.farm.labels
    labels[0] = replace(labels[0], mac="unknown")
    miner = site.miner(mac=None)
    assert not (await miner.identify()).is_writable
    with pytest.raises(WrongDeviceError, match="not certain"):
        await miner.sleep()
    assert site.machine.counters.commands == 0


async def test_an_old_firmware_is_to_be_upgraded(hall: Open) -> None:
    site = await hall(firmware="25.05.1")
    for device in (site.miner(), site.reader()):
        with pytest.raises(UnsupportedError, match=r"upgrade its firmware to 25\.07"):
            await device.identify()
    with pytest.raises(UnsupportedError, match=r"upgrade its firmware to 25\.07"):
        await site.miner().read()


@pytest.mark.parametrize("name", ["+100W", "-100W", "85.5%", "2400", "0W", "2400w", "", "2400W\n"])
async def test_relative_targets_are_never_sent(hall: Open, name: str) -> None:
    site = await hall()
    with pytest.raises(UnsupportedError, match="absolute watts"):
        await site.miner().select_profile(name)
    assert site.machine.counters.commands == 0


async def test_a_target_outside_the_limits_or_under_another_mode_is_refused(hall: Open) -> None:
    site = await hall()
    for name in ("1805W", "3011W"):
        with pytest.raises(RefusedError, match="not within the limits"):
            await site.miner().select_profile(name)
    assert site.machine.counters.commands == 0


@pytest.mark.parametrize("tuner", ["hashrate", "off"])
async def test_a_target_is_not_forced_upon_another_mode_of_the_tuner(
    hall: Open, tuner: str
) -> None:
    site = await hall(tuner=tuner)
    with pytest.raises(RefusedError, match="No power target rules"):
        await site.miner().select_profile("2400W")
    assert site.machine.counters.commands == 0


async def test_a_firmware_that_cannot_switch_boards_says_so(hall: Open) -> None:
    site = await hall(can_switch_boards=False)
    with pytest.raises(UnsupportedError, match="501"):
        await site.miner().switch_board(1, is_on=False)


async def test_a_slow_machine_is_waited_for_up_to_the_limit(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall(answer_delay_s=0.1)
    miner = site.miner()
    assert (await miner.read()).activity is Activity.HASHING
    monkeypatch.setattr(braiins, "READ_LIMIT_S", 0.15)
    with pytest.raises(UnreachableError, match="did not answer everything within"):
        await miner.read()
    monkeypatch.setattr(braiins, "WRITE_LIMIT_S", 0.15)
    with pytest.raises(UnreachableError, match="was not sent"):
        await miner.sleep()
    assert site.machine.counters.commands == 0


async def test_the_registry_opens_a_miner_with_a_password_and_a_reader_without(
    hall: Open, tmp_path: Path
) -> None:
    site = await hall()
    label = site.network.farm.labels[0]
    secret = tmp_path / "secret"
    secret.write_text("farm-pass\n")
    uri = f"braiins://{label.address}:8080"
    miner = open_miner(uri, miner_id="b", mac=label.mac, password_file=secret)
    reader = open_miner("braiins://10.1.1.13", miner_id="b", mac=None)
    assert isinstance(miner, BraiinsMiner)
    assert (await miner.read()).activity is Activity.HASHING
    assert isinstance(reader, BraiinsReader)
    assert not isinstance(reader, BraiinsMiner)
    assert reader._pages.address == "10.1.1.13:80"
    assert "farm-pass" not in f"{vars(miner)['_pages']!r} {miner!r}"
    await miner.close()
    await reader.close()
