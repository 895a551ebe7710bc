"""Attributes metered energy to purchases, in whole watt-hours that always add up.

Two identities hold after every step and are asserted: ``bought = allocated + unused`` for each
purchase, ``metered + unknown = allocated + over`` for the ledger.

The ledger counts in a coordinate of its own that only grows. ``offset_wh`` leads from what the
meter shows to it; it changes when the register wraps, and when a person vouches for a register that
was exchanged, reset or moved (``agent.core.rebase``), never else. What may have flowed meanwhile
and no register shows is charged by its upper bound and counted apart, as ``unknown``.

The ledger knows registers and windows, nothing of power. Where an interval crosses the edge of a
window or of a quarter of an hour the caller supplies the fused estimate of the register at that
edge; the entry is flagged ``split``. No entry reaches over such an edge.
Order of attribution: earliest end, earliest start, lowest price, id (design, section 3.3).
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from agent.core.calendar import Calendar, calendar_of
from agent.core.evolve import replace

FOREVER_MS = 2**53
QUARTER_MS = 900_000  # metering rules of 2025-09-11: commercial data come every fifteen minutes
QUARTERS_MAX = 1000
ORDER = "end,start,price,id"
NO_TRANSACTIONS: Mapping[str, "Transaction"] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Transaction:
    """One purchase of energy. ``end_ms`` None is open-ended; the price is decimal text, KZT/kWh."""

    transaction_id: str
    meter_point: str
    start_ms: int
    end_ms: int | None
    energy_wh: int
    price_kzt_per_kwh: str
    source: str
    received_at_ms: int

    @property
    def deadline_ms(self) -> int:
        """The end of the window, or a time beyond all clocks for an open-ended purchase."""
        return FOREVER_MS if self.end_ms is None else self.end_ms

    def order(self) -> tuple[int, int, Decimal, str]:
        """The sort key of attribution."""
        return self.deadline_ms, self.start_ms, Decimal(self.price_kzt_per_kwh), self.transaction_id

    def is_same_purchase(self, other: "Transaction") -> bool:
        """Same content, whenever it was received."""
        return replace(self, received_at_ms=0) == replace(other, received_at_ms=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A purchase with what was attributed to it so far.

    ``opened_at_wh`` and ``closed_at_wh`` are the register at the window's two edges.
    ``start_error_wh`` is how much more than its split may have flowed since the window's start:
    the width of the fused estimate below the value at which the window was opened.
    """

    transaction: Transaction
    allocated_wh: int = 0
    opened_at_wh: int | None = None
    closed_at_wh: int | None = None
    start_error_wh: int = 0

    @property
    def unused_wh(self) -> int:
        """What is left of the purchase."""
        return self.transaction.energy_wh - self.allocated_wh

    def is_open(self, at_ms: int) -> bool:
        """Whether the window contains the instant; the start belongs to it, the end does not."""
        return self.transaction.start_ms <= at_ms < self.transaction.deadline_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One attributed interval of the coordinate. ``shares`` are (transaction id, Wh).

    Of the interval ``unknown_wh`` are an upper bound and no measurement: all of it or nothing.
    """

    start_ms: int
    end_ms: int
    from_wh: int
    to_wh: int
    shares: tuple[tuple[str, int], ...]
    over_wh: int
    flags: tuple[str, ...]
    unknown_wh: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books of one meter point. ``booked_wh`` is the coordinate up to which all is attributed.

    ``accounts`` are in order of attribution; ended ones stay until ``forget`` drops them.
    ``offset_wh`` is the coordinate minus what the meter with ``serial`` (if it has told one) shows,
    ``owed_wh`` what of the next booking nobody measured, ``windows`` the calendar of the accounts.
    """

    meter_point: str
    accounts: tuple[Account, ...] = ()
    booked_wh: int | None = None
    booked_at_ms: int = 0
    metered_wh: int = 0
    unknown_wh: int = 0
    allocated_wh: int = 0
    over_wh: int = 0
    offset_wh: int = 0
    serial: str = ""
    owed_wh: int = 0
    windows: Calendar | None = field(
        default=None, compare=False, repr=False, metadata={"is_derived": True}
    )

    @property
    def calendar(self) -> Calendar:
        """When the purchases open and close."""
        if self.windows is not None and self.windows.made_of is self.accounts:
            return self.windows
        transactions = [account.transaction for account in self.accounts]
        return calendar_of([(t.start_ms, t.deadline_ms) for t in transactions], self.accounts)

    def open_accounts(self, at_ms: int) -> tuple[Account, ...]:
        """The purchases whose windows contain the instant, in order of attribution."""
        return tuple([self.accounts[place] for place in self.calendar.open_at(at_ms)])

    def ended_accounts(self, after_ms: int, to_ms: int) -> tuple[Account, ...]:
        """The purchases whose windows end later than the one instant, not later than the other."""
        return tuple([self.accounts[n] for n in self.calendar.ended_in(after_ms, to_ms)])

    def next_start_ms(self, after_ms: int) -> int | None:
        """When the next purchase after the instant opens."""
        return self.calendar.next_start_ms(after_ms)

    def account(self, transaction_id: str) -> Account | None:
        """The purchase of that id."""
        for account in self.accounts:
            if account.transaction.transaction_id == transaction_id:
                return account
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """What became of one offered purchase: ``accepted``, ``unchanged`` or ``refused``."""

    transaction_id: str
    result: str
    reason: str


