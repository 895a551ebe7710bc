"""A machine that was throttled or put to sleep on purpose is nobody's alarm."""

from dataclasses import replace
from types import SimpleNamespace

from agent.alarms import conditions
from agent.core.snapshot import Confirmation
from agent.status.machines import RATE_SETTLES_S, is_lowered, is_throttled

NOT_ABOUT_MACHINES = {"SHEDDING", "NO_PURCHASE"}


def test_while_half_of_the_power_is_taken_away_no_machine_raises_an_alarm(
    toy: SimpleNamespace,
) -> None:
    """From full power down to a small purchase, and to sleep when that is used up."""
    site = toy.Site(machines=toy.fleet(20), transactions=[toy.purchase(0, 20, 200, 1_700)])
    seen: set[str] = set()
    lowered: set[str] = set()

    def look(_site: object, _now_s: float) -> None:
        if site.outcome is None:
            return
        found = conditions(site.outcome, meter_id="site", over_lately_wh=0)
        seen.update(one.code for one in found)
        machines = site.outcome.picture.machines.values()
        lowered.update(m.miner_id for m in machines if is_throttled(m) or not m.at.is_awake)

    site.on_tick = look
    site.run(240)
    assert len(lowered) == 20
    assert seen <= NOT_ABOUT_MACHINES


def test_what_is_throttled_asleep_unknown_or_just_raised_need_not_hash_all_it_could(
    toy: SimpleNamespace,
) -> None:
    site = toy.Site(machines=toy.fleet(1), transactions=[toy.purchase(0, 0, 60, 10_000)])
    site.run(30)
    (machine,) = site.outcome.picture.machines.values()
    assert machine.at is not None
    assert not is_throttled(machine)
    assert not is_lowered(machine, None, 30.0)
    for at in (
        None,
        replace(machine.at, is_awake=False),
        replace(machine.at, boards_on=frozenset()),
    ):
        assert is_lowered(replace(machine, at=at), None, 30.0)
    raised = Confirmation(
        setpoint=machine.at, origin=None, sent_at_s=20.0, confirmed_at_s=30.0, is_measured=False
    )
    assert is_lowered(machine, raised, 29.0 + RATE_SETTLES_S)
    assert not is_lowered(machine, raised, 30.0 + RATE_SETTLES_S)
