"""What the driver of VNish tells simulated machines, and what comes of it."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
import pytest_asyncio

from drivers.errors import (
    BusyError,
    RefusedError,
    UnsupportedError,
    WrongDeviceError,
)
from drivers.link import vnish_login
from drivers.link.http import HttpLink
from drivers.miners.vnish import VnishMiner, VnishReader
from drivers.readings import Activity
from simulator.clock import started_now
from simulator.farm import build_farm
from simulator.farm_file import FarmFile
from simulator.faults import FaultKind
from simulator.network import Network
from simulator.vnish import VnishFarm

NET = f"127.{64 + os.getpid() % 64}.0.0"  # every test process has addresses of its own
PORT = 8080
PASSWORD = "farm-pass"  # the simulator's own
MOVED = {"unlock", "mining/pause", "mining/resume", "mining/start", "mining/throttle", "settings"}

Open = Callable[..., Awaitable[Network]]
Make = Callable[..., VnishMiner]


@pytest_asyncio.fixture
async def hall() -> AsyncIterator[Open]:
    """Opens a hall of one quick S21; the arguments are the [vnish] table."""
    async with AsyncExitStack() as stack:

        async def start(**table: Any) -> Network:
            document = {
                "addresses": {"base": NET, "has_web": False, "web_port": PORT},
                "vnish": {"has_older_reads": False, **table},
                "spread": {"reporting": 0.0, "tolerance": 0.0},
                "machines": [{"family": "vnish", "model": "s21", "count": 1}],
                "meters": [{"id": "site", "port": 0, "serial": 12345678, "refresh_s": 0.1}],
            }
            network = Network(farm=build_farm(FarmFile.model_validate(document), started_now()))
            machine = network.farm.plant.machines[0]
            quick = {"profile_up_s": 0.2, "profile_down_s": 0.2, "sleep_s": 0.2, "wake_s": 0.4}
            machine.timings = replace(machine.timings, **quick)
            await network.open()
            stack.push_async_callback(network.close)
            return network

        yield start


@pytest_asyncio.fixture
async def miner_in() -> AsyncIterator[Make]:
    made: list[VnishReader] = []

    def make(
        network: Network, *, password: str | None = PASSWORD, mac: str = "", answer_s: float = 2.0
    ) -> VnishMiner:
        label = network.farm.labels[0]
        link = HttpLink(host=label.address, port=PORT, answer_s=answer_s)
        pinned = mac or label.mac
        made.append(VnishMiner(miner_id="v", link=link, mac=pinned, password=password))
        return made[-1]

    yield make
    for miner in made:
        await miner.close()


def vnishes(network: Network) -> VnishFarm:
    dialect = network.dialects["vnish"]
    assert isinstance(dialect, VnishFarm)
    return dialect


def true_w(network: Network) -> float:
    return network.farm.plant.machines[0].watts.value(network.farm.clock.now_s())


def asked(network: Network) -> list[str]:
    return [name for _, name in vnishes(network).asked]


async def test_a_percent_moves_the_watts_and_is_read_back(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.select_profile("70%")
    await asyncio.sleep(0.3)
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("70%", Activity.HASHING)
    assert true_w(network) == pytest.approx(0.72 * 3500.0, rel=0.01)
    assert reading.power_w == pytest.approx(true_w(network), abs=1.0)
    assert reading.hashrate_hs == pytest.approx(140e12)


async def test_the_least_percent_draws_what_its_profile_says_within_what_is_confirmed(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    miner = miner_in(network)
    said_w = (await miner.read_details()).profiles[0].power_w
    await miner.select_profile("20%")
    await asyncio.sleep(0.3)
    assert true_w(network) == pytest.approx(said_w, rel=0.15)


async def test_sleep_and_wake_and_a_sleeper_shows_the_whole(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.select_profile("60%")
    await miner.sleep()
    assert (await miner.read()).activity is Activity.SLEEPING  # still shutting down
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.profile, len(asleep.boards)) == (Activity.SLEEPING, "100%", 3)
    assert true_w(network) < 60.0
    assert (await miner.read_details()).pools[0].is_active is False
    await miner.wake()
    waking = await miner.read()
    assert (waking.activity, waking.boards[0].is_ramping) == (Activity.RAMPING, True)
    await asyncio.sleep(0.7)
    awake = await miner.read()
    assert (awake.activity, awake.profile) == (Activity.HASHING, "100%")
    assert true_w(network) == pytest.approx(3500.0, rel=0.01)
    assert "mining/start" not in asked(network)


async def test_one_login_serves_many_writes_and_is_renewed_once_when_it_has_ended(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    logins, miner = vnishes(network).logins(0), miner_in(network)
    await miner.select_profile("80%")
    await miner.select_profile("90%")
    assert logins.granted == 1
    logins.tokens.clear()
    await miner.select_profile("70%")
    assert logins.granted == 2
    assert network.farm.plant.machines[0].counters.commands == 3
    assert vnishes(network).traits(0).percent == 70


async def test_a_wrong_password_is_said_once_and_not_hammered_on(
    hall: Open, miner_in: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.DEBUG)
    network = await hall(password="another", wrong_tries=2)
    miner = miner_in(network, password="hunter2")
    for verb in (miner.sleep, miner.wake, miner.sleep):
        with pytest.raises(RefusedError, match="refuses the password") as caught:
            await verb()
        assert "hunter2" not in f"{caught.value} {caught.value.reply!r} {caplog.text}"
    assert vnishes(network).logins(0).asked == 1
    monkeypatch.setattr(vnish_login, "LOGIN_PAUSE_S", 0.0)
    miner = miner_in(network, password="hunter2")
    with pytest.raises(RefusedError, match="HTTP 403"):
        await miner.sleep()
    with pytest.raises(BusyError, match="tried too often"):
        await miner.sleep()
    assert network.farm.plant.machines[0].is_awake


async def test_a_machine_that_moved_between_two_writes_is_not_written_to(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.select_profile("80%")
    moved = replace(network.farm.labels[0], mac="02:00:00:00:00:77")
    network.farm.labels[0] = moved  # type: ignore[index] # a list
    with pytest.raises(WrongDeviceError, match="02:00:00:00:00:77"):
        await miner.select_profile("60%")
    assert vnishes(network).traits(0).percent == 80


async def test_older_firmware_has_no_throttle_but_sleeps(hall: Open, miner_in: Make) -> None:
    network = await hall(version="1.2.6")
    miner = miner_in(network)
    details = await miner.read_details()
    assert [profile.name for profile in details.profiles] == ["100%"]
    assert (await miner.read()).profile == "100%"
    with pytest.raises(UnsupportedError, match=r"VNish 1\.2\.6, which has no throttle"):
        await miner.select_profile("80%")
    assert "mining/throttle" not in asked(network)
    await miner.sleep()
    assert not network.farm.plant.machines[0].is_awake


async def test_a_preset_that_is_not_tuned_takes_no_percent(hall: Open, miner_in: Make) -> None:
    network = await hall()
    vnishes(network).traits(0).tuned.clear()
    miner = miner_in(network)
    assert [profile.name for profile in (await miner.read_details()).profiles] == ["100%"]
    with pytest.raises(RefusedError, match="preset of machine v is not tuned"):
        await miner.select_profile("80%")
    await miner.select_profile("100%")  # the whole is no change of its tuning
    vnishes(network).traits(0).preset = "disabled"
    assert len((await miner.read_details()).profiles) == 17


@pytest.mark.parametrize("name", ["", "+5", "19%", "73%", "2852", "default"])
async def test_only_listed_percents_can_be_chosen(hall: Open, miner_in: Make, name: str) -> None:
    network = await hall()
    with pytest.raises(UnsupportedError, match="not the name"):
        await miner_in(network).select_profile(name)
    assert asked(network) == []


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(
    hall: Open, miner_in: Make
) -> None:
    network = await hall()
    network.farm.switch_fault(FaultKind.MINER_IGNORES, [0], is_active=True, value=None)
    miner = miner_in(network)
    await miner.select_profile("60%")  # accepted, and nothing else
    await miner.sleep()
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("100%", Activity.HASHING)


async def test_a_refusal_carries_the_machines_reason(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    await miner.sleep()
    with pytest.raises(RefusedError, match="failed-to-activate-pause-mode"):
        await miner.sleep()
    with pytest.raises(RefusedError, match="failed-to-throttle"):
        await miner.select_profile("60%")


async def test_where_resume_is_refused_start_is_tried(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    with pytest.raises(RefusedError, match=r"mining/start.*failed-to-activate-resume-mode"):
        await miner.wake()
    assert [name for name in asked(network) if name.startswith("mining/")] == [
        "mining/resume",
        "mining/start",
    ]


async def test_a_yes_without_a_body_is_a_yes(hall: Open, miner_in: Make) -> None:
    network = await hall(has_silent_yes=True)
    await miner_in(network).sleep()
    assert not network.farm.plant.machines[0].is_awake


async def test_settings_are_never_posted(hall: Open, miner_in: Make) -> None:
    network = await hall()
    miner = miner_in(network)
    for percent in ("80%", "60%", "100%"):
        await miner.select_profile(percent)
    await miner.sleep()
    await miner.wake()
    await miner.read_details()
    told = {name for method, name in vnishes(network).asked if method == "POST"}
    assert told == {"unlock", "mining/throttle", "mining/pause", "mining/resume"}
