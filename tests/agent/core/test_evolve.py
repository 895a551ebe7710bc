"""The compiled copy does what the standard library's does, and refuses what it cannot do."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core import evolve
from agent.core.ledger import Ledger
from agent.core.samples import Fusion, MeterTraits
from agent.core.site import SiteState


@dataclasses.dataclass(frozen=True, slots=True)
class Point:
    east: int
    north: int = 0
    names: tuple[str, ...] = dataclasses.field(default=(), kw_only=True)


@dataclasses.dataclass(frozen=True, slots=True)
class Checked:
    east: int

    def __post_init__(self) -> None:
        assert self.east >= 0


changes = st.fixed_dictionaries(
    {}, optional={"east": st.integers(), "north": st.integers(), "names": st.just(("a", "b"))}
)


@given(st.integers(), st.integers(), changes)
def test_a_copy_is_the_one_that_the_library_makes(
    east: int, north: int, changed: dict[str, Any]
) -> None:
    before = Point(east, north, names=("x",))
    after = evolve.replace(before, **changed)
    assert after == dataclasses.replace(before, **changed)
    assert type(after) is Point
    assert before == Point(east, north, names=("x",))


def test_a_copy_of_the_largest_value_there_is_shares_what_has_not_changed() -> None:
    traits = MeterTraits(refresh_s=1.0, step_wh=1, power_error_share=0.01, rated_power_w=50_000.0)
    state = SiteState(fusion=Fusion(traits=traits), ledger=Ledger(meter_point="mp-1"))
    after = evolve.replace(state, base_load_w=12.5)
    assert after == dataclasses.replace(state, base_load_w=12.5)
    assert after.ledger is state.ledger


def test_a_field_that_there_is_not_is_named() -> None:
    with pytest.raises(TypeError, match="Point has no field south, west"):
        evolve.replace(Point(1), west=2, south=1)


def test_a_class_that_checks_itself_is_left_to_the_library() -> None:
    with pytest.raises(TypeError, match="Checked checks itself"):
        evolve.replace(Checked(1), east=2)
