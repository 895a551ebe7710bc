"""Attributes metered energy to purchases, in whole watt-hours that always add up.

Two identities hold after every step and are asserted:
``bought = allocated + unused`` for each purchase, ``metered = allocated + over`` for the ledger.

The ledger knows registers and windows, nothing of power. Where an interval crosses a window's edge
the caller supplies the fused estimate of the register at that edge; the entry is flagged ``split``.
Order of attribution: earliest end, earliest start, lowest price, id (design, section 3.3).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from decimal import Decimal

FOREVER_MS = 2**53
ORDER = "end,start,price,id"


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
        price = Decimal(self.price_kzt_per_kwh)
        return (self.deadline_ms, self.start_ms, price, self.transaction_id)

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
    """One attributed interval of the register. ``shares`` are (transaction id, Wh)."""

    start_ms: int
    end_ms: int
    from_wh: int
    to_wh: int
    shares: tuple[tuple[str, int], ...]
    over_wh: int
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The books of one meter point. ``booked_wh`` is the register up to which all is attributed.

    ``accounts`` are in order of attribution; ended ones stay until ``forget`` drops them.
    """

    meter_point: str
    accounts: tuple[Account, ...] = ()
    booked_wh: int | None = None
    booked_at_ms: int = 0
    metered_wh: int = 0
    allocated_wh: int = 0
    over_wh: int = 0

    def open_accounts(self, at_ms: int) -> tuple[Account, ...]:
        """The purchases whose windows contain the instant, in order of attribution."""
        return tuple(account for account in self.accounts if account.is_open(at_ms))

    def next_start_ms(self, after_ms: int) -> int | None:
        """When the next purchase after the instant opens."""
        starts = [a.transaction.start_ms for a in self.accounts]
        return min((start for start in starts if start > after_ms), default=None)

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
    """Take one purchase into the books, or say in one sentence why not.

    The same id with the same content changes nothing; with other content it is refused, because a
    purchase that could be rewritten would prove nothing.
    """
    identity = offered.transaction_id
    known = ledger.account(identity)
    if known is not None and known.transaction.is_same_purchase(offered):
        return ledger, Admission(
            transaction_id=identity, result="unchanged", reason="already in the books"
        )
    reason = _refusal(ledger, offered, cap_wh=cap_wh, now_ms=now_ms)
    if reason is not None:
        return ledger, Admission(transaction_id=identity, result="refused", reason=reason)
    accounts = sorted(
        (*ledger.accounts, Account(transaction=offered)), key=lambda a: a.transaction.order()
    )
    admission = Admission(transaction_id=identity, result="accepted", reason="in the books")
    return replace(ledger, accounts=tuple(accounts)), admission


def _refusal(ledger: Ledger, offered: Transaction, *, cap_wh: int, now_ms: int) -> str | None:
    if ledger.account(offered.transaction_id) is not None:
        return (
            "this id is in the books with other content; "
            "send the changed purchase under a new id, or ask for the recorded one"
        )
    if offered.meter_point != ledger.meter_point:
        return (
            f"it is for meter point {offered.meter_point!r}, "
            f"this agent keeps {ledger.meter_point!r}; send it to the right agent"
        )
    return _energy_refusal(offered, cap_wh) or _window_refusal(offered, now_ms)


def _energy_refusal(offered: Transaction, cap_wh: int) -> str | None:
    if offered.energy_wh <= 0:
        return "its energy is not above zero; give the purchased energy in Wh, kWh or MWh"
    if offered.energy_wh > cap_wh:
        return (
            f"{offered.energy_wh} Wh is above the cap of {cap_wh} Wh for one transaction; "
            "split it into several purchases"
        )
    return None


