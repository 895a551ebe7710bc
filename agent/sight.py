"""What the governor is shown, in steps that a journal can hold: what is recorded is what is seen.

A tick is decided on whole milliseconds, whole watts and whole terahashes, never on what stood in a
device's answer beyond that. ``Sight.news`` says what is new since the last tick in such numbers;
the ``take_*`` methods turn exactly these numbers back into the governor's snapshot. The daemon goes
both ways at every tick, a replay only the second: they cannot see different things.

A machine's answer that says what is known already is no news for ``NEWS_AFTER_S``; the governor
goes on with the answer it has. Of thousands of machines that all change at once (at a start) some
are told a tick later, so that no tick is too long for the journal. What a reading holds beyond the
columns here (temperatures, serial numbers of boards) the governor does not see.
"""

import dataclasses
import math
import operator
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any

import orjson

from agent.core.decisions import Stage
from agent.core.snapshot import MeterView, MinerView, Snapshot
from agent.exact import ExactError, changed_fields, from_plain, hints_of, to_plain, with_fields
from agent.orders import pending_from
from agent.records import NewRecord
from agent.testimony import reading_from, reading_record
from drivers.readings import BoardReading, MinerReading, Profile

NEWS_AFTER_S = 15.0
NEWS_SHARE, NEWS_W = 0.02, 20.0
FAULT_CHARACTERS = 300
PART_BYTES = 48_000
CHANGES_PER_TICK = 3000

_MS = 1000.0
_HS_PER_THS = 1e12
_COLUMNS = ("place", "age_ds", "exchange_ds", "power_w", "hashrate_ths")
_DETAILS_COUNT = 10  # an identity is so many times as long as a state
_PROFILES = tuple[Profile, ...]
_ROWS_PER_PIECE = 1000
_Plain = Any  # what orjson writes and reads
_Piece = tuple[str, Any]  # a section of a tick record and what goes into it
_Row = tuple[int | None, ...]
_MEASURED = ("requested_at_s", "replied_at_s", "taken_at_ms", "hashrate_hs", "power_w")


def _fields(kind: type, *but: str) -> tuple[str, ...]:
    return tuple(field.name for field in dataclasses.fields(kind) if field.name not in but)


# Listed by what is not in them: a field that is added to the core is carried without a line here.
_SITE_FIELDS = _fields(Snapshot, "now_s", "now_ms", "is_clock_trusted", "meters", "miners")
_METER_FIELDS = _fields(MeterView, "meter_id", "reading", "fault")
_MINER_FIELDS = _fields(MinerView, "miner_id", "reading", "pending", "profiles", "fault")
_PARTS_OF = operator.attrgetter(*_fields(MinerView, "pending"))
_STATE_FIELDS = _fields(MinerReading, "miner_id", "boards", *_MEASURED)
_STATE_OF = operator.attrgetter(*_STATE_FIELDS)
_BOARD_OF = operator.attrgetter("board", "is_enabled", "is_ramping")


@dataclass(frozen=True, slots=True, kw_only=True)
class News:
    """What one tick is told: ``meter`` records, and the data of one or more ``tick`` records."""

    readings: tuple[NewRecord, ...]
    parts: tuple[dict[str, Any], ...]


