import time
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.siteclock import ClockEvent, KernelClock, SiteClock, read_kernel_clock

NS = 1_000_000_000
START_MS = 1_795_000_000_000


@dataclass
class Clocks:
    """Both clocks of a machine, set by the test."""

    wall: int = START_MS * 1_000_000
    boot: int = 100 * NS
    is_synchronised: bool = True

    def site(self) -> SiteClock:
        return SiteClock(
            wall_ns=lambda: self.wall,
            boottime_ns=lambda: self.boot,
            kernel=lambda: KernelClock(is_synchronised=self.is_synchronised, max_error_us=500),
            settle_s=60,
            hold_max_s=900,
        )

    def pass_s(self, seconds: float) -> None:
        self.wall += int(seconds * NS)
        self.boot += int(seconds * NS)


def test_time_goes_on_with_the_wall_clock_and_follows_small_corrections() -> None:
    clocks = Clocks()
    site = clocks.site()
    assert (site.now_ms(), site.now_s()) == (START_MS, 100.0)
    for _ in range(10):
        clocks.pass_s(1)
        clocks.wall += NS // 2  # a time daemon that slews hard
        assert site.check() is None
    assert site.now_ms() == START_MS + 15_000
    assert site.is_trusted


def test_a_step_is_reported_once_and_held_until_it_has_settled() -> None:
    clocks = Clocks()
    site = clocks.site()
    clocks.wall -= 3600 * NS
    assert site.check() == ClockEvent(what="step", old_ms=START_MS, new_ms=START_MS - 3_600_000)
    assert not site.is_trusted
    for _ in range(59):
        clocks.pass_s(1)
        assert site.check() is None
    assert site.now_ms() == START_MS + 59_000
    assert site.stamp().quality == "R"
    clocks.pass_s(1)
    event = site.check()
    assert event == ClockEvent(
        what="adopt", old_ms=START_MS + 60_000, new_ms=START_MS + 60_000 - 3_600_000
    )
    assert event.data == {"what": "adopt", "old_ms": event.old_ms, "new_ms": event.new_ms}
    assert site.now_ms() == event.new_ms
    assert site.is_trusted


def test_an_unsynchronised_clock_is_believed_only_after_a_long_hold() -> None:
    clocks = Clocks(is_synchronised=False)
    site = clocks.site()
    clocks.wall += 3600 * NS
    assert site.check() is not None
    for _ in range(899):
        clocks.pass_s(1)
        assert site.check() is None
    clocks.pass_s(1)
    event = site.check()
    assert event is not None
    assert event.what == "adopt"


def test_a_stepped_clock_that_is_slewed_meanwhile_is_one_step() -> None:
    clocks = Clocks(is_synchronised=False)
    site = clocks.site()
    clocks.wall += 3600 * NS
    assert site.check() is not None
    for _ in range(899):
        clocks.pass_s(1)
        clocks.wall += NS // 100
        assert site.check() is None


def test_a_clock_that_comes_back_leaves_no_trace_but_two_events() -> None:
    clocks = Clocks()
    site = clocks.site()
    clocks.wall += 10 * NS
    first = site.check()
    clocks.pass_s(5)
    clocks.wall -= 10 * NS
    second = site.check()
    assert first is not None
    assert second is not None
    assert (first.what, second.what) == ("step", "return")
    assert site.now_ms() == START_MS + 5_000
    assert site.is_trusted


def test_a_clock_that_keeps_jumping_starts_the_wait_anew_each_time() -> None:
    clocks = Clocks()
    site = clocks.site()
    for jump in range(5):
        clocks.wall += (10 + jump) * NS
        event = site.check()
        assert event is not None
        assert event.what == "step"
        clocks.pass_s(59)
        assert site.check() is None
        assert not site.is_trusted


def test_a_clock_before_what_is_known_is_not_trusted() -> None:
    clocks = Clocks(wall=1_000_000_000 * NS)  # 2001: a board without a battery
    site = clocks.site()
    assert not site.is_trusted
    assert site.stamp().quality == "U"
    later = Clocks().site()
    later.require_after(START_MS + 1)
    assert not later.is_trusted
    later.require_after(0)
    assert not later.is_trusted


def test_the_stamp_carries_what_the_kernel_says() -> None:
    clocks = Clocks()
    stamp = clocks.site().stamp()
    assert (stamp.quality, stamp.max_error_us) == ("S", 500)
    assert (stamp.boottime_ns, stamp.time_us) == (100 * NS, START_MS * 1000)
    clocks.is_synchronised = False
    assert clocks.site().stamp().quality == "I"


@given(
    st.lists(
        st.tuples(st.floats(0.01, 30), st.integers(-100_000, 100_000)), min_size=1, max_size=50
    )
)
def test_site_time_moves_with_real_time_whatever_the_wall_clock_does(
    steps: list[tuple[float, int]],
) -> None:
    clocks = Clocks()
    site = clocks.site()
    for seconds, jump_ms in steps:
        before_ms, before_ns = site.now_ms(), clocks.boot
        clocks.pass_s(seconds)
        clocks.wall += jump_ms * 1_000_000
        event = site.check()
        passed_ms = (clocks.boot - before_ns) / 1_000_000
        if event is None or event.what != "adopt":
            assert abs(site.now_ms() - before_ms - passed_ms) <= 1002
        else:
            assert site.now_ms() == pytest.approx(clocks.wall / 1_000_000, abs=1)


def test_the_kernel_answers_without_any_right() -> None:
    clock = read_kernel_clock()
    assert clock.max_error_us >= 0
    assert abs(SiteClock().now_ms() - time.time() * 1000) < 1000
