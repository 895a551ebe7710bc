"""What stands of a machine with Braiins OS: as long as watts and boards are as they were."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.readings import BoardReading
from drivers.wire.braiins_standing import Standing, standing_of
from drivers.wire.braiins_target import Configuration
from drivers.wire.standing import STANDS_S

SETTINGS = Configuration(target_w=3000, is_scaling=False, pause_s=None)


def boards(*hashrates_hs: float | None) -> tuple[BoardReading, ...]:
    """Boards by number; None is one that is off."""
    return tuple(
        BoardReading(
            board=number,
            is_enabled=hashrate_hs is not None,
            is_ramping=False,
            hashrate_hs=hashrate_hs or 0.0,
            temperature_c=None,
            serial=None,
        )
        for number, hashrate_hs in enumerate(hashrates_hs, 1)
    )


ALL = boards(4e13, 4e13, 4e13)


def held() -> Standing:
    standing = standing_of(SETTINGS, ALL, 3000.0, asked_at_s=100.0)
    assert standing is not None
    return standing


@given(st.floats(100.0, 159.9), st.floats(2911.0, 3089.0), st.floats(1e9, 1e14))
def test_it_stands_for_a_minute_while_all_boards_hash_and_the_watts_stay(
    now_s: float, power_w: float, hashrate_hs: float
) -> None:
    assert held().holds(boards(*[hashrate_hs] * 3), power_w, now_s)


@given(st.one_of(st.floats(max_value=2909.0), st.floats(min_value=3091.0), st.none()))
def test_it_does_not_where_the_watts_moved_or_nobody_knows_them(power_w: float | None) -> None:
    assert not held().holds(ALL, power_w, 100.0)


@given(st.one_of(st.floats(max_value=99.9), st.floats(min_value=100.0 + STANDS_S)))
def test_it_does_not_after_a_minute_nor_where_the_clock_went_back(now_s: float) -> None:
    assert not held().holds(ALL, 3000.0, now_s)


@pytest.mark.parametrize(
    "now",
    [
        boards(4e13, 4e13, 0.0),
        boards(4e13, 4e13, None),
        boards(4e13, 4e13),
        boards(4e13, 4e13, 4e13, 4e13),
        (),
    ],
)
def test_it_does_not_where_a_board_stopped_went_or_came(now: tuple[BoardReading, ...]) -> None:
    assert not held().holds(now, 3000.0, 100.0)


def test_a_slow_drift_is_measured_from_where_it_was_asked() -> None:
    standing = held()
    drifting = [standing.holds(ALL, 3000.0 - 30.0 * n, 100.0 + n) for n in range(6)]
    assert drifting == [True, True, True, True, False, False]


@pytest.mark.parametrize(
    ("target_w", "power_w", "now"),
    [
        (None, 3000.0, ALL),
        (3000, None, ALL),
        (3000, 2600.0, ALL),
        (3000, 3000.0, boards(4e13, 0.0)),
        (3000, 3000.0, boards(None)),
    ],
)
def test_nothing_stands_of_a_machine_that_has_not_risen_to_its_target(
    target_w: int | None, power_w: float | None, now: tuple[BoardReading, ...]
) -> None:
    settings = Configuration(target_w=target_w, is_scaling=False, pause_s=None)
    assert standing_of(settings, now, power_w, asked_at_s=100.0) is None
