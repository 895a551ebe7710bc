"""Poller and actuator with the driver of Whatsminer API v3, over real sockets: the watts follow."""

from dataclasses import replace

from driven import Drive, Kind

from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.failsafe import Bounds, Sleeper
from drivers.readings import Activity

FAMILY = "whatsminer-v3"
QUICK = Kind(
    family=FAMILY,
    model="m60s",
    password="farm-pass",
    plant_s={"profile_down_s": 0.4, "sleep_s": 0.4, "wake_s": 1.0},
    card_s={"wake_s": 5.0, "profile_down_s": 4.0, "profile_up_s": 4.0},
)
WHOLE = Setpoint(is_awake=True, profile="100%", boards_on=frozenset({0, 1, 2}))


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
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
    # The start forgets the percent: it is told again without anybody remembering it.
    woken = await machine.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["80%"]) < 0.15 * watts["80%"]


async def test_a_machine_that_says_ok_and_does_nothing_is_ineffective(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen(profile="100%")
    machine.ignore_commands()
    last = await machine.order(replace(WHOLE, profile="60%"), 2065.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_a_machine_without_a_password_shows_that_it_can_only_be_read(drive: Drive) -> None:
    machine = await drive(QUICK)
    view = machine.watched(machine.opened(has_password=False)).view()
    assert not any((view.can_sleep, view.can_select_profile, view.can_switch_boards))


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
    secretless = replace(machine.failsafe, password_file=None)
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([secretless], bounds) as helpless:
        await helpless.run()
    assert list(helpless.awake) == [secretless]
    assert machine.plant.is_awake
    async with Sleeper([machine.failsafe], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not machine.plant.is_awake