class Sight:
    """A meter point as its governor was last shown it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._site = snapshot
        self._meters = list(snapshot.meters)
        self._miners = list(snapshot.miners)
        self._places = {view.miner_id: at for at, view in enumerate(self._miners)}
        self._meter_places = {view.meter_id: at for at, view in enumerate(self._meters)}
        self._told_meters = snapshot.meters
        self._told = snapshot.miners

    @classmethod
    def opened(cls, raw: Snapshot) -> "Sight":
        """The beginning: everybody is known by name, and nobody has said anything yet."""
        blank = replace(
            raw,
            meters=tuple(replace(view, reading=None, fault=None) for view in raw.meters),
            miners=tuple(replace(view, reading=None, fault=None) for view in raw.miners),
        )
        return cls(blank)

    def fits(self, raw: Snapshot) -> bool:
        """Whether the devices are the same ones in the same order as before."""
        names = [view.miner_id for view in raw.miners] == list(self._places)
        return names and [view.meter_id for view in raw.meters] == list(self._meter_places)

    def knows(self, kind: str, name: str) -> bool:
        """Whether a record of this kind is about one of these devices."""
        places = {"meter": self._meter_places, "throttle": self._places}
        return name in places[kind]

    def news(self, raw: Snapshot) -> News:
        """What ``raw`` says beyond what is known, in the journal's numbers. Changes nothing seen.

        Stages of commands are not in it: they have records of their own.
        """
        mono_ms = math.ceil(raw.now_s * _MS)
        readings = []
        for meter, told in zip(raw.meters, self._told_meters, strict=True):
            if meter.reading is not None and meter.reading is not told.reading:
                readings.append(reading_record(meter.reading))
        pieces = chain(self._site_pieces(raw), self._miner_pieces(raw, mono_ms))
        parts = tuple(_packed(pieces, mono_ms))
        self._told_meters = raw.meters
        return News(readings=tuple(readings), parts=parts)

    def take_stages(self, raw: Snapshot) -> None:
        """How far the commands are, as the daemon itself knows it."""
        for at, view in enumerate(raw.miners):
            if self._miners[at].pending is not view.pending:
                self._miners[at] = replace(self._miners[at], pending=view.pending)

    def take_stage(self, miner_id: str, data: Mapping[str, Any]) -> None:
        """How far a command is, from its ``throttle`` record. Raises ExactError."""
        at = self._place(miner_id, self._places)
        try:
            pending = pending_from(data)
        except (KeyError, TypeError, ValueError) as error:
            raise ExactError(f"a throttle record of {miner_id} cannot be read: {error}") from error
        is_done = pending.stage is Stage.CONFIRMED
        self._miners[at] = replace(self._miners[at], pending=None if is_done else pending)

    def take_reading(self, meter_id: str, data: Mapping[str, Any], taken_at_ms: int) -> None:
        """One reading of a meter, from its ``meter`` record. Raises ExactError."""
        at = self._place(meter_id, self._meter_places)
        try:
            reading = reading_from(meter_id, data, taken_at_ms)
        except (KeyError, TypeError, ValueError) as error:
            raise ExactError(f"a reading of {meter_id} cannot be read: {error}") from error
        self._meters[at] = replace(self._meters[at], reading=reading)

    def take_part(self, data: Mapping[str, Any], now_ms: int) -> None:
        """One part of a ``tick`` record. Raises ExactError."""
        try:
            self._take_part(data, now_ms)
        except (KeyError, IndexError, TypeError, AttributeError) as error:
            raise ExactError(f"a tick record cannot be read: {error}") from error

    def snapshot(self, *, mono_ms: int, now_ms: int, is_clock_trusted: bool) -> Snapshot:
        """The governor's snapshot of this tick."""
        return replace(
            self._site,
            now_s=mono_ms / _MS,
            now_ms=now_ms,
            is_clock_trusted=is_clock_trusted,
            meters=tuple(self._meters),
            miners=tuple(self._miners),
        )

    def last(self) -> Snapshot:
        """All that is known, at the time of the last tick."""
        return replace(self._site, meters=tuple(self._meters), miners=tuple(self._miners))

    def _place(self, name: str, places: Mapping[str, int]) -> int:
        if name not in places:
            raise ExactError(f"the journal speaks of {name!r}, which its own frame does not know")
        return places[name]

    def _site_pieces(self, raw: Snapshot) -> Iterator[_Piece]:
        site = changed_fields(Snapshot, _SITE_FIELDS, self._site, raw)
        if site:
            yield "site", site
        for at, (seen, meter) in enumerate(zip(self._meters, raw.meters, strict=True)):
            changed = changed_fields(MeterView, _METER_FIELDS, seen, meter)
            if _short(meter.fault) != seen.fault:
                changed["fault"] = _short(meter.fault)
            if changed:
                yield "meters", [[at, changed]]

    def _miner_pieces(self, raw: Snapshot, mono_ms: int) -> Iterator[_Piece]:
        rows: list[_Row] = []
        listed: dict[tuple[Profile, ...], int] = {}
        told = list(self._told)
        left = CHANGES_PER_TICK
        for at, (seen, view) in enumerate(zip(self._miners, raw.miners, strict=True)):
            if left <= 0:
                break
            if all(map(operator.is_, _PARTS_OF(view), _PARTS_OF(told[at]))):
                continue
            changed = self._details(at, view, listed)
            told[at] = view
            if changed:
                left -= _DETAILS_COUNT
                yield "miners", [[at, changed]]
            if view.reading is None or view.reading is self._told[at].reading:
                continue
            is_other = seen.reading is None or not _is_same_state(view.reading, seen.reading)
            if is_other:
                left -= 1
                yield "states", [[at, _state_of(view.reading)]]
            if is_other or view.pending or _is_news(view.reading, seen.reading, mono_ms):
                rows.append(_row(at, view.reading, mono_ms))
        self._told = tuple(told)
        for start in range(0, len(rows), _ROWS_PER_PIECE):
            yield "rows", _columns(rows[start : start + _ROWS_PER_PIECE])

    def _details(
        self, at: int, view: MinerView, listed: dict[tuple[Profile, ...], int]
    ) -> dict[str, Any]:
        """What else is new of a machine than its readings; ``listed``: profiles of this tick."""
        seen = self._miners[at]
        changed = changed_fields(MinerView, _MINER_FIELDS, seen, view)
        if _short(view.fault) != seen.fault:
            changed["fault"] = _short(view.fault)
        if view.profiles is not self._told[at].profiles and view.profiles != seen.profiles:
            changed["profiles"] = self._profiles(view, listed)
            listed.setdefault(view.profiles, at)
        return changed

    def _profiles(self, view: MinerView, listed: Mapping[tuple[Profile, ...], int]) -> _Plain:
        """The place of a machine that is known to have the same profiles, else their list."""
        if view.profiles in listed:
            return listed[view.profiles]
        for place, other in enumerate(self._miners):
            if other.profiles and other.profiles == view.profiles:
                return place
        return to_plain(_PROFILES, view.profiles)

    def _take_part(self, data: Mapping[str, Any], now_ms: int) -> None:
        if "site" in data:
            self._site = with_fields(self._site, data["site"])
        for at, changed in data.get("meters", ()):
            self._meters[at] = with_fields(self._meters[at], changed)
        for at, changed in data.get("miners", ()):
            self._take_details(at, dict(changed))
        for at, state in data.get("states", ()):
            view = self._miners[at]
            self._miners[at] = replace(view, reading=_with_state(view, state))
        if "rows" in data:
            self._take_rows(data["rows"], data["mono_ms"], now_ms)

    def _take_details(self, at: int, changed: dict[str, Any]) -> None:
        view = self._miners[at]
        profiles = changed.pop("profiles", None)
        if isinstance(profiles, int):
            view = replace(view, profiles=self._miners[profiles].profiles)
        elif profiles is not None:
            view = replace(view, profiles=from_plain(_PROFILES, profiles))
        self._miners[at] = with_fields(view, changed)

    def _take_rows(self, columns: Mapping[str, Any], mono_ms: int, now_ms: int) -> None:
        at = 0
        for step, *row in zip(*(columns[name] for name in _COLUMNS), strict=True):
            at += step
            age_ds, exchange_ds, power_w, hashrate_ths = row
            view = self._miners[at]
            if view.reading is None:
                raise ExactError(f"a tick measures {view.miner_id} before it says what it does")
            replied_ms = mono_ms - age_ds * 100
            reading = replace(
                view.reading,
                requested_at_s=(replied_ms - exchange_ds * 100) / _MS,
                replied_at_s=replied_ms / _MS,
                taken_at_ms=now_ms - age_ds * 100,
                hashrate_hs=hashrate_ths * _HS_PER_THS,
                power_w=None if power_w is None else float(power_w),
            )
            self._miners[at] = replace(view, reading=reading)


