"""What bounds the power, and when. Each limit has a source, an end and a safe value.

A limit says how many watts may be drawn at any instant: nothing yet before it begins, its own power
(or that of the span that covers the instant) while it holds, its safe value once its word has run
out. The smallest of all limits rules. Silence of a source is never permission: what is not covered
by a span is bounded by ``power_w``, and what comes after the end by ``safe_w``.

A limit that begins later is a wall: it must be reached when it begins, so that it rules as early
as the slowest actuator needs. docs/governor.md has the argument.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from agent.core.envelope import SECONDS_PER_HOUR
from agent.core.evolve import replace


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time [from, until) with its own power."""

    from_ms: int
    until_ms: int
    power_w: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """``power_w`` may be drawn from ``from_ms`` (None: ever since) until ``expires_ms`` (None: for
    good), where no span says otherwise; ``safe_w`` after that.

    ``kind`` is what sort of limit it is, ``source`` who said so, ``limit_id`` what it is called
    where it has a name of its own. ``words`` say it to a technician, without the times.
    """

    kind: str
    source: str
    power_w: float
    safe_w: float
    expires_ms: int | None
    words: str
    limit_id: str = ""
    from_ms: int | None = None
    spans: tuple[Span, ...] = ()

    @property
    def name(self) -> str:
        """What a decision calls the limit: its id, else its source."""
        return self.limit_id or self.source

    def power_at(self, at_ms: int) -> float:
        """What this limit allows at an instant; without bound before it begins."""
        if self.expires_ms is not None and at_ms >= self.expires_ms:
            return self.safe_w
        if self.from_ms is not None and at_ms < self.from_ms:
            return float("inf")
        for span in self.spans:
            if span.from_ms <= at_ms < span.until_ms:
                return span.power_w
        return self.power_w

    def edges_ms(self) -> Iterator[int]:
        """The instants at which what it allows may change, in no order."""
        for edge_ms in (self.from_ms, self.expires_ms):
            if edge_ms is not None:
                yield edge_ms
        for span in self.spans:
            yield span.from_ms
            yield span.until_ms

    def least_at(self, from_ms: int, until_ms: int) -> tuple[float, int]:
        """The least that it allows between two instants, both included, and since when."""
        edges = sorted(edge for edge in self.edges_ms() if from_ms < edge <= until_ms)
        return min((self.power_at(at_ms), at_ms) for at_ms in (from_ms, *edges))

    def words_at(self, at_ms: int) -> str:
        """What it says at an instant, in words."""
        if self.expires_ms is not None and at_ms >= self.expires_ms:
            return (
                f"{self.words}; that has ended, and its safe value of {_kw(self.safe_w)} rules "
                "until a new word comes"
            )
        if self.spans:
            return f"{self.words}: {_kw(self.power_at(at_ms))} now"
        return self.words


def ruling(limits: Sequence[Limit], now_ms: int, ahead_s: float = 0.0) -> Limit:
    """The limit that allows least now or within the next seconds; of equals the one named first.

    What is returned has the power that it rules with and says so in its words. Needs at least one.
    """
    until_ms = now_ms + round(ahead_s * 1000)
    found = [limit.least_at(now_ms, until_ms) for limit in limits]
    power_w, at_ms = min(found, key=lambda one: one[0])
    ruler = next(limit for limit, one in zip(limits, found, strict=True) if one[0] == power_w)
    words = ruler.words_at(at_ms)
    if at_ms > now_ms:
        words = f"in {(at_ms - now_ms) / 1000:.0f} s this begins, and is kept from then on: {words}"
    return replace(ruler, power_w=power_w, from_ms=None, expires_ms=None, spans=(), words=words)


def allowed_w(limits: Sequence[Limit], at_ms: int) -> float:
    """What all limits together allow at an instant; without bound where there is none."""
    return min((limit.power_at(at_ms) for limit in limits), default=float("inf"))


def rises_above_ms(limits: Sequence[Limit], now_ms: int, power_w: float) -> int | None:
    """When more than a power will next be allowed; None: not by anything known now."""
    later = (at_ms for at_ms in _edges_after(limits, now_ms))
    return next((at_ms for at_ms in later if allowed_w(limits, at_ms) > power_w), None)


def falls_below_ms(limits: Sequence[Limit], now_ms: int, power_w: float) -> int | None:
    """When less than a power will next be allowed; None: not by anything known now."""
    later = (at_ms for at_ms in _edges_after(limits, now_ms))
    return next((at_ms for at_ms in later if allowed_w(limits, at_ms) < power_w), None)


def level_w(
    limits: Sequence[Limit],
    *,
    energy_wh: float,
    now_ms: int,
    until_ms: int,
    ahead_s: float,
    floor_w: float,
) -> float:
    """The level of power that uses up an energy until an instant, where no limit cuts it off.

    What a limit keeps back at one time is drawn at another: the level lies above the mean. A limit
    cuts ``ahead_s`` before it begins, and never below ``floor_w``, which flows whatever is said.
    Without bound where the limits do not leave enough room for the energy.
    """
    ahead_ms = round(ahead_s * 1000)
    edges = {at_ms - lead for at_ms in _edges_after(limits, now_ms) for lead in (0, ahead_ms)}
    inner = sorted(at_ms for at_ms in edges if now_ms < at_ms < until_ms)
    stretches = sorted(
        (max(_least_w(limits, from_ms, from_ms + ahead_ms), floor_w), (to_ms - from_ms) / 1000.0)
        for from_ms, to_ms in pairwise((now_ms, *inner, until_ms))
    )
    rest_ws, rest_s = energy_wh * SECONDS_PER_HOUR, sum(span_s for _, span_s in stretches)
    for bound_w, span_s in stretches:
        if rest_ws <= bound_w * rest_s:
            return rest_ws / rest_s
        rest_ws -= bound_w * span_s
        rest_s -= span_s
    return float("inf")


def _least_w(limits: Sequence[Limit], from_ms: int, until_ms: int) -> float:
    found = (limit.least_at(from_ms, until_ms)[0] for limit in limits)
    return min(found, default=float("inf"))


def _edges_after(limits: Sequence[Limit], now_ms: int) -> list[int]:
    return sorted({at_ms for limit in limits for at_ms in limit.edges_ms() if at_ms > now_ms})


def _kw(power_w: float) -> str:
    return f"{power_w / 1000:.1f} kW"