def _window_refusal(offered: Transaction, now_ms: int) -> str | None:
    if offered.deadline_ms <= offered.start_ms:
        return "its window ends before it starts; check start and end"
    if offered.deadline_ms <= now_ms:
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
) -> tuple[Ledger, tuple[Entry, ...]]:
    """Attribute everything up to a register value.

    ``register_at`` gives the fused estimate of the register (Wh) at a window's edge (UTC ms) that
    lies inside the interval. It is clamped into the interval: a poor estimate may misplace energy
    between two windows, it can neither create nor lose any. Raises ValueError for a register or a
    time that goes backwards: fusion never hands one over.
    """
    if ledger.booked_wh is None:
        raise ValueError("the ledger has no register value to start from; anchor it first")
    if to_wh < ledger.booked_wh or to_ms < ledger.booked_at_ms:
        raise ValueError(
            f"the register went from {ledger.booked_wh} Wh at {ledger.booked_at_ms} ms "
            f"to {to_wh} Wh at {to_ms} ms"
        )
    edges = _edges(ledger, to_ms)
    entries: list[Entry] = []
    for edge_ms in edges:
        assert ledger.booked_wh is not None
        edge_wh = min(max(register_at(edge_ms), ledger.booked_wh), to_wh)
        ledger, entry = _book_segment(ledger, edge_wh, edge_ms, (*flags, "split"))
        entries.append(entry)
        ledger = _mark_edge(ledger, edge_ms)
    ledger, entry = _book_segment(ledger, to_wh, to_ms, (*flags, "split") if edges else flags)
    entries.append(entry)
    check(ledger)
    return ledger, tuple(entries)


def _edges(ledger: Ledger, to_ms: int) -> list[int]:
    edges = {a.transaction.start_ms for a in ledger.accounts}
    edges |= {a.transaction.deadline_ms for a in ledger.accounts}
    return sorted(edge for edge in edges if ledger.booked_at_ms < edge <= to_ms)


def _mark_edge(ledger: Ledger, edge_ms: int) -> Ledger:
    """Note the register at which windows opened and closed: the rollover needs no restart."""
    accounts = []
    for account in ledger.accounts:
        marked = account
        if account.transaction.start_ms == edge_ms:
            marked = replace(marked, opened_at_wh=ledger.booked_wh)
        if account.transaction.deadline_ms == edge_ms:
            marked = replace(marked, closed_at_wh=ledger.booked_wh)
        accounts.append(marked)
    return replace(ledger, accounts=tuple(accounts))


def _book_segment(
    ledger: Ledger, to_wh: int, to_ms: int, flags: tuple[str, ...]
) -> tuple[Ledger, Entry]:
    """Attribute a stretch that contains no edge of a window."""
    assert ledger.booked_wh is not None
    delta_wh = to_wh - ledger.booked_wh
    accounts = list(ledger.accounts)
    shares: list[tuple[str, int]] = []
    rest_wh = delta_wh
    for index, account in _open_indexed(ledger):
        if rest_wh == 0:
            break
        share_wh = min(rest_wh, account.unused_wh)
        if share_wh > 0:
            accounts[index] = replace(account, allocated_wh=account.allocated_wh + share_wh)
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
    )
    booked = replace(
        ledger,
        accounts=tuple(accounts),
        booked_wh=to_wh,
        booked_at_ms=to_ms,
        metered_wh=ledger.metered_wh + delta_wh,
        allocated_wh=ledger.allocated_wh + delta_wh - rest_wh,
        over_wh=ledger.over_wh + rest_wh,
    )
    return booked, entry


def _open_indexed(ledger: Ledger) -> Iterator[tuple[int, Account]]:
    for index, account in enumerate(ledger.accounts):
        if account.is_open(ledger.booked_at_ms):
            yield index, account


def set_start_error(ledger: Ledger, *, start_ms: int, error_wh: int) -> Ledger:
    """Note how uncertain the split at a window's start is, as the fusion sees it by now."""
    accounts = tuple(
        replace(a, start_error_wh=error_wh) if a.transaction.start_ms == start_ms else a
        for a in ledger.accounts
    )
    return replace(ledger, accounts=accounts)


def forget(ledger: Ledger, *, ended_before_ms: int) -> Ledger:
    """Drop purchases that ended long ago from the working set; the journal keeps them."""
    kept = tuple(a for a in ledger.accounts if a.transaction.deadline_ms >= ended_before_ms)
    return ledger if len(kept) == len(ledger.accounts) else replace(ledger, accounts=kept)


def check(ledger: Ledger) -> None:
    """Assert the two identities. They hold by construction; a failure here is a bug of ours."""
    assert ledger.metered_wh == ledger.allocated_wh + ledger.over_wh, ledger
    for account in ledger.accounts:
        assert 0 <= account.allocated_wh <= account.transaction.energy_wh, account
