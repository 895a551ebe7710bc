"""Values of the core survive the way into a record and back to the last bit."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.decisions import Because, Mode, Setpoint
from agent.core.fleet import Memory
from agent.core.limits import Limit
from agent.core.site import Parameters, SiteState
from agent.exact import (
    Difference,
    ExactError,
    changed_fields,
    first_difference,
    from_plain,
    to_plain,
    with_fields,
)
from agent.frames import Frame
from agent.records import NewRecord, prepare
from agent.siteclock import SiteClock

texts = st.text(max_size=8)
setpoints = st.builds(
    Setpoint,
    is_awake=st.booleans(),
    profile=st.none() | texts,
    boards_on=st.frozensets(st.integers(0, 40)),
)
memories = st.builds(
    Memory,
    desired=st.none() | setpoints,
    because=st.none()
    | st.builds(
        Because,
        limit=texts,
        source=texts,
        words=texts,
        numbers=st.dictionaries(texts, st.integers(-(2**60), 2**60), max_size=3),
    ),
    commanded_at_s=st.floats(allow_nan=False),
    defiance=st.integers(0, 9),
)


@given(memory=memories)
def test_a_memory_comes_back_the_same_through_a_records_bytes(memory: Memory) -> None:
    plain = to_plain(Memory, memory)
    prepare(NewRecord(kind="frame", source="agent", data=plain), SiteClock().stamp())
    assert from_plain(Memory, orjson.loads(orjson.dumps(plain))) == memory


@given(value=st.floats())
def test_every_float_comes_back_with_its_very_bits(value: float) -> None:
    back = from_plain(float, to_plain(float, value))
    assert math.isnan(back) if math.isnan(value) else back.hex() == value.hex()


def test_a_whole_number_in_a_floats_place_stays_whole() -> None:
    assert type(from_plain(float, to_plain(float, 0))) is int
    assert type(from_plain(float, to_plain(float, 0.0))) is float


def test_everything_that_a_frame_holds_has_an_exact_form() -> None:
    limit = Limit(kind="a", source="b", power_w=1.5, safe_w=0.0, expires_ms=None, words="c")
    for kind in (Frame, SiteState, Parameters):
        with pytest.raises(ExactError, match="is no"):
            to_plain(kind, limit)
    assert from_plain(Mapping[str, Limit], to_plain(Mapping[str, Limit], {"x": limit})) == {
        "x": limit
    }


@pytest.mark.parametrize(
    ("kind", "plain"),
    [
        (int, "1"),
        (int, True),
        (float, 1.5),
        (float, "one"),
        (Mode, "asleep"),
        (Setpoint, {"is_awake": True}),
        (Setpoint, [1]),
        (tuple[int, ...], 5),
        (tuple[int, str], [1]),
    ],
)
def test_a_form_that_does_not_fit_is_refused(kind: object, plain: object) -> None:
    with pytest.raises((ExactError, ValueError)):
        from_plain(kind, plain)


def test_a_type_without_an_exact_form_is_named() -> None:
    with pytest.raises(ExactError, match="Decimal"):
        to_plain(Decimal, Decimal(1))


@dataclass(frozen=True)
class Choice:
    value: int | Setpoint | None
    more: tuple[tuple[str, int], ...] = ()


def test_one_of_several_types_is_told_apart() -> None:
    asleep = Setpoint(is_awake=False, profile=None, boards_on=frozenset())
    for value in (None, 7, asleep):
        choice = Choice(value=value, more=(("a", 1),))
        assert from_plain(Choice, to_plain(Choice, choice)) == choice
    with pytest.raises(ExactError, match="none of"):
        to_plain(Choice, Choice(value="text"))


def test_only_the_fields_that_differ_are_written_and_taken() -> None:
    old, new = Memory(defiance=1), Memory(defiance=2)
    changed = changed_fields(Memory, ("defiance", "changes"), old, new)
    assert changed == {"defiance": 2}
    assert with_fields(old, changed) == new
    with pytest.raises(ExactError, match="no field"):
        with_fields(old, {"colour": 1})


def test_the_first_difference_is_named_by_its_path() -> None:
    recorded = {"a": [1, {"b": "x"}], "c": 1}
    assert first_difference(recorded, {"a": [1, {"b": "x"}], "c": 1}) is None
    assert first_difference(recorded, {"a": [1, {"b": "y"}], "c": 1}) == Difference(
        path="a[1].b", recorded="x", replayed="y"
    )
    assert first_difference(recorded, {"a": [1], "c": 1}).path == "a[1]"
    assert first_difference({"c": 1}, {"c": True}).path == "c"
    assert first_difference({}, {"new": 0}) == Difference(path="new", recorded=None, replayed=0)
