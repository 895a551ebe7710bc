"""Poller, actuator and failsafe with the driver of VNish, over real sockets: the watts follow."""

from dataclasses import replace

from driven import WEB_PORT, Drive, Kind

from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.failsafe import Bounds, Sleeper

FAMILY = "vnish"
QUICK = Kind(
    family=FAMILY,
    model="s21",
    end=f":{WEB_PORT}",
    password="farm-pass",
    tables={"vnish": {"has_older_reads": False}},
    plant_s={"profile_down_s": 0.4, "profile_up_s": 0.4, "sleep_s": 0.4, "wake_s": 1.0},
    card_s={"wake_s": 6.0, "profile_down_s": 4.0, "profile_up_s": 4.0},
)
WHOLE = Setpoint(is_awake=True, profile="100%", boards_on=frozenset({0, 1, 2}))
ASLEEP = Setpoint(is_awake=False, profile=None, boards_on=frozenset())


async def test_a_machine_is_throttled_put_to_sleep_and_woken_and_the_plant_follows(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
    await machine.seen()
    watts = await machine.profiles_w()
    view = machine.post.view()
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    for percent in ("20%", "60%"):
        throttled = await machine.order(replace(WHOLE, profile=percent), watts[percent])
        assert throttled.stage is Stage.CONFIRMED
        assert abs(machine.true_w - watts[percent]) < 0.05 * watts[percent]
    asleep = await machine.order(ASLEEP, CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 200.0
    # The start forgets the percent: it is told again without anybody remembering it.
    woken = await machine.order(replace(WHOLE, profile="80%"), watts["80%"])
    assert woken.stage is Stage.CONFIRMED
    assert abs(machine.true_w - watts["80%"]) < 0.15 * watts["80%"]


async def test_a_machine_that_says_yes_and_does_nothing_is_ineffective(drive: Drive) -> None:
    machine = await drive(QUICK)
    await machine.seen()
    watts = await machine.profiles_w()
    machine.ignore_commands()
    last = await machine.order(replace(WHOLE, profile="60%"), watts["60%"])
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


async def test_the_failsafe_puts_it_to_sleep_with_its_password_and_names_it_without(
    drive: Drive,
) -> None:
    machine = await drive(QUICK)
    bounds = Bounds(tries=1, machine_s=5.0, total_s=10.0, pause_s=0.1)
    async with Sleeper([replace(machine.failsafe, password_file=None)], bounds) as helpless:
        await helpless.run()
    assert len(helpless.awake) == 1
    assert machine.plant.is_awake
    async with Sleeper([machine.failsafe], bounds) as able:
        await able.run()
    assert able.awake == {}
    assert not machine.plant.is_awake