def admit(
    ledger: Ledger, offered: Transaction, *, cap_wh: int, now_ms: int
) -> tuple[Ledger, Admission]:
    """Take one purchase into the books, or say in one sentence why not."""
    ledger, admissions = admit_all(ledger, [offered], cap_wh=lambda _: cap_wh, now_ms=now_ms)
    return ledger, admissions[0]


def admit_all(
    ledger: Ledger,
    offers: Sequence[Transaction],
    *,
    cap_wh: Callable[[int], int],
    now_ms: int,
    remembered: Mapping[str, Transaction] = NO_TRANSACTIONS,
) -> tuple[Ledger, list[Admission]]:
    """Take purchases into the books, or say of each in one sentence why not, in their order.

    The same id with the same content changes nothing; with other content it is refused, because a
    purchase that could be rewritten would prove nothing. ``remembered`` are purchases that the
    books have let go and that somebody else still knows. ``cap_wh`` gives the cap for a window that
    starts at an instant (UTC ms).
    """
    known = {a.transaction.transaction_id: a.transaction for a in ledger.accounts}
    taken: list[Account] = []
    admissions: list[Admission] = []
    for offered in offers:
        identity = offered.transaction_id
        before = known.get(identity) or remembered.get(identity)
        if before is not None and before.is_same_purchase(offered):
            result, reason = "unchanged", "already in the books"
        else:
            cap = cap_wh(offered.start_ms)
            refusal = _refusal(ledger, offered, before=before, cap_wh=cap, now_ms=now_ms)
            result, reason = (
                ("accepted", "in the books") if refusal is None else ("refused", refusal)
            )
        if result == "accepted":
            known[identity] = offered
            taken.append(Account(transaction=offered))
        admissions.append(Admission(transaction_id=identity, result=result, reason=reason))
    if not taken:
        return ledger, admissions
    accounts = sorted((*ledger.accounts, *taken), key=lambda a: a.transaction.order())
    return _with_accounts(ledger, tuple(accounts)), admissions


def _refusal(
    ledger: Ledger, offered: Transaction, *, before: Transaction | None, cap_wh: int, now_ms: int
) -> str | None:
    if before is not None:
        return (
            "this id is in the books with other content; "
            "send the changed purchase under a new id, or ask for the recorded one"
        )
    if offered.meter_point != ledger.meter_point:
        return (
            f"it is for meter point {offered.meter_point!r}, "
            f"this agent keeps {ledger.meter_point!r}; send it to the right agent"
        )
    past_ms = max(now_ms, ledger.booked_at_ms)
    return _energy_refusal(offered, cap_wh) or _window_refusal(offered, past_ms)


