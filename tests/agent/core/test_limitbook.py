"""Limits in any order of being told, beginning, ending and being cleared, beside a second book."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from agent.core.limitbook import (
    STANDING_MAX,
    LimitBook,
    ToldLimit,
    accept,
    clear,
    forget,
    next_id,
)
from agent.core.limits import Limit, ruling

RATED_W = 1000.0
CONNECTION = Limit(
    kind="connection",
    source="site.rated_power_w",
    power_w=RATED_W,
    safe_w=RATED_W,
    expires_ms=None,
    words="the connection",
)


def told(limit_id: str, power_w: float = 100.0, **changes: Any) -> ToldLimit:
    values: dict[str, Any] = {"safe_w": RATED_W, "expires_ms": 1000, "from_ms": 0, **changes}
    limit = Limit(
        kind="dispatch_order",
        source="grid operator",
        power_w=power_w,
        words=f"{limit_id} allows {power_w:.0f} W",
        limit_id=limit_id,
        **values,
    )
    return ToldLimit(limit=limit, told_by="uid 0", reason="", received_at_ms=5)


@dataclass
class Second:
    """What a limit allows, written another way: as a list of (since, power)."""

    steps: list[tuple[int, float]]
    words: str
    cleared_at: float = float("inf")

    def allows(self, now_ms: int) -> float:
        if now_ms >= self.cleared_at:
            return float("inf")
        return [power for since, power in self.steps if since <= now_ms][-1]


class Told(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.book = LimitBook(rated_w=RATED_W)
        self.now_ms = 0
        self.second: dict[str, Second] = {}

    @rule(
        name=st.sampled_from("abcdefg"),
        power_w=st.integers(-1, 1001),
        begins=st.integers(-50, 100),
        length=st.integers(-5, 100) | st.none(),
        safe_w=st.sampled_from([0.0, 50.0, 500.0, RATED_W]),
    )
    def tell(
        self, *, name: str, power_w: int, begins: int, length: int | None, safe_w: float
    ) -> None:
        from_ms = self.now_ms + begins
        until_ms = None if length is None else from_ms + length
        offered = told(name, float(power_w), from_ms=from_ms, expires_ms=until_ms, safe_w=safe_w)
        before = self.book
        self.book, answer = accept(before, offered, now_ms=self.now_ms)
        is_good = 0 <= power_w < RATED_W and (
            length is None or (length > 0 and from_ms + length > self.now_ms)
        )
        is_new = before.find(name) is None
        if answer.result != "accepted":
            assert self.book == before
        assert (answer.result == "accepted") == (is_good and is_new)
        assert answer.reason
        if answer.result == "accepted":
            ends = [] if until_ms is None else [(until_ms, safe_w)]
            steps = [(-(10**9), float("inf")), (from_ms, float(power_w)), *ends]
            self.second[name] = Second(steps=steps, words=offered.limit.words)

    @rule(name=st.sampled_from("abcdefg"))
    def tell_again(self, name: str) -> None:
        known = self.book.find(name)
        if known is None or known.cleared_at_ms is not None:
            return
        book, answer = accept(
            self.book, replace(known, received_at_ms=99, told_by="uid 7"), now_ms=self.now_ms
        )
        assert (book, answer.result) == (self.book, "unchanged")

    @rule(name=st.sampled_from("abcdefg"))
    def clear(self, name: str) -> None:
        known = self.book.find(name)
        self.book, answer = clear(self.book, name, now_ms=self.now_ms)
        assert (answer.result == "refused") == (known is None)
        if answer.result == "cleared":
            self.second[name].cleared_at = self.now_ms

    @rule(ms=st.integers(0, 80))
    def pass_time(self, ms: int) -> None:
        self.now_ms += ms

    @rule()
    def forget(self) -> None:
        self.book = forget(self.book, ended_before_ms=self.now_ms)
        for name in list(self.second):
            if self.book.find(name) is None:
                assert self.second[name].allows(self.now_ms) >= RATED_W
                del self.second[name]

    @invariant()
    def the_ruling_power_is_never_above_an_active_limit_and_its_words_name_it(self) -> None:
        ruler = ruling((CONNECTION, *self.book.standing(self.now_ms)), self.now_ms)
        allowed = {name: one.allows(self.now_ms) for name, one in self.second.items()}
        assert ruler.power_w == min((RATED_W, *allowed.values()))
        if ruler.kind == "connection":
            assert ruler.words == "the connection"
        else:
            assert allowed[ruler.limit_id] == ruler.power_w
            assert self.second[ruler.limit_id].words in ruler.words
            until_ms = self.second[ruler.limit_id].steps[-1][0]
            has_ended = len(self.second[ruler.limit_id].steps) == 3 and self.now_ms >= until_ms
            assert ("safe value" in ruler.words) == has_ended


TestTold = Told.TestCase
TestTold.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"power_w": -1.0}, "below zero"),
        ({"safe_w": -1.0}, "below zero"),
        ({"power_w": RATED_W}, "would limit nothing"),
        ({"from_ms": 2000}, "ends before it begins"),
        ({"expires_ms": 40}, "in the past"),
    ],
)
def test_a_limit_that_cannot_be_meant_is_refused_with_a_sentence(
    changes: dict[str, float], word: str
) -> None:
    _, answer = accept(LimitBook(rated_w=RATED_W), told("a", **changes), now_ms=50)
    assert answer.result == "refused"
    assert word in answer.reason


def test_other_content_under_a_known_id_is_refused_and_a_cleared_id_is_not_used_again() -> None:
    book, _ = accept(LimitBook(rated_w=RATED_W), told("a"), now_ms=0)
    _, answer = accept(book, told("a", 50.0), now_ms=0)
    assert "other content" in answer.reason
    book, _ = clear(book, "a", now_ms=1)
    _, answer = accept(book, told("a"), now_ms=2)
    assert "was cleared" in answer.reason
    _, answer = clear(book, "a", now_ms=3)
    assert (answer.result, answer.reason) == ("unchanged", "it is over already")


def test_names_of_manual_limits_are_never_given_twice() -> None:
    book = LimitBook(rated_w=RATED_W)
    for expected in ("manual-1", "manual-2"):
        assert next_id(book) == expected
        book, _ = accept(book, told(expected), now_ms=0)
    book = forget(book, ended_before_ms=10_000)
    assert book.told == ()
    assert next_id(book) == "manual-3"


def test_there_is_a_bound_to_how_many_limits_stand() -> None:
    book = LimitBook(rated_w=RATED_W)
    for number in range(STANDING_MAX):
        book, answer = accept(book, told(f"o-{number}"), now_ms=0)
        assert answer.result == "accepted"
    _, answer = accept(book, told("one more"), now_ms=0)
    assert "clear those" in answer.reason
    _, answer = accept(book, told("one more", expires_ms=5000), now_ms=1500)
    assert answer.result == "accepted"  # the others are over by now
