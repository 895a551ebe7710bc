"""The driver of Braiins OS against simulated machines: identity, readings, details, abilities."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from drivers.device import SelectsProfile, Sleeps, SwitchesBoards
from drivers.errors import DriverError, UnsupportedError
from drivers.link.http import HttpLink, HttpReply
from drivers.miners import braiins
from drivers.miners.braiins import BraiinsMiner
from drivers.readings import Activity, MinerReading, PowerProvenance
from simulator.faults import FaultKind

Open = Callable[..., Awaitable[Any]]


async def test_it_identifies_by_two_signs_and_reads_what_is_true(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    identity = await miner.identify()
    label = site.network.farm.labels[0]
    assert (identity.family, identity.model) == ("braiins", "Antminer S19 XP")
    assert (identity.mac, identity.serial) == (label.mac, label.serial)
    assert (identity.firmware, identity.board_count) == ("2025-08-06-0-3881c51d-25.07-plus", 3)
    assert identity.nameplate_hashrate_hs == pytest.approx(140e12)
    assert identity.is_writable
    reading = await miner.read()
    assert reading.activity is Activity.HASHING
    assert reading.power_w == pytest.approx(site.true_w, abs=1.0)
    assert reading.power_provenance is PowerProvenance.FIRMWARE_ESTIMATE
    assert reading.hashrate_hs == pytest.approx(140e12)
    assert [(board.board, board.is_enabled) for board in reading.boards] == [
        (1, True),
        (2, True),
        (3, True),
    ]
    assert [board.serial for board in reading.boards] == list(label.board_serials)
    assert reading.profile == "3010W"
    assert reading.requested_at_s < reading.replied_at_s
    assert isinstance(miner, SwitchesBoards)
    assert isinstance(miner, SelectsProfile)
    assert isinstance(miner, Sleeps)


async def test_details_have_serials_pools_target_fans_and_the_ladder(hall: Open) -> None:
    site = await hall(firmware="26.04")
    details = await site.miner().read_details()
    label = site.network.farm.labels[0]
    assert details.board_serials == label.board_serials
    assert details.power_supply_serial == f"PS{label.serial}"
    assert [(pool.is_active, pool.user) for pool in details.pools] == [
        (True, f"farm.{label.hostname}"),
        (False, f"farm.{label.hostname}"),
    ]
    assert details.pools[1].accepted == 0
    assert details.power_limit_w == 3010
    assert details.fan_speeds_rpm == (5880, 5886, 5892, 5898)
    assert details.uptime_s is not None
    assert details.uptime_s >= 3600
    assert details.faults == ()
    names = [profile.name for profile in details.profiles]
    assert (names[0], names[-1]) == ("1806W", "3010W")
    assert [profile.step for profile in details.profiles] == list(range(1 - len(names), 1))
    assert all(profile.is_tuned for profile in details.profiles)


async def test_settings_faults_and_the_licence_are_said(hall: Open) -> None:
    site = await hall(tuner="hashrate", is_scaling=True, licence="expired", pause_s=90)
    site.dialect.traits(0).faults.append(
        {
            "timestamp": "2026-04-08T08:03:18Z",
            "message": "Hashboard 2 lost",
            "error_codes": [{"code": "B21", "reason": "no answer", "hint": "reseat it"}],
            "components": [],
        }
    )
    miner = site.miner()
    details = await miner.read_details()
    words = {fault.code: fault.words for fault in details.faults}
    assert set(words) == {"no-power-target", "dps", "quick-ramping", "license-expired", "B21"}
    assert "A pause takes 90 s" in words["quick-ramping"]
    assert "Hashboard 2 lost (no answer)" in words["B21"]
    assert (details.profiles, details.power_limit_w) == ((), None)
    assert (await miner.read()).profile is None


async def test_a_power_target_moves_the_watts_and_is_read_back(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.select_profile("2410W")  # not one of the plant's own points
    assert (await miner.read()).profile == "2410W"
    await asyncio.sleep(0.3)
    lower = await miner.read()
    assert site.true_w == pytest.approx(2410.0, abs=1.0)
    assert (lower.activity, lower.power_w) == (Activity.HASHING, pytest.approx(2410.0, abs=1.0))
    await miner.select_profile("3010W")
    rising = await miner.read()
    assert rising.activity is Activity.RAMPING
    assert all(board.is_ramping for board in rising.boards)
    await asyncio.sleep(1.1)
    assert (await miner.read()).activity is Activity.HASHING
    assert site.true_w == pytest.approx(3010.0, abs=1.0)


STATS, BOARDS, DETAILS = "miner/stats", "miner/hw/hashboards", "miner/details"
CONFIGURATION, TUNER = "configuration/miner", "performance/tuner-state"
TARGET = [STATS, BOARDS, CONFIGURATION]
ALL = [*TARGET, DETAILS]


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The pages that were asked for; whoever looks takes them out."""
    pages: list[str] = []
    send = HttpLink.send

    async def told(link: HttpLink, method: str, path: str, **rest: Any) -> HttpReply:
        pages.append(path.removeprefix("/api/v1/"))
        return await send(link, method, path, **rest)

    monkeypatch.setattr(HttpLink, "send", told)
    return pages


