"""Poller and actuator with the driver of Braiins OS, over real sockets: the watts follow."""

import asyncio
from dataclasses import replace

from driven import WEB_PORT, Drive, Kind

from agent.core.card import Steps
from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.failsafe import Bounds, Sleeper
from drivers.readings import Activity

FAMILY = "braiins"
QUICK = Kind(
    family=FAMILY,
    model="s19-xp",
    end=f":{WEB_PORT}",
    password="farm-pass",
    has_web=True,
    tables={"spread": {"reporting": 0.0, "tolerance": 0.0}},
    plant_s={"profile_down_s": 0.4, "sleep_s": 0.3, "wake_s": 0.8, "board_on_s": 0.5},
    card_s=dict.fromkeys(("board_off_s", "board_on_s", "sleep_s", "wake_s"), 5.0)
    | dict.fromkeys(("profile_down_s", "profile_up_s"), 4.0),
)
ALL = frozenset({1, 2, 3})
WHOLE = Setpoint(is_awake=True, profile="3010W", boards_on=ALL)


async def test_abilities_agree_with_the_card(drive: Drive) -> None:
    machine = await drive(QUICK)
    view = machine.post.view()
    assert (view.can_switch_boards, view.can_select_profile, view.can_sleep) == (True, True, True)
    assert CARDS[FAMILY].steps == {Steps.BOARDS, Steps.WATTS, Steps.SLEEP}
    view = machine.watched(machine.opened(has_password=False)).view()
    assert not any((view.can_sleep, view.can_select_profile, view.can_switch_boards))


async def test_boards_target_pause_and_resume_are_confirmed_by_the_watts(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen(profile="3010W")
    watts = await machine.profiles_w()
    two_boards = replace(WHOLE, boards_on=frozenset({1, 3}))
    assert (await machine.order(two_boards, 2033.0)).stage is Stage.CONFIRMED
    assert abs(machine.true_w - 2033.0) < 20.0
    lower = replace(WHOLE, profile="2260W")
    assert (await machine.order(lower, watts["2260W"])).stage is Stage.CONFIRMED
    await asyncio.sleep(0.6)  # near enough is confirmed; the board that came back has the rest
    assert abs(machine.true_w - 2260.0) < 20.0
    asleep = await machine.order(replace(lower, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 100.0
    await machine.seen(Activity.SLEEPING)
    assert (await machine.order(lower, watts["2260W"])).stage is Stage.CONFIRMED
    await machine.seen(Activity.HASHING)


async def test_a_machine_that_says_yes_and_does_nothing_is_ineffective(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen(profile="3010W")
    machine.ignore_commands()
    last = await machine.order(replace(WHOLE, profile="2260W"), 2260.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_failsafe_pauses_it_with_its_password_and_names_it_without(drive: Drive) -> None:
    machine = await drive(QUICK)
    secretless = replace(machine.failsafe, password_file=None)
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([secretless], bounds) as helpless:
        await helpless.run()
    assert "password_file" in helpless.awake[secretless]
    assert machine.plant.is_awake
    async with Sleeper([machine.failsafe], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not machine.plant.is_awake
