"""Poller and actuator with the drivers of ePIC and Bitaxe, over real sockets: the plant follows."""

import asyncio
from dataclasses import replace

from driven import WEB_PORT, Drive, Driven, Kind

from agent.core.card import Steps
from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage

QUICK = {"board_off_s": 0.2, "sleep_s": 0.2, "wake_s": 0.5, "profile_down_s": 0.2}
EPIC = Kind(
    family="epic",
    model="s19-xp",
    end=":4028",
    password="letmein",
    plant_s=QUICK,
    card_s={"wake_s": 5.0},
)
BITAXE = Kind(
    family="bitaxe",
    model="gamma",
    end=f":{WEB_PORT}",
    tables={"bitaxe": {"version": "v2.9.0"}},
    plant_s=QUICK,
    card_s={"wake_s": 5.0},
)


def abilities(machine: Driven) -> set[Steps]:
    """What the agent may use of a machine, in the words of the cards."""
    view = machine.post.view()
    can = {
        Steps.BOARDS: view.can_switch_boards,
        Steps.PROFILES: view.can_select_profile,
        Steps.SLEEP: view.can_sleep,
    }
    return {step for step, is_able in can.items() if is_able}


async def test_an_epic_switches_a_board_sleeps_and_wakes(drive: Drive) -> None:
    machine = await drive(EPIC)
    await machine.seen()
    (watts,) = (await machine.profiles_w()).values()
    assert abilities(machine) == CARDS["epic"].steps
    two = Setpoint(is_awake=True, profile="preset", boards_on=frozenset({0, 2}))
    switched = await machine.order(two, 80 + (watts - 80) * 2 / 3)
    assert switched.stage is Stage.CONFIRMED
    assert abs(machine.true_w - (80 + (watts - 80) * 2 / 3)) < 0.1 * watts
    asleep = await machine.order(replace(two, is_awake=False), CARDS["epic"].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 100.0
    woken = await machine.order(two, 80 + (watts - 80) * 2 / 3)
    assert woken.stage is Stage.CONFIRMED
    assert [board.is_enabled for board in machine.plant.boards] == [True, False, True]


async def test_a_bitaxe_steps_down_and_one_that_cannot_pause_says_so(drive: Drive) -> None:
    machine = await drive(BITAXE)
    reading = await machine.seen()
    slowest_w = next(iter((await machine.profiles_w()).values()))
    assert abilities(machine) == CARDS["bitaxe"].steps - {Steps.SLEEP}
    assert reading.profile == "525MHz"
    low = Setpoint(is_awake=True, profile="400MHz", boards_on=frozenset({0}))
    assert (await machine.order(low, slowest_w)).stage is Stage.CONFIRMED
    await asyncio.sleep(0.3)
    assert machine.true_w < 0.75 * 18
    refused = await machine.order(replace(low, is_awake=False), 5.0)
    assert refused.stage is Stage.REFUSED
    assert "cannot pause and resume with its firmware v2.9.0" in refused.detail
    assert machine.plant.is_awake