def _energy_refusal(offered: Transaction, cap_wh: int) -> str | None:
    if offered.energy_wh <= 0:
        return "its energy is not above zero; give the purchased energy in Wh, kWh or MWh"
    if offered.energy_wh > cap_wh:
        return (
            f"{offered.energy_wh} Wh is above the cap of {cap_wh} Wh for one transaction; "
            "split it into several purchases"
        )
    return None


def _window_refusal(offered: Transaction, past_ms: int) -> str | None:
    if offered.deadline_ms <= offered.start_ms:
        return "its window ends before it starts; check start and end"
    if offered.deadline_ms <= past_ms:
        return "its window is in the past; energy cannot be attributed backwards"
    return None


def anchor(ledger: Ledger, *, at_wh: int, at_ms: int) -> Ledger:
    """Start the books of a new meter at its present register value: nothing before is known."""
    return replace(ledger, booked_wh=at_wh, booked_at_ms=at_ms)


def book(
    ledger: Ledger,
    *,
    to_wh: int,
    to_ms: int,
    register_at: Callable[[int], int],
    flags: tuple[str, ...] = (),
    is_unknown: bool = False,
) -> tuple[Ledger, tuple[Entry, ...]]:
    """Attribute everything up to a value of the coordinate.

    ``register_at`` gives the fused estimate of the coordinate (Wh) at an edge (UTC ms) of a window
    or a quarter of an hour that lies inside the interval. It is clamped into the interval: a poor
    estimate may misplace energy between two windows, it can neither create nor lose any.
    ``is_unknown`` says that the interval is an upper bound of what nobody measured. Raises
    ValueError for a register or a time that goes backwards: fusion never hands one over.
    """
    if ledger.booked_wh is None:
        raise ValueError("the ledger has no register value to start from; anchor it first")
    if to_wh < ledger.booked_wh or to_ms < ledger.booked_at_ms:
        raise ValueError(
            f"the register went from {ledger.booked_wh} Wh at {ledger.booked_at_ms} ms "
            f"to {to_wh} Wh at {to_ms} ms"
        )
    ledger = indexed(ledger)
    edges = edges_until(ledger, to_ms)
    entries: list[Entry] = []
    for edge_ms in edges:
        assert ledger.booked_wh is not None
        edge_wh = min(max(register_at(edge_ms), ledger.booked_wh), to_wh)
        ledger, entry = _book_segment(ledger, edge_wh, edge_ms, (*flags, "split"), is_unknown)
        entries.append(entry)
        ledger = _mark_edge(ledger, edge_ms)
    flags = (*flags, "split") if edges else flags
    ledger, entry = _book_segment(ledger, to_wh, to_ms, flags, is_unknown)
    entries.append(entry)
    return ledger, tuple(entries)


