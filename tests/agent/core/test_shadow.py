"""A shadow run decides by the farm as it is, and believes nothing of its own advice."""

from types import SimpleNamespace
from typing import Any

from agent.core.decisions import Mode
from agent.core.shadow import WORDS


def watched(toy: SimpleNamespace, share: float, count: int = 9) -> Any:
    """A farm that somebody else runs: whatever is decided, nothing of it arrives."""
    machines = toy.fleet(count)
    for machine in machines:
        machine.ignores = True
    full_w = sum(m.profiles[8].power_w for m in machines) + 8_000
    bought = toy.purchase(1, 10, 250, full_w * share * 240 / 3600)
    site = toy.Site(machines=machines, transactions=[bought], changes={"is_shadow": True})
    site.on_tick = lambda farm, _now_s: forget(farm)
    return site


def forget(site: Any) -> None:
    for machine in site.machines:
        machine.queue.clear()
        machine.pending = None


def test_the_same_advice_stands_while_nobody_follows_it(toy: SimpleNamespace) -> None:
    site = watched(toy, 0.7)
    site.run(60)
    advised = [decision for decision in site.decisions if decision.commands]
    assert len(advised) > 40
    assert all(decision.because.words.startswith(WORDS) for decision in site.decisions)
    assert {decision.mode for decision in advised[-40:]} == {Mode.FOLLOWING}
    assert site.state.mode is site.decisions[-1].mode
    assert site.state.decision is site.decisions[-1]


def test_nobody_becomes_a_disobeyer_and_nothing_drifts(toy: SimpleNamespace) -> None:
    site = watched(toy, 0.5)
    site.run(60)
    for memory in site.state.memories.values():
        assert memory.desired.boards_on == {0, 1, 2}
        assert (memory.defiance, memory.changes, memory.because) == (0, 0, None)
    machines = site.outcome.picture.machines.values()
    assert all(machine.is_controllable and not machine.is_in_transit for machine in machines)


def test_a_machine_that_its_owner_moves_is_not_called_to_order(toy: SimpleNamespace) -> None:
    site = watched(toy, 0.999)
    owned = site.machines[0]

    def owner(farm: Any, now_s: float) -> None:
        forget(farm)
        owned.boards_on = frozenset({0}) if 30 <= now_s < 60 else frozenset({0, 1, 2})

    site.on_tick = owner
    site.run(90)
    lowered = [
        command
        for decision in site.decisions[60:]
        for command in decision.commands
        if command.miner_id == owned.miner_id and len(command.setpoint.boards_on) == 1
    ]
    assert lowered == []
    assert site.state.memories[owned.miner_id].desired.boards_on == {0, 1, 2}


def test_the_books_are_those_of_what_really_flows(toy: SimpleNamespace) -> None:
    site = watched(toy, 0.6)
    site.machines[1].is_unread = True
    site.run(280)
    ledger = site.state.ledger
    account = ledger.account("t1")
    assert account.unused_wh == 0
    assert ledger.over_wh > 0
    assert abs(ledger.metered_wh - (site.energy_wh - 1_234_500)) < 200
    assert site.state.memories["m001"].desired is None