def _short(fault: str | None) -> str | None:
    return None if fault is None else fault[:FAULT_CHARACTERS]


def _is_same_state(one: MinerReading, other: MinerReading) -> bool:
    boards = list(map(_BOARD_OF, one.boards)) == list(map(_BOARD_OF, other.boards))
    return boards and bool(_STATE_OF(one) == _STATE_OF(other))


def _state_of(reading: MinerReading) -> dict[str, Any]:
    """What a machine does, beside the numbers it measures: the part that seldom changes."""
    hints = hints_of(MinerReading)
    state = {name: to_plain(hints[name], getattr(reading, name)) for name in _STATE_FIELDS}
    state["boards"] = [[b.board, b.is_enabled + 2 * b.is_ramping] for b in reading.boards]
    return state


def _with_state(view: MinerView, state: Mapping[str, Any]) -> MinerReading:
    plain = dict(state)
    boards = tuple(
        BoardReading(
            board=board,
            is_enabled=bool(flags & 1),
            is_ramping=bool(flags & 2),
            hashrate_hs=0.0,
            temperature_c=None,
            serial=None,
        )
        for board, flags in plain.pop("boards")
    )
    if view.reading is not None:
        return with_fields(replace(view.reading, boards=boards), plain)
    hints = hints_of(MinerReading)
    return MinerReading(
        miner_id=view.miner_id,
        requested_at_s=0.0,
        replied_at_s=0.0,
        taken_at_ms=0,
        hashrate_hs=0.0,
        power_w=None,
        boards=boards,
        **{name: from_plain(hints[name], item) for name, item in plain.items()},
    )