async def taken(asked: list[str], miner: BraiinsMiner) -> tuple[list[str], MinerReading]:
    """What one fast read asks for, and gives."""
    asked.clear()
    reading = await miner.read()
    return list(asked), reading


@pytest.fixture
def later(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Lets the driver's clock leap."""
    real, ahead = braiins.time.clock_gettime, [0.0]
    monkeypatch.setattr(braiins.time, "clock_gettime", lambda clock: real(clock) + ahead[0])

    def leap(seconds: float) -> None:
        ahead[0] += seconds

    return leap


async def test_what_it_said_of_itself_stands_for_a_minute_while_it_goes_on_as_it_did(
    hall: Open, asked: list[str], later: Callable[[float], None]
) -> None:
    miner = (await hall()).miner()
    await miner.read()
    for _ in range(5):
        pages, reading = await taken(asked, miner)
        assert pages == [STATS, BOARDS]
        assert (reading.activity, reading.profile) == (Activity.HASHING, "3010W")
        later(10.0)
    later(10.0)
    assert (await taken(asked, miner))[0] == TARGET
    assert (await taken(asked, miner))[0] == [STATS, BOARDS]


async def test_a_target_that_somebody_else_sets_is_seen_in_the_read_in_which_the_watts_move(
    hall: Open, asked: list[str]
) -> None:
    site = await hall()
    miner, other = site.miner(), site.miner()
    await miner.read()
    await other.select_profile("2410W")
    await asyncio.sleep(0.3)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.profile) == (TARGET, "2410W")


async def test_a_pause_and_a_board_that_somebody_else_switches_off_are_seen_at_once(
    hall: Open, asked: list[str]
) -> None:
    site = await hall()
    miner, other = site.miner(), site.miner()
    await miner.read()
    await other.switch_board(2, is_on=False)
    await asyncio.sleep(0.2)
    pages, reading = await taken(asked, miner)
    assert pages[:3] == TARGET
    assert [board.is_enabled for board in reading.boards] == [True, False, True]
    await other.sleep()
    await asyncio.sleep(0.3)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.activity) == (ALL, Activity.SLEEPING)
    await other.switch_board(2, is_on=True)
    await other.wake()
    await asyncio.sleep(1.3)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.activity) == (ALL, Activity.HASHING)


async def test_after_a_write_everything_is_asked_until_it_must_have_taken_effect(
    hall: Open, asked: list[str], later: Callable[[float], None]
) -> None:
    miner = (await hall()).miner()
    await miner.read()
    await miner.select_profile("3010W")
    for _ in range(12):
        assert (await taken(asked, miner))[0] == ALL
        later(10.0)
    later(10.0)
    assert (await taken(asked, miner))[0] == TARGET
    assert (await taken(asked, miner))[0] == [STATS, BOARDS]


async def test_a_read_that_began_before_a_write_leaves_nothing_standing(
    hall: Open, asked: list[str]
) -> None:
    miner = (await hall()).miner()
    await miner.read()
    await asyncio.gather(miner.read(), miner.select_profile("3010W"))
    assert (await taken(asked, miner))[0] == ALL


async def test_nothing_stands_after_a_read_that_failed_or_on_another_connection(
    hall: Open, asked: list[str]
) -> None:
    site = await hall()
    miner = site.miner()
    await miner.read()
    await site.fault(FaultKind.MINER_GARBAGE)
    with pytest.raises(DriverError):
        await miner.read()
    site.network.farm.clear_faults()
    await site.network.apply_faults()
    assert (await taken(asked, miner))[0] == ALL
    await miner.close()
    assert (await taken(asked, miner))[0] == ALL


