"""Poller and actuator with the driver of stock Antminers, which say no watts: the plant follows.

What such a machine draws is what its configuration means; the core counts the most it may draw.
"""

import asyncio
from dataclasses import replace

import pytest
from driven import WEB_PORT, Drive, Driven, Kind

from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.core.fleet import Memory, Taught, assess
from agent.failsafe import Bounds, Sleeper
from drivers.device import Sleeps
from drivers.readings import Activity, PowerProvenance
from simulator.antminer import AntminerFarm

FAMILY = "antminer"
QUICK = Kind(
    family=FAMILY,
    model="s19j-pro",
    end=f"?web={WEB_PORT}",
    password="farm-pass",
    has_web=True,
    tables={
        "antminer": {"password": "farm-pass", "form_s": 0.3},
        "spread": {"reporting": 0.0, "tolerance": 0.0},
    },
    plant_s=dict.fromkeys(("profile_down_s", "profile_up_s", "sleep_s"), 0.3)
    | {"restart_gap_s": 0.1, "wake_s": 0.6},
    card_s={"sleep_s": 1.5, "wake_s": 3.0, "profile_down_s": 3.0, "profile_up_s": 3.0},
)
WHOLE = Setpoint(is_awake=True, profile="normal", boards_on=frozenset({0, 1, 2}))


def writes(machine: Driven) -> int:
    """How often its flash was written."""
    dialect = machine.network.dialects[FAMILY]
    assert isinstance(dialect, AntminerFarm)
    return dialect.traits(0).writes


async def test_a_machine_without_watts_is_throttled_stopped_and_held_down_for_its_flash(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
    await machine.seen()
    watts = await machine.profiles_w()
    view = machine.post.view()
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    throttled = await machine.order(replace(WHOLE, profile="low"), watts["low"])
    assert (throttled.stage, throttled.power_w) == (Stage.CONFIRMED, None)
    await asyncio.sleep(0.5)
    assert machine.true_w < watts["low"]  # no less is saved than was counted on
    asleep = await machine.order(replace(WHOLE, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    await asyncio.sleep(0.4)
    assert machine.true_w < CARDS[FAMILY].standby_w
    woken = await machine.order(WHOLE, watts["normal"])
    assert woken.stage is Stage.REFUSED
    assert "keeps modes in flash" in woken.detail
    assert writes(machine) == 2


async def test_a_wake_into_the_low_power_mode_is_one_write(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen()
    other = machine.opened()
    assert isinstance(other, Sleeps)
    await other.sleep()
    await other.close()
    await machine.seen(Activity.SLEEPING)
    woken = await machine.order(replace(WHOLE, profile="low"), 2600.0)
    assert woken.stage is Stage.CONFIRMED
    assert writes(machine) == 2
    assert machine.plant.point.name == "low"


async def test_a_machine_that_says_ok_and_does_nothing_is_ineffective(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen()
    machine.ignore_commands()
    last = await machine.order(replace(WHOLE, is_awake=False), 60.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_core_counts_what_a_machine_without_watts_may_draw(drive: Drive) -> None:
    machine = await drive(QUICK)
    reading = await machine.seen()
    await machine.profiles_w()
    taught = Taught(card=CARDS[FAMILY])
    assert reading.power_provenance is PowerProvenance.ABSENT
    awake = assess(machine.post.view(), Memory(), taught, reading.replied_at_s)
    assert awake.is_controllable
    assert awake.upper_w == pytest.approx(3068.0)
    await machine.order(replace(WHOLE, is_awake=False), 60.0)
    reading = await machine.seen(Activity.SLEEPING)
    view = machine.post.view()
    # It says that it sleeps, and for the card's time nobody knows whether its watts have followed.
    memory = Memory(high_w=awake.upper_w)
    assert assess(view, memory, taught, reading.replied_at_s).upper_w >= 3068.0
    assert assess(view, Memory(), taught, reading.replied_at_s).upper_w <= 100.0


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
    secretless = replace(machine.failsafe, password_file=None)
    bounds = Bounds(tries=2, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([secretless], replace(bounds, tries=1)) as helpless:
        await helpless.run()
    assert list(helpless.awake) == [secretless]
    assert machine.plant.is_awake
    async with Sleeper([machine.failsafe], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert writes(machine) == 1
    assert not machine.plant.is_awake
