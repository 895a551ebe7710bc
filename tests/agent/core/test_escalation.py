"""Orders to relays are counted as what they are: one opening, however long a relay takes to say."""

from types import SimpleNamespace

import pytest

from agent.core.decisions import Because, Decision, Mode, RelayOrder
from agent.core.escalation import DAY_S, REPORT_S, is_to_open, openings_today, remembered
from agent.core.site import RelayMemory
from agent.core.snapshot import RelayView

WHY = Because(limit="purchase", source="t1", words="machines did not stop")


def row(*, is_open: bool | None) -> tuple[RelayView, ...]:
    return (RelayView(relay_id="row", miner_ids=frozenset({"m1"}), is_open=is_open),)


def told(*, is_open: bool, is_repeated: bool = False) -> tuple[RelayOrder, ...]:
    return (RelayOrder(relay_id="row", is_open=is_open, because=WHY, is_repeated=is_repeated),)


def test_a_site_without_relays_remembers_nothing_of_them() -> None:
    known: dict[str, RelayMemory] = {}
    assert remembered(known, (), (), 100.0) is known


def test_an_order_is_awaited_until_the_relay_reports_what_it_was_told() -> None:
    after = remembered({}, row(is_open=False), told(is_open=True), 100.0)
    assert after["row"] == RelayMemory(opened_at_s=100.0, trips_s=(100.0,), is_awaited=True)
    for unsaid in (False, None):
        after = remembered(after, row(is_open=unsaid), (), 101.0)
        assert after["row"].is_awaited
    after = remembered(after, row(is_open=True), (), 102.0)
    assert not after["row"].is_awaited
    after = remembered(after, row(is_open=True), told(is_open=False), 900.0)
    assert after["row"].is_awaited
    after = remembered(after, row(is_open=False), (), 901.0)
    assert after["row"] == RelayMemory(opened_at_s=100.0, closed_at_s=900.0, trips_s=(100.0,))


def test_the_same_order_said_again_is_no_second_opening() -> None:
    after = remembered({}, row(is_open=False), told(is_open=True), 100.0)
    again = remembered(after, row(is_open=False), told(is_open=True, is_repeated=True), 101.0)
    assert again == after


@pytest.mark.parametrize("memory", [{}, {"row": RelayMemory(opened_at_s=7.0, closed_at_s=900.0)}])
def test_a_relay_that_is_open_though_nobody_told_it_to_has_opened_once(
    memory: dict[str, RelayMemory],
) -> None:
    after = remembered(memory, row(is_open=True), (), 1000.0)
    assert (after["row"].opened_at_s, after["row"].trips_s) == (1000.0, (1000.0,))
    assert remembered(after, row(is_open=True), (), 1001.0) == after


def test_the_last_word_on_a_relay_is_the_later_one() -> None:
    relays = {"row": RelayMemory(opened_at_s=9.0, closed_at_s=8.0), "hall": RelayMemory()}
    state = SimpleNamespace(relays=relays)
    assert is_to_open(state, "row")
    assert not is_to_open(state, "hall")
    assert not is_to_open(state, "new")


def test_a_relay_that_has_not_yet_closed_as_told_has_not_opened_by_itself() -> None:
    opened = {"row": RelayMemory(opened_at_s=100.0, trips_s=(100.0,))}
    after = remembered(opened, row(is_open=True), told(is_open=False), 900.0)
    assert remembered(after, row(is_open=True), (), 901.0) == after


@pytest.mark.parametrize(("now_s", "count"), [(DAY_S, 2), (DAY_S + 60.0, 1), (2 * DAY_S, 0)])
def test_openings_count_for_a_day(now_s: float, count: int) -> None:
    memory = RelayMemory(trips_s=(50.0, DAY_S / 2))
    assert openings_today(memory, now_s) == count
    after = remembered({"row": memory}, row(is_open=False), told(is_open=True), now_s)
    assert len(after["row"].trips_s) == count + 1


def test_the_time_for_a_report_is_shorter_than_the_time_before_a_relay_is_closed_again() -> None:
    from agent.core.escalation import CLOSE_AFTER_S, CLOSE_APART_S

    assert min(CLOSE_AFTER_S, CLOSE_APART_S) > REPORT_S


@pytest.mark.parametrize(("is_repeated", "is_ordering"), [(False, True), (True, False)])
def test_a_decision_that_only_says_an_order_again_orders_nothing(
    is_repeated: bool, is_ordering: bool
) -> None:
    decision = Decision(
        at_ms=0,
        mode=Mode.SHEDDING,
        power_cap_w=0.0,
        planned_w=0.0,
        because=WHY,
        commands=(),
        relays=told(is_open=True, is_repeated=is_repeated),
    )
    assert decision.is_ordering is is_ordering


@pytest.mark.parametrize("is_open", [None, False])
def test_a_relay_that_nobody_hears_of_is_opened_too_and_that_counts_once(
    toy: SimpleNamespace, is_open: bool | None
) -> None:
    """Nothing is bought and no machine obeys; the relay never reports what it did."""
    machines = toy.fleet(4)
    for machine in machines:
        machine.ignores = True
    site = toy.Site(machines=machines, transactions=[])
    names = frozenset(machine.miner_id for machine in machines)
    site.relays = (RelayView(relay_id="row", miner_ids=names, is_open=is_open),)
    site.run(80)
    orders = [order for one in site.decisions for order in one.relays]
    assert len(orders) > 20
    assert all(order.is_open for order in orders)
    counted = sum(not order.is_repeated for order in orders)
    assert counted == 1 if is_open is None else counted > 1
