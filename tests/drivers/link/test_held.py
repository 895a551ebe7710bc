"""What is held of a machine from read to read, and what a write does to it."""

import asyncio

import pytest

from drivers.link import held
from drivers.link.held import SETTLING_S, Held


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time in seconds, to be set."""
    now_s = [1000.0]
    monkeypatch.setattr(held.time, "clock_gettime", lambda _: now_s[0])
    return now_s


def test_a_read_takes_what_is_held_away_and_gives_it_back() -> None:
    of_one: Held[str] = Held()
    assert of_one.take() is None
    of_one.keep("a", requested_at_s=0.0)
    assert (of_one.take(), of_one.take()) == ("a", None)
    of_one.keep("b", requested_at_s=0.0)
    of_one.keep(None, requested_at_s=1.0)
    assert of_one.take() is None
    of_one.keep("c", requested_at_s=2.0)
    of_one.forget()
    assert of_one.take() is None


@pytest.mark.parametrize("trouble", [None, TimeoutError, asyncio.CancelledError])
def test_nothing_of_a_read_that_began_before_a_write_has_settled_is_held(
    clock: list[float], trouble: type[BaseException] | None
) -> None:
    of_one: Held[str] = Held()
    of_one.keep("before", requested_at_s=999.0)
    try:
        with of_one.writing():
            assert of_one.take() is None
            of_one.keep("meanwhile", requested_at_s=1e9)
            assert of_one.take() is None
            clock[0] = 1030.0
            if trouble is not None:
                raise trouble
    except (TimeoutError, asyncio.CancelledError):
        pass
    for requested_at_s in (999.0, 1030.0, 1029.9 + SETTLING_S):
        of_one.keep("too early", requested_at_s=requested_at_s)
        assert (of_one.take(), of_one.is_settled(requested_at_s)) == (None, False)
    of_one.keep("settled", requested_at_s=1030.0 + SETTLING_S)
    assert of_one.take() == "settled"
