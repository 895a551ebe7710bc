"""What was bought, used, left over and overdrawn in each quarter of an hour, from ledger entries.

Quarters are those of UTC; every zone's hours are made of whole ones. The sums over all statements
are the ledger's totals to the last Wh, since no entry reaches over a quarter's edge.

What a purchase leaves unused is known when its window ends, and stands in the quarter that ends
then; before that it is not yet unused. ``purchased_wh`` is the energy of the windows that end in
the quarter.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from agent.core.evolve import replace
from agent.core.ledger import QUARTER_MS, Account, Entry, Ledger


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """One stretch of time: a quarter of an hour, or several merged. Times are UTC ms.

    ``metered_wh + unknown_wh = allocated_wh + over_wh``. ``flags`` are those of its entries; a
    stretch that is longer than a quarter where quarters were asked for could not be told apart.
    """

    start_ms: int
    end_ms: int
    metered_wh: int = 0
    unknown_wh: int = 0
    allocated_wh: int = 0
    over_wh: int = 0
    purchased_wh: int = 0
    unused_wh: int = 0
    flags: tuple[str, ...] = ()


def collect(
    current: Statement | None, entries: Sequence[Entry], ledger: Ledger
) -> tuple[tuple[Statement, ...], Statement | None]:
    """Add entries to the quarter under way; the quarters that they close come out.

    ``ledger`` is the state of the books after the entries.
    """
    closed: list[Statement] = []
    for entry in entries:
        current = _with_entry(current or _begun(entry), entry)
        if entry.end_ms % QUARTER_MS == 0 and entry.end_ms > current.start_ms:
            ended = ledger.ended_accounts(current.start_ms, entry.end_ms)
            closed.append(_with_ended(current, ended))
            current = None
    return tuple(closed), current


def merged(
    statements: Iterable[Statement], start_of: Callable[[int], int]
) -> tuple[Statement, ...]:
    """Statements put together by the stretch in which each begins.

    ``start_of`` gives the beginning (UTC ms) of the stretch that contains an instant: of an hour in
    the site's zone, or of a day.
    """
    found: dict[int, Statement] = {}
    for statement in statements:
        start_ms = start_of(statement.start_ms)
        before = found.get(start_ms)
        found[start_ms] = statement if before is None else _sum(before, statement)
    return tuple(found.values())


def _begun(entry: Entry) -> Statement:
    return Statement(start_ms=entry.start_ms, end_ms=entry.start_ms)


def _with_entry(statement: Statement, entry: Entry) -> Statement:
    delta_wh = entry.to_wh - entry.from_wh
    return replace(
        statement,
        end_ms=entry.end_ms,
        metered_wh=statement.metered_wh + delta_wh - entry.unknown_wh,
        unknown_wh=statement.unknown_wh + entry.unknown_wh,
        allocated_wh=statement.allocated_wh + delta_wh - entry.over_wh,
        over_wh=statement.over_wh + entry.over_wh,
        flags=_both(statement.flags, entry.flags),
    )


def _with_ended(statement: Statement, ended: Sequence[Account]) -> Statement:
    return replace(
        statement,
        purchased_wh=sum(account.transaction.energy_wh for account in ended),
        unused_wh=sum(account.unused_wh for account in ended),
    )


def _sum(first: Statement, second: Statement) -> Statement:
    return Statement(
        start_ms=min(first.start_ms, second.start_ms),
        end_ms=max(first.end_ms, second.end_ms),
        metered_wh=first.metered_wh + second.metered_wh,
        unknown_wh=first.unknown_wh + second.unknown_wh,
        allocated_wh=first.allocated_wh + second.allocated_wh,
        over_wh=first.over_wh + second.over_wh,
        purchased_wh=first.purchased_wh + second.purchased_wh,
        unused_wh=first.unused_wh + second.unused_wh,
        flags=_both(first.flags, second.flags),
    )


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    if not second or set(second) <= set(first):
        return first
    return tuple(sorted({*first, *second}))