def _is_news(reading: MinerReading, seen: MinerReading | None, mono_ms: int) -> bool:
    """Whether a reading of unchanged state says more than the one that is known."""
    if seen is None or mono_ms / _MS - seen.replied_at_s >= NEWS_AFTER_S:
        return True
    if reading.power_w is None or seen.power_w is None:
        return reading.power_w is not seen.power_w
    return abs(reading.power_w - seen.power_w) > max(NEWS_W, NEWS_SHARE * seen.power_w)


def _row(at: int, reading: MinerReading, mono_ms: int) -> _Row:
    """One machine's numbers. Both times are moved apart: never more certain than they were."""
    age_ds = max(mono_ms - math.ceil(reading.replied_at_s * _MS), 0) // 100
    exchange_ms = mono_ms - age_ds * 100 - math.floor(reading.requested_at_s * _MS)
    power_w = None if reading.power_w is None else round(reading.power_w)
    return (at, age_ds, -(-exchange_ms // 100), power_w, round(reading.hashrate_hs / _HS_PER_THS))


def _columns(rows: list[_Row]) -> dict[str, list[int | None]]:
    """Rows as columns; a place is written as the distance from the one before it."""
    places = [0, *(row[0] or 0 for row in rows)]
    columns: dict[str, list[int | None]] = {
        name: [row[column] for row in rows] for column, name in enumerate(_COLUMNS)
    }
    columns["place"] = [after - before for before, after in pairwise(places)]
    return columns


def _packed(pieces: Iterator[_Piece], mono_ms: int) -> list[dict[str, Any]]:
    """Pieces in their order, in as few parts as the size of a record asks for."""
    parts: list[dict[str, Any]] = [{"mono_ms": mono_ms}]
    size = 0
    for section, piece in pieces:
        piece_bytes = len(orjson.dumps(piece))
        is_second = section in parts[-1] and isinstance(piece, dict)
        if is_second or size + piece_bytes > PART_BYTES:
            parts.append({"mono_ms": mono_ms})
            size = 0
        size += piece_bytes
        if isinstance(piece, dict):
            parts[-1][section] = piece
        else:
            parts[-1].setdefault(section, []).extend(piece)
    if len(parts) > 1:
        parts = [{**part, "part": at, "parts": len(parts)} for at, part in enumerate(parts)]
    return parts
