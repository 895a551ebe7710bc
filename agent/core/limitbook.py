"""The limits that somebody told the agent: taken once, never rewritten, kept until they are over.

What the configuration says is not in here; it stands as long as the file does. An order that could
be changed under its id would prove nothing, so that a changed one needs a new id, as a purchase.
"""

from dataclasses import dataclass

from agent.core.evolve import replace
from agent.core.limits import Limit

STANDING_MAX = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class ToldLimit:
    """A limit with how it came. ``told_by`` is who said it to the agent, ``reason`` why."""

    limit: Limit
    told_by: str
    reason: str
    received_at_ms: int
    cleared_at_ms: int | None = None

    def is_same(self, other: "ToldLimit") -> bool:
        """Same content, whoever brought it and whenever."""
        return self.limit == other.limit and self.reason == other.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitBook:
    """Every limit that was told and is remembered, in the order in which they came.

    ``rated_w`` is what the connection carries: a limit that falls to it bounds nothing any more.
    ``count`` is how many manual limits have ever been given a name.
    """

    rated_w: float
    told: tuple[ToldLimit, ...] = ()
    count: int = 0

    def find(self, limit_id: str) -> ToldLimit | None:
        """The limit of that id."""
        return next((one for one in self.told if one.limit.limit_id == limit_id), None)

    def standing(self, now_ms: int) -> tuple[Limit, ...]:
        """The limits that bound something now or later, in the order in which they came."""
        return tuple(one.limit for one in self.told if not self.is_over(one, now_ms))

    def is_over(self, told: ToldLimit, now_ms: int) -> bool:
        """Whether it was cleared, or has ended and leaves nothing behind."""
        expires_ms, cleared_at_ms = told.limit.expires_ms, told.cleared_at_ms
        has_ended = expires_ms is not None and now_ms >= expires_ms
        is_cleared = cleared_at_ms is not None and now_ms >= cleared_at_ms
        return is_cleared or (has_ended and told.limit.safe_w >= self.rated_w)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What became of a limit: ``accepted``, ``unchanged``, ``cleared`` or ``refused``."""

    limit_id: str
    result: str
    reason: str


def next_id(book: LimitBook) -> str:
    """The name of the next manual limit."""
    return f"manual-{book.count + 1}"


def accept(book: LimitBook, offered: ToldLimit, *, now_ms: int) -> tuple[LimitBook, Answer]:
    """Take a limit into the book, or say in one sentence why not."""
    limit_id = offered.limit.limit_id
    known = book.find(limit_id)
    if known is not None and known.is_same(offered) and known.cleared_at_ms is None:
        return book, Answer(limit_id=limit_id, result="unchanged", reason="already in the book")
    reason = _refusal(book, offered, known, now_ms)
    if reason is not None:
        return book, Answer(limit_id=limit_id, result="refused", reason=reason)
    return remember(book, offered), Answer(
        limit_id=limit_id, result="accepted", reason=offered.limit.words
    )


def remember(book: LimitBook, told: ToldLimit) -> LimitBook:
    """Take in a limit that was accepted, now or before a restart."""
    is_named = told.limit.limit_id == next_id(book)
    return replace(book, told=(*book.told, told), count=book.count + is_named)


def clear(book: LimitBook, limit_id: str, *, now_ms: int) -> tuple[LimitBook, Answer]:
    """Lift a limit before its end, or say in one sentence why not."""
    known = book.find(limit_id)
    if known is None:
        reason = "there is no such limit that was told; `kwota limit list` shows those that stand"
        return book, Answer(limit_id=limit_id, result="refused", reason=reason)
    if book.is_over(known, now_ms):
        return book, Answer(limit_id=limit_id, result="unchanged", reason="it is over already")
    lifted = replace(known, cleared_at_ms=now_ms)
    told = tuple(lifted if one is known else one for one in book.told)
    answer = Answer(limit_id=limit_id, result="cleared", reason="it bounds nothing any more")
    return replace(book, told=told), answer


def forget(book: LimitBook, *, ended_before_ms: int) -> LimitBook:
    """Drop limits that are over since long from the working set; the journal keeps them."""
    kept = tuple(one for one in book.told if not book.is_over(one, ended_before_ms))
    return book if len(kept) == len(book.told) else replace(book, told=kept)


def _refusal(
    book: LimitBook, offered: ToldLimit, known: ToldLimit | None, now_ms: int
) -> str | None:
    if known is not None and known.cleared_at_ms is not None:
        return "a limit of this id was cleared; give the new one a new id"
    if known is not None:
        return "this id is in the book with other content; clear that one, or give a new id"
    if len(book.standing(now_ms)) >= STANDING_MAX:
        return f"{STANDING_MAX} limits stand already; clear those that are not needed"
    return _power_refusal(offered.limit, book.rated_w) or _time_refusal(offered.limit, now_ms)


def _power_refusal(limit: Limit, rated_w: float) -> str | None:
    if limit.power_w < 0 or limit.safe_w < 0:
        return "its power is below zero; write 0 for none"
    if limit.power_w >= rated_w:
        return (
            f"it is not below the {rated_w / 1000:.0f} kW that the connection carries and would "
            "limit nothing; check the number, it is kW"
        )
    return None


def _time_refusal(limit: Limit, now_ms: int) -> str | None:
    if limit.expires_ms is None:
        return None
    if limit.expires_ms <= (limit.from_ms or 0):
        return "it ends before it begins; check the times"
    if limit.expires_ms <= now_ms:
        return "its time is in the past; check the times"
    return None
