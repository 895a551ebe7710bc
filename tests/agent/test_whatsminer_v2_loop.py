"""Poller and actuator with the driver of Whatsminer API v2, over real sockets: the watts follow."""

from dataclasses import replace
from typing import Any

import pytest
from driven import Drive, Kind

from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.failsafe import Bounds, Sleeper
from drivers.readings import Activity

FAMILY = "whatsminer-v2"
WHOLE = Setpoint(is_awake=True, profile="100%", boards_on=frozenset({0, 1, 2}))


def quick(**table: Any) -> Kind:
    """One quick M50; the arguments are the [whatsminer_v2] table."""
    return Kind(
        family=FAMILY,
        model="m50",
        password="farmpass",
        tables={"whatsminer_v2": table},
        plant_s={"profile_down_s": 0.4, "profile_up_s": 0.4, "sleep_s": 0.4, "wake_s": 1.0},
        card_s={"wake_s": 5.0, "profile_down_s": 1.5, "profile_up_s": 2.0, "sleep_s": 2.0},
    )


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(
    drive: Drive,
) -> None:
    machine = await drive(quick())
    await machine.seen(profile="100%")
    watts = await machine.profiles_w()
    view = machine.post.view()
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    throttled = await machine.order(replace(WHOLE, profile="60%"), watts["60%"])
    assert throttled.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["60%"]) < 0.05 * watts["60%"]
    asleep = await machine.order(replace(WHOLE, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 200.0
    await machine.seen(Activity.SLEEPING, "100%")
    woken = await machine.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["80%"]) < 0.15 * watts["80%"]


LIES = [
    (replace(WHOLE, is_awake=False), 60.0),
    (replace(WHOLE, profile="60%"), 1966.0),
]


@pytest.mark.parametrize(("setpoint", "expected_w"), LIES)
async def test_a_machine_that_lies_about_itself_is_ineffective(
    drive: Drive, setpoint: Setpoint, expected_w: float
) -> None:
    machine = await drive(quick(is_lying=True))
    await machine.seen(profile="100%")
    last = await machine.order(setpoint, expected_w)
    assert last.stage is Stage.INEFFECTIVE
    assert "the watts did not follow" in last.detail


async def test_a_machine_whose_api_is_off_is_refused_with_the_way_out(drive: Drive) -> None:
    machine = await drive(quick(is_api_on=False))
    await machine.seen(profile="100%")
    last = await machine.order(replace(WHOLE, profile="60%"), 1966.0)
    assert last.stage is Stage.REFUSED
    assert "Miner API Switch" in last.detail


async def test_the_failsafe_puts_it_to_sleep(drive: Drive) -> None:
    machine = await drive(quick())
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([machine.failsafe], bounds) as sleeper:
        await sleeper.run()
    assert sleeper.awake == {}
    assert not machine.plant.is_awake