def edges_until(ledger: Ledger, to_ms: int) -> list[int]:
    """The edges of windows and of quarters of an hour that the next booking has to cross.

    After a time so long that its quarters tell nothing (a clock that was set right by years) only
    the latest of them count.
    """
    after_ms = ledger.booked_at_ms
    first = max(after_ms // QUARTER_MS + 1, to_ms // QUARTER_MS + 1 - QUARTERS_MAX)
    quarters = range(first * QUARTER_MS, to_ms + 1, QUARTER_MS)
    return sorted({*ledger.calendar.edges_in(after_ms, to_ms), *quarters})


def _mark_edge(ledger: Ledger, edge_ms: int) -> Ledger:
    """Note the register at which windows opened and closed: the rollover needs no restart."""
    calendar = ledger.calendar
    changed: dict[int, Account] = {}
    for place in calendar.opening.get(edge_ms, ()):
        changed[place] = replace(ledger.accounts[place], opened_at_wh=ledger.booked_wh)
    for place in calendar.closing.get(edge_ms, ()):
        changed[place] = replace(ledger.accounts[place], closed_at_wh=ledger.booked_wh)
    return _with_changed(ledger, changed)


def _book_segment(
    ledger: Ledger, to_wh: int, to_ms: int, flags: tuple[str, ...], is_unknown: bool
) -> tuple[Ledger, Entry]:
    """Attribute a stretch that contains no edge of a window."""
    assert ledger.booked_wh is not None
    delta_wh = to_wh - ledger.booked_wh
    changed: dict[int, Account] = {}
    shares: list[tuple[str, int]] = []
    rest_wh = delta_wh
    for place in ledger.calendar.open_at(ledger.booked_at_ms):
        if rest_wh == 0:
            break
        account = ledger.accounts[place]
        share_wh = min(rest_wh, account.unused_wh)
        if share_wh > 0:
            changed[place] = replace(account, allocated_wh=account.allocated_wh + share_wh)
            shares.append((account.transaction.transaction_id, share_wh))
            rest_wh -= share_wh
    entry = Entry(
        start_ms=ledger.booked_at_ms,
        end_ms=to_ms,
        from_wh=ledger.booked_wh,
        to_wh=to_wh,
        shares=tuple(shares),
        over_wh=rest_wh,
        flags=flags,
        unknown_wh=delta_wh if is_unknown else 0,
    )
    booked = replace(
        _with_changed(ledger, changed),
        booked_wh=to_wh,
        booked_at_ms=to_ms,
        metered_wh=ledger.metered_wh + delta_wh - entry.unknown_wh,
        unknown_wh=ledger.unknown_wh + entry.unknown_wh,
        allocated_wh=ledger.allocated_wh + delta_wh - rest_wh,
        over_wh=ledger.over_wh + rest_wh,
    )
    check(booked, changed.values())
    return booked, entry


def set_start_error(ledger: Ledger, *, start_ms: int, error_wh: int) -> Ledger:
    """Note how uncertain the split at a window's start is, as the fusion sees it by now."""
    accounts = ledger.accounts
    places = ledger.calendar.opening.get(start_ms, ())
    changed = {
        place: replace(accounts[place], start_error_wh=error_wh)
        for place in places
        if accounts[place].start_error_wh != error_wh
    }
    return _with_changed(ledger, changed)


def forget(ledger: Ledger, *, ended_before_ms: int) -> Ledger:
    """Drop purchases that ended long ago from the working set; the journal keeps them."""
    gone = bisect_left(ledger.accounts, ended_before_ms, key=lambda a: a.transaction.deadline_ms)
    return _with_accounts(ledger, ledger.accounts[gone:]) if gone else ledger


def check(ledger: Ledger, accounts: Iterable[Account] | None = None) -> None:
    """Assert the identities of the ledger and of these of its accounts (of all, if not given).

    They hold by construction; a failure here is a bug of ours.
    """
    assert ledger.metered_wh + ledger.unknown_wh == ledger.allocated_wh + ledger.over_wh, ledger
    for account in ledger.accounts if accounts is None else accounts:
        assert 0 <= account.allocated_wh <= account.transaction.energy_wh, account


def indexed(ledger: Ledger) -> Ledger:
    """The same ledger with its calendar at hand, where its accounts came from elsewhere."""
    calendar = ledger.calendar
    return ledger if calendar is ledger.windows else replace(ledger, windows=calendar)


def _with_accounts(ledger: Ledger, accounts: tuple[Account, ...]) -> Ledger:
    """The ledger with another set of purchases, and their calendar."""
    return indexed(replace(ledger, accounts=accounts))


def _with_changed(ledger: Ledger, changed: Mapping[int, Account]) -> Ledger:
    """The ledger with some accounts replaced; the windows, and so the calendar, stay the same."""
    if not changed:
        return ledger
    accounts = list(ledger.accounts)
    for place, account in changed.items():
        accounts[place] = account
    kept = tuple(accounts)
    return replace(ledger, accounts=kept, windows=replace(ledger.calendar, made_of=kept))
