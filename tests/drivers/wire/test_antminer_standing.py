"""What an Antminer's pages said of it stands while its run goes on as it did, and no longer."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.wire.antminer_look import Look
from drivers.wire.antminer_modes import SLEEP_MODES
from drivers.wire.antminer_standing import (
    MINING_MODES,
    Sight,
    Standing,
    sight_of,
    standing_of,
)
from drivers.wire.antminer_stats import NO_STATS, Chain, Stats
from drivers.wire.antminer_web import MinerConfig, SystemInfo
from drivers.wire.standing import RUN_SLACK_S, STANDS_S

NAME = "Antminer S19j Pro"
INFO = SystemInfo(type_name=NAME, mac="02:00:00:00:00:01", serial="", firmware="")
NORMAL = MinerConfig(mode=0, form={}, pools=())


def chain(slot: int, **changes: Any) -> Chain:
    one = Chain(
        slot=slot,
        hashrate_hs=33e12,
        chips=126,
        temperature_c=50.0,
        chip_temperature_c=55.0,
        serial=f"S{slot}",
    )
    return replace(one, **changes)


STATS = Stats(
    type_name=NAME,
    chains=tuple(chain(slot) for slot in range(3)),
    fan_speeds_rpm=(),
    elapsed_s=5000,
    ideal_hs=100e12,
    power_w=None,
    mode=None,
)
THEN = Sight(
    seen_at_s=1000.5,
    run_s=5000.0,
    type_name=NAME,
    hashing=frozenset({0, 1, 2}),
    serials=frozenset({(0, "S0"), (1, "S1"), (2, "S2")}),
    told_mode=None,
)
HELD = Standing(asked_at_s=1000.0, info=INFO, config=NORMAL, sight=THEN)

moments = st.floats(0.0, STANDS_S - 0.6)


def later(span_s: float, **changes: Any) -> Sight:
    """The same machine, seen again."""
    seen = replace(THEN, seen_at_s=THEN.seen_at_s + span_s, run_s=THEN.run_s + span_s)
    return replace(seen, **changes)


@given(moments, st.floats(-0.99, 0.99), st.sets(st.integers(3, 15)))
def test_it_stands_while_the_run_goes_on(span_s: float, run_part: float, more: set[int]) -> None:
    now = later(span_s, hashing=THEN.hashing | more)
    assert HELD.holds(replace(now, run_s=now.run_s + run_part * RUN_SLACK_S))


@given(st.floats(STANDS_S - 0.5, 1e6) | st.floats(-1e6, -0.51))
def test_it_does_not_stand_for_longer_than_a_minute_or_before_it_was_asked(span_s: float) -> None:
    assert not HELD.is_young(THEN.seen_at_s + span_s)
    assert not HELD.holds(later(span_s))


@given(moments, st.floats(RUN_SLACK_S * 1.01, 1e6), st.sampled_from([-1.0, 1.0]))
def test_another_run_ends_it(span_s: float, off_s: float, sign: float) -> None:
    assert not HELD.holds(later(span_s, run_s=THEN.run_s + span_s + sign * off_s))


@given(st.floats(RUN_SLACK_S * 1.01, 1e6), moments, st.data())
def test_a_start_in_between_ends_it_however_short_the_run_before_was(
    run_s: float, span_s: float, data: st.DataObject
) -> None:
    held = replace(HELD, sight=replace(THEN, run_s=run_s))
    assert not held.holds(later(span_s, run_s=data.draw(st.floats(0.0, span_s))))


@given(moments, st.sets(st.integers(0, 2), min_size=1))
def test_a_chain_that_hashes_no_more_ends_it(span_s: float, lost: set[int]) -> None:
    assert not HELD.holds(later(span_s, hashing=THEN.hashing - lost))


@pytest.mark.parametrize(
    "changes",
    [
        {"type_name": "Antminer S21"},
        {"serials": frozenset({(0, "S0"), (1, "S1"), (2, "other")})},
        {"serials": frozenset()},
        {"told_mode": 1},
    ],
)
def test_another_name_serial_or_mode_ends_it(changes: dict[str, Any]) -> None:
    assert HELD.holds(later(1.0))
    assert not HELD.holds(later(1.0, **changes))


def test_a_machine_that_is_not_seen_hashing_ends_it() -> None:
    assert not HELD.holds(None)


def test_what_stands_is_told_with_the_statistics_of_now() -> None:
    look = HELD.look(STATS, requested_at_s=1010.0)
    assert (look.info, look.config, look.stats) == (INFO, NORMAL, STATS)
    assert (look.requested_at_s, look.is_running) == (1010.0, True)


# What is seen.


def test_a_machine_that_hashes_is_seen() -> None:
    stats = replace(STATS, mode=0, chains=(chain(0), chain(1, serial=None, hashrate_hs=0.0)))
    assert sight_of(stats, seen_at_s=7.0) == Sight(
        seen_at_s=7.0,
        run_s=5000,
        type_name=NAME,
        hashing=frozenset({0}),
        serials=frozenset({(0, "S0")}),
        told_mode=0,
    )


@pytest.mark.parametrize(
    "stats",
    [
        NO_STATS,
        replace(STATS, elapsed_s=None),
        replace(STATS, elapsed_s=int(RUN_SLACK_S)),
        replace(STATS, chains=()),
        replace(STATS, chains=(chain(0, hashrate_hs=0.0),)),
    ],
)
def test_a_machine_that_does_not_hash_or_tell_its_run_is_not_seen(stats: Stats) -> None:
    assert sight_of(STATS, seen_at_s=7.0) is not None
    assert sight_of(stats, seen_at_s=7.0) is None


# What stands from now on.

LOOK = Look(stats=STATS, info=INFO, config=NORMAL, is_running=True, requested_at_s=1000.0)


@pytest.mark.parametrize("mode", sorted(MINING_MODES))
def test_a_look_at_a_machine_that_mines_stands(mode: int) -> None:
    config = replace(NORMAL, mode=mode)
    held = standing_of(replace(LOOK, config=config), seen_at_s=1000.5)
    assert held == replace(HELD, config=config)


@given(st.none() | st.sampled_from(sorted(SLEEP_MODES)) | st.integers(4, 99))
def test_nothing_stands_of_a_sleep_mode_or_one_that_nobody_knows(mode: int | None) -> None:
    look = replace(LOOK, config=replace(NORMAL, mode=mode))
    assert standing_of(look, seen_at_s=1000.5) is None


@pytest.mark.parametrize("changes", [{"info": None}, {"config": None}, {"stats": NO_STATS}])
def test_nothing_stands_of_what_was_not_asked_or_seen(changes: dict[str, Any]) -> None:
    assert standing_of(replace(LOOK, **changes), seen_at_s=1000.5) is None


@given(st.floats(0.0, 9.0), st.integers(0, 20))
def test_nothing_stands_of_a_run_that_may_have_begun_during_the_look(
    took_s: float, run_s: int
) -> None:
    look = replace(LOOK, stats=replace(STATS, elapsed_s=run_s))
    seen_at_s = look.requested_at_s + took_s
    held = standing_of(look, seen_at_s=seen_at_s)
    assert (held is not None) == (run_s > seen_at_s - look.requested_at_s + RUN_SLACK_S)
