"""Which records are handed over: those of some purchases, or all of a span of time.

Fed with every record of the log once, in order. A purchase takes along what was recorded from a
quarter of an hour before its window until it is settled, whatever its kind, without the ticks and
without other meter points; of what was before, the newest that says how things stood; the signed
batch of the pool that sold it, where there was one; and of what came after it was settled, each gap
of the agent's own that began while its window lasted: readings that a full journal dropped are told
once there is room, which may be days later.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

QUARTER_US = 900_000_000
SETTLED_US = QUARTER_US + 60_000_000
"""The statement of the quarter in which a window ends is written this late at most."""

_HEAD = re.compile(
    rb'\{"v":1,"i":(\d+),"k":"(\w+)","b":\d+,"m":-?\d+,"t":(-?\d+),"q":"\w","e":\d+,"s":("(?:[^"\\]|\\.)*")'
)
_TELLING = frozenset({b"ledger", b"alarm", b"frame", b"limit", b"pool", b"gap"})
"""Kinds whose data have to be looked into."""
_OF_ONE_POINT = frozenset({b"ledger", b"statement", b"preflight", b"decision"})
_OWN_GAPS = frozenset({"thinned", "stopped"})
_STANDING = frozenset({b"boot", b"config", b"meter"})
"""Kinds of which the newest before a window says how things stood when it began."""


class SelectionError(Exception):
    """What is wanted is not in the log; the sentence names it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Purchases by id, or a span of time in UTC ms; an end that is None is open."""

    transactions: tuple[str, ...] = ()
    from_ms: int | None = None
    to_ms: int | None = None

    def __post_init__(self) -> None:
        is_span = self.from_ms is not None or self.to_ms is not None
        if self.transactions and is_span:
            raise SelectionError("Name purchases or a span of time, not both.")


@dataclass(slots=True, kw_only=True)
class _Purchase:
    """One purchase while the log goes by."""

    name: str
    index: int
    point: str
    from_us: int
    until_us: int | None
    closed: int | None = None
    closed_us: int = 0
    batch: int | None = None
    late: list[int] = field(default_factory=list)
    sold: list[int] = field(default_factory=list)
    picked: list[int] = field(default_factory=list)
    standing: dict[tuple[str, ...], tuple[int, ...]] = field(default_factory=dict)

    def wants(self, index: int, at_us: int) -> bool:
        if index == self.closed:
            return True
        if at_us < self.from_us or self.closed is None:
            return at_us >= self.from_us
        return self.until_us is not None and at_us <= self.until_us + SETTLED_US

    def lacks(self, gap: Any) -> bool:
        """Whether a gap that is told after the settlement began before the window was over."""
        if self.closed is None or gap["event"] not in _OWN_GAPS:
            return False
        ended_us = self.closed_us if self.until_us is None else self.until_us
        return bool(gap["since_ms"] * 1000 < ended_us)


class Selection:
    """Which indices are wanted. ``take`` every record, then ask for ``indices``."""

    def __init__(self, wanted: Wanted) -> None:
        self._wanted = wanted
        self._purchases: list[_Purchase] = []
        self._standing: dict[tuple[str, ...], tuple[int, ...]] = {}
        self._closed: dict[str, int] = {}
        self._first: int | None = None
        self._last: int | None = None
        self._before: list[int] = []
        self._bought: dict[str, tuple[int, int]] = {}
        self._next = 0

    def take(self, records: Iterable[bytes]) -> None:
        """The next records of the log."""
        for record in records:
            index, self._next = self._next, self._next + 1
            match = _HEAD.match(record)
            if match is None:
                raise SelectionError(f"Record {index} is none: run `kwota verify` on the journal.")
            kind, at_us, source = match[2], int(match[3]), orjson.loads(match[4])
            self._mark_span(index, at_us)
            data = orjson.loads(record)["d"] if kind in _TELLING else None
            if kind == b"ledger":
                self._take_ledger(index, at_us, source, data)
            if kind == b"pool":
                self._take_pool(index, data)
            self._note_standing(index, kind, source, data)
            for purchase in self._purchases:
                if purchase.wants(index, at_us) and _is_concerned(purchase, kind, source, data):
                    purchase.picked.append(index)
                elif kind == b"gap" and purchase.lacks(data):
                    purchase.late.append(index)

    def indices(self) -> list[int]:
        """The wanted ones, ascending. Raises SelectionError."""
        names = self._wanted.transactions
        if names:
            known = {purchase.name for purchase in self._purchases}
            if missing := [name for name in names if name not in known]:
                raise SelectionError(f"The log holds no purchase {missing[0]!r}.")
            return sorted({index for one in self._purchases for index in _all_of(one)})
        if self._first is None or self._last is None:
            raise SelectionError("The log has no record in that span of time.")
        span = range(self._first, self._last + 1)
        bought = {self._bought[name][0] for name in self.transactions()}
        return sorted({*span, *bought, *self._before})

    def needed(self) -> int:
        """The newest record without which the receipts would say less."""
        if not self._wanted.transactions:
            return max(self.indices())
        return max(
            max((one.index if one.closed is None else one.closed, *one.late))
            for one in self._purchases
        )

    def transactions(self) -> list[str]:
        """Of which purchases there is a receipt: those named, or those wholly in the span."""
        if self._wanted.transactions:
            return list(dict.fromkeys(self._wanted.transactions))
        if self._first is None or self._last is None:
            return []
        from_ms = self._wanted.from_ms
        return [
            name
            for name, index in self._closed.items()
            if self._first <= index <= self._last and name in self._bought
            if from_ms is None or self._bought[name][1] >= from_ms
        ]

    def pages(self) -> dict[str, int]:
        """Of each purchase that is closed the how many-th of this log it is, from 1."""
        return {name: page for page, name in enumerate(self._closed, 1)}

    def _mark_span(self, index: int, at_us: int) -> None:
        wanted = self._wanted
        if wanted.transactions:
            return
        if wanted.from_ms is not None and at_us < wanted.from_ms * 1000:
            return
        if wanted.to_ms is not None and at_us >= wanted.to_ms * 1000:
            return
        if self._first is None:
            self._first = index
            self._before = sorted({at for stood in self._standing.values() for at in stood})
        self._last = index

    def _take_ledger(self, index: int, at_us: int, source: str, data: Any) -> None:
        if data["event"] == "purchase":
            self._bought.setdefault(data["id"], (index, data["start_ms"]))
            if data["id"] in self._wanted.transactions:
                end_ms = data["end_ms"]
                purchase = _Purchase(
                    name=data["id"],
                    index=index,
                    point=source,
                    from_us=data["start_ms"] * 1000 - QUARTER_US,
                    until_us=None if end_ms is None else end_ms * 1000,
                )
                purchase.standing.update(self._standing)
                self._purchases.append(purchase)
        elif data["event"] == "closed":
            self._closed[data["id"]] = index  # a name keeps the place that it had first
            for purchase in self._purchases:
                if purchase.name == data["id"]:
                    purchase.closed, purchase.closed_us = index, at_us

    def _take_pool(self, index: int, data: Any) -> None:
        """The results of a batch name its purchases; the batch itself stands after them."""
        for purchase in self._purchases:
            if data["event"] == "results":
                if any(row[0] == purchase.name and row[1] == "accepted" for row in data["items"]):
                    purchase.batch = data["sequence"]
                    purchase.sold.append(index)
            elif data["event"] == "taken" and purchase.batch == data["sequence"]:
                purchase.sold.append(index)

    def _note_standing(self, index: int, kind: bytes, source: str, data: Any) -> None:
        """Remember the newest of what says how things stand; an alarm until it is cleared."""
        if kind in _STANDING:
            name: tuple[str, ...] = (kind.decode(), source)
        elif kind == b"ledger" and data["event"] == "state":
            name = ("state", source)
        elif kind == b"frame":
            name = ("frame", source)
            if data["part"]:
                self._stand(name, (*self._standing.get(name, ()), index))
                return
        elif kind == b"alarm" or (kind == b"limit" and data["event"] != "refused"):
            name = (kind.decode(), source, data.get("code", ""))
            if data["event"] == "reached":
                return
            if data["event"] == "cleared":
                self._stand(name, ())
                return
        else:
            return
        self._stand(name, (index,))

    def _stand(self, name: tuple[str, ...], indices: tuple[int, ...]) -> None:
        self._standing[name] = indices
        for purchase in self._purchases:
            if not purchase.picked:
                purchase.standing[name] = indices


def _is_concerned(purchase: _Purchase, kind: bytes, source: str, data: Any) -> bool:
    if kind == b"frame":  # which devices are whose is said anew only where the agent starts
        return bool(source == purchase.point and data["why"] == "start")
    if kind in _OF_ONE_POINT:
        return source == purchase.point
    return kind != b"tick"


def _all_of(purchase: _Purchase) -> Sequence[int]:
    others = {
        index
        for name, indices in purchase.standing.items()
        if name[0] not in ("state", "frame") or name[1] == purchase.point
        for index in indices
    }
    closed = () if purchase.closed is None else (purchase.closed,)
    return [purchase.index, *purchase.sold, *closed, *purchase.picked, *purchase.late, *others]