async def test_the_tuner_is_asked_only_where_the_watts_of_the_target_are_not_there(
    hall: Open, asked: list[str]
) -> None:
    miner = (await hall()).miner()
    assert (await taken(asked, miner))[0][-4:] == ALL
    await miner.select_profile("2410W")
    await asyncio.sleep(0.3)
    await miner.select_profile("3010W")
    pages, reading = await taken(asked, miner)
    assert (pages, reading.activity) == ([*ALL, TUNER], Activity.RAMPING)
    await asyncio.sleep(1.1)
    pages, reading = await taken(asked, miner)
    assert (pages, reading.activity) == (ALL, Activity.HASHING)


async def test_a_board_is_switched_off_and_on_by_its_own_number(hall: Open) -> None:
    site = await hall(first_board=6)
    miner = site.miner()
    await miner.switch_board(7, is_on=False)
    await asyncio.sleep(0.2)
    off = await miner.read()
    assert [board.is_enabled for board in off.boards] == [True, False, True]
    assert off.boards[1].hashrate_hs == 0.0
    assert off.power_w == pytest.approx(80.0 + (3010.0 - 80.0) * 2 / 3, abs=1.0)
    assert not site.machine.boards[1].is_enabled
    await miner.switch_board(7, is_on=True)
    await asyncio.sleep(0.5)
    assert site.true_w == pytest.approx(3010.0, abs=1.0)
    with pytest.raises(UnsupportedError, match="no board 1"):
        await miner.switch_board(1, is_on=False)
    assert site.machine.counters.board_switches == 2


async def test_all_boards_off_is_awake_and_hashes_nothing(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    for board in (1, 2, 3):
        await miner.switch_board(board, is_on=False)
    await asyncio.sleep(0.2)
    reading = await miner.read()
    assert (reading.activity, reading.hashrate_hs) == (Activity.STOPPED, 0.0)
    assert site.machine.is_awake


async def test_pause_and_resume_keep_the_target(hall: Open) -> None:
    site = await hall()
    miner = site.miner()
    await miner.select_profile("2107W")
    await miner.sleep()
    await miner.sleep()  # it is paused already, and that is a yes
    await asyncio.sleep(0.3)
    asleep = await miner.read()
    assert (asleep.activity, asleep.profile, len(asleep.boards)) == (
        Activity.SLEEPING,
        "2107W",
        3,
    )
    assert site.true_w < 60.0
    assert (await miner.read_details()).pools[0].is_active is False
    await miner.wake()
    assert (await miner.read()).activity is Activity.RAMPING
    await asyncio.sleep(1.3)
    assert (await miner.read()).activity is Activity.HASHING
    assert site.true_w == pytest.approx(2107.0, abs=1.0)


async def test_a_suspended_machine_is_no_sleeper(hall: Open) -> None:
    site = await hall()
    site.dialect.traits(0).is_suspended = True
    assert (await site.miner().read()).activity is Activity.FAULT


async def test_a_machine_that_asks_for_no_login_is_read_without_one(hall: Open) -> None:
    site = await hall(asks_login=False)
    reader = site.reader()
    assert (await reader.identify()).is_writable
    assert (await reader.read()).activity is Activity.HASHING


async def test_a_token_is_kept_and_renewed_once_when_it_has_run_out(hall: Open) -> None:
    site = await hall(token_s=0.3)
    miner = site.miner()
    tokens = site.dialect.traits(0).tokens
    await miner.read()
    await miner.read()
    assert len(tokens) == 1
    first = dict(tokens)
    await asyncio.sleep(0.4)
    assert (await miner.read()).activity is Activity.HASHING
    assert not tokens.keys() & first.keys()
    await asyncio.sleep(0.4)
    await miner.sleep()
    assert not site.machine.is_awake


async def test_a_token_lost_between_the_check_and_the_write_costs_nothing(
    hall: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await hall()
    miner = site.miner()
    traits = site.dialect.traits(0)
    signs = miner._require_writable

    async def forgetful() -> None:
        await signs()
        traits.tokens.clear()

    monkeypatch.setattr(miner, "_require_writable", forgetful)
    await miner.sleep()
    assert not site.machine.is_awake
    assert site.machine.counters.commands == 1


async def test_a_machine_that_ignores_a_write_shows_it_when_read_back(hall: Open) -> None:
    site = await hall()
    await site.fault(FaultKind.MINER_IGNORES)
    miner = site.miner()
    await miner.select_profile("2107W")  # accepted, and nothing else
    await miner.switch_board(1, is_on=False)
    await miner.sleep()
    reading = await miner.read()
    assert (reading.profile, reading.activity) == ("3010W", Activity.HASHING)
    assert all(board.is_enabled for board in reading.boards)
