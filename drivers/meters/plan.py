"""The requests that read a set of registers: as few as bus and meter make cheap.

Pure. A request may read more registers than are wanted, never one that lies in a hole, and never
across a barrier. Cost is counted in registers on the wire of a serial bus: at 9600 baud one request
with its answer's turnaround takes about as long as 30 registers take to pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise

REQUEST_COST = 30
ADDRESS_END = 0x10000


class PlanError(ValueError):
    """No request can read a value as the rules stand: mend the rules or the address."""

    def __init__(self, key: str) -> None:
        super().__init__(f"{key} cannot be read")
        self.key = key


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """What a meter accepts in one request.

    ``gap_limit``: so many registers that nobody wants may lie between two that are wanted.
    ``holes``: first and last address of stretches that no request may touch. ``barriers``:
    addresses that a request may begin at or end before, and not run across. ``alignment``: requests
    begin at and count in multiples of it; a lone single register is read as it is.
    """

    register_limit: int
    alignment: int = 1
    gap_limit: int = 0
    holes: tuple[tuple[int, int], ...] = ()
    barriers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Registers that are wanted. Spans of one ``key`` make up one value and are read at once."""

    key: str
    function: int
    address: int
    count: int

    @property
    def end(self) -> int:
        """The address after the last register."""
        return self.address + self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class Stretch:
    """One request: registers in a row, and the spans in them."""

    function: int
    address: int
    count: int
    spans: tuple[Span, ...]


def compile_plan(
    spans: Sequence[Span], layout: Layout, *, lead: Sequence[str] = ()
) -> tuple[Stretch, ...]:
    """The cheapest requests that read every span once, those with the keys of ``lead`` in front.

    The keys of ``lead`` share one request wherever one can hold them, whatever that costs.
    Raises PlanError with a key that cannot be read at all.
    """
    plan = _cheapest(spans, layout, joined=frozenset(lead))
    if plan is None:
        plan = _cheapest(spans, layout, joined=frozenset())
    if plan is None:
        raise PlanError(_unreadable(spans, layout))
    return tuple(sorted(plan, key=lambda stretch: _rank(stretch, lead)))


def plan_cost(plan: Sequence[Stretch]) -> int:
    """What a plan costs on the bus, in registers."""
    return sum(REQUEST_COST + stretch.count for stretch in plan)


def _rank(stretch: Stretch, lead: Sequence[str]) -> tuple[int, int, int]:
    held = {span.key for span in stretch.spans}
    first = next((at for at, key in enumerate(lead) if key in held), len(lead))
    return first, stretch.function, stretch.address


def _unreadable(spans: Sequence[Span], layout: Layout) -> str:
    """A key that no request can read; where each could be read alone, one that is entangled."""
    keys = [span.key for span in spans]
    for key in dict.fromkeys(keys):
        own = [span for span in spans if span.key == key]
        if _cheapest(own, layout, joined=frozenset()) is None:
            return key
    return next(key for key in keys if keys.count(key) > 1)


def _cheapest(
    spans: Sequence[Span], layout: Layout, *, joined: frozenset[str]
) -> list[Stretch] | None:
    """The cheapest plan that keeps together what belongs together; None where there is none."""
    groups = {span.key: "" if span.key in joined else span.key for span in spans}
    if any(
        len({span.function for span in spans if groups[span.key] == group}) > 1
        for group in set(groups.values())
    ):
        return None
    plan: list[Stretch] = []
    ordered = sorted(spans, key=lambda span: (span.function, span.address, span.end))
    for _, same in groupby(ordered, key=lambda span: span.function):
        row = list(same)
        part = _partition(row, [groups[span.key] for span in row], layout)
        if part is None:
            return None
        plan.extend(part)
    return plan


def _partition(
    row: Sequence[Span], groups: Sequence[str], layout: Layout
) -> tuple[Stretch, ...] | None:
    """Cut a row of spans in the order of addresses where that is cheapest."""
    last = {group: at for at, group in enumerate(groups)}
    reach, cuts = 0, {0, len(row)}
    for at, group in enumerate(groups[:-1]):
        reach = max(reach, last[group])
        if reach == at:
            cuts.add(at + 1)
    # best[end]: cost, number of requests, requests for everything in front of ``end``.
    best: dict[int, tuple[int, int, tuple[Stretch, ...]]] = {0: (0, 0, ())}
    for end in sorted(cuts - {0}):
        candidates = [
            (cost + REQUEST_COST + stretch.count, requests + 1, (*before, stretch))
            for start, (cost, requests, before) in best.items()
            if (stretch := _stretch(row[start:end], layout)) is not None
        ]
        if candidates:
            best[end] = min(candidates, key=lambda one: one[:2])
    return best[len(row)][2] if len(row) in best else None


def _stretch(spans: Sequence[Span], layout: Layout) -> Stretch | None:
    """One request for all these spans, None where the meter would not take it."""
    start, end = spans[0].address, max(span.end for span in spans)
    if end - start > 1:
        start -= start % layout.alignment
        end += -end % layout.alignment
    is_gap_too_wide = any(
        after.address - before.end > layout.gap_limit for before, after in pairwise(spans)
    )
    is_in_hole = any(first < end and start <= last for first, last in layout.holes)
    is_across = any(start < barrier < end for barrier in layout.barriers)
    if is_gap_too_wide or is_in_hole or is_across:
        return None
    if end - start > layout.register_limit or end > ADDRESS_END:
        return None
    return Stretch(function=spans[0].function, address=start, count=end - start, spans=tuple(spans))
