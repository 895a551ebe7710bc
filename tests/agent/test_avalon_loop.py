"""Poller and actuator with the driver of Canaan's Avalons, over real sockets: the watts follow."""

from dataclasses import replace
from typing import Any

import pytest
from driven import Drive, Kind

from agent.core.cards import CARDS
from agent.core.decisions import Setpoint, Stage
from agent.failsafe import Bounds, Sleeper
from drivers.miners import avalon
from drivers.readings import Activity

FAMILY = "avalon"
Q = Setpoint(is_awake=True, profile="standard", boards_on=frozenset({0}))


def quick(**table: Any) -> Kind:
    """One quick Avalon Q; the arguments are the [avalon] table."""
    return Kind(
        family=FAMILY,
        model="avalon-q",
        tables={"avalon": table},
        plant_s=dict.fromkeys(("profile_up_s", "profile_down_s", "sleep_s"), 0.4)
        | {"restart_gap_s": 0.0, "wake_s": 1.0},
        card_s={"sleep_s": 4.0, "wake_s": 5.0, "profile_down_s": 4.0},
    )


@pytest.fixture(autouse=True)
def _no_lead(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stop is told to begin at once."""
    monkeypatch.setattr(avalon, "LEAD_S", 0)


@pytest.mark.parametrize("table", [{}, {"is_softon_silent": True}])
async def test_a_machine_changes_its_mode_sleeps_and_wakes_and_the_plant_follows(
    drive: Drive, table: dict[str, bool]
) -> None:
    machine = await drive(quick(**table))
    await machine.seen()
    watts = await machine.profiles_w()
    view = machine.post.view()
    assert (view.can_sleep, view.can_select_profile, view.can_switch_boards) == (True, True, False)
    eco = await machine.order(replace(Q, profile="eco"), watts["eco"])
    assert eco.stage is Stage.CONFIRMED
    assert machine.true_w == pytest.approx(watts["eco"], rel=0.05)
    asleep = await machine.order(replace(Q, is_awake=False), CARDS[FAMILY].standby_w)
    assert asleep.stage is Stage.CONFIRMED
    assert machine.true_w < 100.0
    await machine.seen(Activity.SLEEPING)
    # Also where the machine closes without a word: what it did is read back.
    woken = await machine.order(replace(Q, profile="eco"), watts["eco"])
    assert woken.stage is Stage.CONFIRMED


async def test_a_machine_that_only_a_reboot_would_wake_is_ineffective(drive: Drive) -> None:
    machine = await drive(quick(wakes_by_reboot_only=True))
    await machine.seen()
    await machine.order(replace(Q, is_awake=False), CARDS[FAMILY].standby_w)
    await machine.seen(Activity.SLEEPING)
    last = await machine.order(Q, 1300.0, wake_s=1.0)
    assert last.stage is Stage.INEFFECTIVE
    assert "configuration did not change" in last.detail


@pytest.mark.parametrize("lead_s", [0, 2])
async def test_the_failsafe_puts_it_to_sleep_without_a_password(
    drive: Drive, lead_s: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = await drive(quick())
    monkeypatch.setattr(avalon, "LEAD_S", lead_s)
    async with Sleeper([machine.failsafe], Bounds()) as sleeper:
        await sleeper.run()
    assert sleeper.awake == {}
    assert not machine.plant.is_awake
