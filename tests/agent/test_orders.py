"""Decisions on record: every order with its reason, in as many parts as it takes."""

from agent.core.card import ActuatorCard
from agent.core.cards import CARDS
from agent.core.decisions import Because, Command, Decision, Mode, RelayOrder, Setpoint
from agent.orders import ROWS_PER_RECORD, decision_records
from agent.records import NewRecord, prepare
from agent.siteclock import Stamp

BECAUSE = Because(limit="purchase", source="t1", words="on pace", numbers={"left_wh": 5})
TRIP = Because(limit="purchase", source="t1", words="machines that did not stop lose their feed")
STAMP = Stamp(boottime_ns=1, time_us=2, quality="S", max_error_us=3)
CARD: ActuatorCard = CARDS["luxos"]


def decision(*relays: RelayOrder, commands: int = 0) -> Decision:
    asleep = Setpoint(is_awake=False, profile=None, boards_on=frozenset())
    return Decision(
        at_ms=1_800_000_000_000,
        mode=Mode.SHEDDING,
        power_cap_w=0.0,
        planned_w=0.0,
        because=BECAUSE,
        commands=tuple(
            Command(
                miner_id=f"m{n}",
                setpoint=asleep,
                expected_w=25.0,
                is_urgent=True,
                because=BECAUSE,
                card=CARD,
            )
            for n in range(commands)
        ),
        relays=relays,
    )


def written(decided: Decision) -> list[NewRecord]:
    return list(decision_records(decided, meter_point="mp-1"))


def order(name: str, *, is_open: bool = True, is_repeated: bool = False) -> RelayOrder:
    return RelayOrder(relay_id=name, is_open=is_open, because=TRIP, is_repeated=is_repeated)


def test_orders_to_relays_are_on_record_with_their_own_reason() -> None:
    (record,) = written(decision(order("row"), order("hall", is_open=False)))
    assert record.data["relays"] == [
        {
            "relay": name,
            "is_open": is_open,
            "because": {
                "limit": "purchase",
                "source": "t1",
                "words": "machines that did not stop lose their feed",
                "numbers": {},
            },
        }
        for name, is_open in (("row", True), ("hall", False))
    ]
    assert prepare(record, STAMP).kind == "decision"


def test_an_order_that_is_only_said_again_is_not_on_record_again() -> None:
    again = decision(order("row", is_repeated=True))
    assert not again.is_ordering
    (record,) = written(again)
    assert "relays" not in record.data
    both = decision(order("row", is_repeated=True), order("hall"))
    assert both.is_ordering
    (record,) = written(both)
    assert [one["relay"] for one in record.data["relays"]] == ["hall"]


def test_a_decision_without_relays_says_nothing_of_them() -> None:
    (record,) = written(decision())
    assert "relays" not in record.data
    assert not decision().is_ordering
    assert decision(commands=1).is_ordering


def test_of_several_parts_the_first_has_the_relays() -> None:
    parts = written(decision(order("row"), commands=ROWS_PER_RECORD + 1))
    assert ["relays" in part.data for part in parts] == [True, False]
