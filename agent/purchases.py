"""Purchases as they are handed in: TOML, JSON or CSV in, candidates for the ledger out.

Judges the form of each item by itself, so that one bad line never costs the good ones. Whether a
purchase fits the books (cap, past windows, conflicts) is the ledger's business.
"""

import csv
import io
import json
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from agent.core.ledger import Transaction
from agent.purchase_values import (
    WH_PER_UNIT,
    Unreadable,
    energy_of,
    hour_window,
    read_date,
    read_duration,
    read_energy,
    read_price,
    read_time,
)
from agent.settings_faults import shown

TEXT_BYTES_MAX = 4 * 1024 * 1024
ITEM_COUNT_MAX = 10_000
SOURCES = ("single_purchaser", "import", "own_generation", "renewable_own", "other")
DEFAULT_SOURCE = SOURCES[0]

_ENERGY_KEYS = {f"energy_{unit}": unit for unit in WH_PER_UNIT}
_POWER_KEYS = {"energy_kw", "energy_mw", "energy_w", "power_w", "power_kw", "power_mw", "mw", "kw"}
_WINDOW_KEYS = {"start", "end", "for", "start_ms", "end_ms", "delivery_date", "hour"}
# What a market register says besides; it is no part of the books and may stand in the file.
_SIDE_KEYS = {"external_ref", "trade_date", "zone", "supplier", "issuer", "prepaid_kzt"}
_OTHER_KEYS = {"transaction_id", "id", "meter_point", "energy", "price_kzt_per_kwh", "source"}
_KNOWN_KEYS = {*_ENERGY_KEYS, *_WINDOW_KEYS, *_SIDE_KEYS, *_OTHER_KEYS}
_LIST_KEYS = ("transactions", "purchases")
_ABSENT = (None, "", "-", "–", "—")
_OPEN_END = "open"


class PurchasesError(Exception):
    """The text as a whole cannot be read: nothing of it was taken."""


class PurchaseFormat(StrEnum):
    """How purchases may be written."""

    TOML = "toml"
    JSON = "json"
    CSV = "csv"


FORMATS_BY_SUFFIX = {
    ".csv": PurchaseFormat.CSV,
    ".json": PurchaseFormat.JSON,
    ".toml": PurchaseFormat.TOML,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """Why one item was not taken. ``item`` counts from 1; an unreadable id is empty."""

    item: int
    transaction_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one text held: good candidates and refused items, each in the order of the text."""

    candidates: tuple[Transaction, ...]
    refusals: tuple[Refusal, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PurchaseReader:
    """Reads purchases for one site: what is not said is its only meter point, its zone, the grid.

    Whether a point that is named is kept here is not judged.
    """

    meter_points: tuple[str, ...]
    zone: ZoneInfo

    def read(self, content: bytes, written_as: PurchaseFormat, *, received_at_ms: int) -> Batch:
        """The purchases in a text. Raises PurchasesError where the text as a whole is no such."""
        if len(content) > TEXT_BYTES_MAX:
            raise PurchasesError("the text is larger than 4 MiB; send it in parts")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError:
            raise PurchasesError("the text is not UTF-8; save it as UTF-8") from None
        items = _ITEMS[written_as](text)
        if not items:
            raise PurchasesError("there is no purchase in the text; check the file")
        if len(items) > ITEM_COUNT_MAX:
            raise PurchasesError(f"there are more than {ITEM_COUNT_MAX} items; send it in parts")
        return self.judge(items, received_at_ms=received_at_ms)

    def judge(self, items: Sequence[object], *, received_at_ms: int) -> Batch:
        """Sort raw items into candidates and refusals."""
        candidates: list[Transaction] = []
        refusals: list[Refusal] = []
        for number, item in enumerate(items, start=1):
            fields = _folded(item) if isinstance(item, dict) else {}
            try:
                candidates.append(self._transaction(fields, received_at_ms))
            except Unreadable as error:
                name = fields.get("transaction_id", fields.get("id"))
                # What cannot be printed may be no text at all: half of a surrogate pair.
                is_name = isinstance(name, str) and len(name) <= 64 and name.isprintable()
                known = str(name) if is_name else ""
                reason = str(error) if isinstance(item, dict) else "it is not a table of fields"
                refusals.append(Refusal(item=number, transaction_id=known, reason=reason))
        return Batch(candidates=tuple(candidates), refusals=tuple(refusals))

    def _transaction(self, fields: Mapping[str, Any], received_at_ms: int) -> Transaction:
        power = sorted(_POWER_KEYS & fields.keys())
        if power:
            raise Unreadable(f"{power[0]} is power, not energy; give energy_kwh or energy_mwh")
        strange = sorted(fields.keys() - _KNOWN_KEYS)
        if strange:
            raise Unreadable(f"{shown(strange[0])} is no field of a purchase; remove or rename it")
        start_ms, end_ms = self._window(fields)
        return Transaction(
            transaction_id=_identity(fields),
            meter_point=self._meter_point(fields),
            start_ms=start_ms,
            end_ms=end_ms,
            energy_wh=_energy(fields),
            price_kzt_per_kwh=_price(fields),
            source=_source(fields),
            received_at_ms=received_at_ms,
        )

    def _meter_point(self, fields: Mapping[str, Any]) -> str:
        only = self.meter_points[0] if len(self.meter_points) == 1 else ""
        name = _token(fields, "meter_point", only)
        if not name:
            known = ", ".join(self.meter_points)
            raise Unreadable(f"the meter point is missing; give meter_point, one of {known}")
        return name

    def _window(self, fields: Mapping[str, Any]) -> tuple[int, int | None]:
        if fields.get("hour") not in _ABSENT:
            return self._market_hour(fields)
        if fields.get("start") in _ABSENT and fields.get("start_ms") in _ABSENT:
            raise Unreadable("the start is missing; give start, or delivery_date and hour")
        start_ms = self._instant(fields, "start")
        ends = [key for key in ("end", "end_ms", "for") if fields.get(key) not in _ABSENT]
        if not ends:
            raise Unreadable('the end is missing; give end, for, or end = "open" for no end')
        if len(ends) > 1:
            raise Unreadable(f"{ends[0]} and {ends[1]} both say when it ends; give one of them")
        if ends[0] == "for":
            return start_ms, start_ms + read_duration(_text(fields["for"], "for"))
        if fields.get("end") == _OPEN_END:
            return start_ms, None
        return start_ms, self._instant(fields, "end")

    def _market_hour(self, fields: Mapping[str, Any]) -> tuple[int, int]:
        others = [key for key in ("start", "end", "for") if fields.get(key) not in _ABSENT]
        if others:
            raise Unreadable(f"hour and {others[0]} both say when it is; give one of them")
        day = fields.get("delivery_date")
        if not isinstance(day, str | date) or day in _ABSENT:
            raise Unreadable("hour needs the day; give delivery_date")
        hour = fields["hour"]
        text = str(hour).strip()
        if isinstance(hour, bool) or not (text.isascii() and text.isdigit() and len(text) <= 2):
            raise Unreadable(f"hour {shown(hour)} is not an hour; name one from 1 to 24")
        return hour_window(read_date(day), int(text), self.zone)

    def _instant(self, fields: Mapping[str, Any], key: str) -> int:
        exact = fields.get(f"{key}_ms")
        value = fields.get(key)
        if exact not in _ABSENT and value not in _ABSENT:
            raise Unreadable(f"{key} and {key}_ms both say when; give one of them")
        if exact not in _ABSENT:
            text = str(exact).strip()
            is_whole = text.isascii() and text.isdigit() and len(text) <= 15
            if isinstance(exact, bool) or not is_whole:
                raise Unreadable(f"{key}_ms {shown(exact)} is not a time in UTC ms; use {key}")
            return int(text)
        if not isinstance(value, str | datetime):
            raise Unreadable(f"{key} is {shown(value)}, not a time; write 2026-01-31T14:00+05:00")
        return read_time(value, self.zone)


def read_file(path: Path, reader: PurchaseReader, *, received_at_ms: int) -> Batch:
    """The purchases in a ``.toml``, ``.json`` or ``.csv`` file. Raises PurchasesError."""
    written_as = FORMATS_BY_SUFFIX.get(path.suffix.lower())
    if written_as is None:
        known = ", ".join(sorted(FORMATS_BY_SUFFIX))
        raise PurchasesError(f"{path} is of an unknown kind; name it with one of {known}")
    try:
        with path.open("rb") as stream:
            content = stream.read(TEXT_BYTES_MAX + 1)
    except OSError as error:
        raise PurchasesError(f"{path} cannot be read: {error.strerror}; check the path") from error
    return reader.read(content, written_as, received_at_ms=received_at_ms)


def _folded(item: Mapping[str, Any]) -> dict[str, Any]:
    """The fields with their names in lower case, as spreadsheets capitalise at will."""
    return {str(key).strip().lower(): value for key, value in item.items()}


def _identity(fields: Mapping[str, Any]) -> str:
    names = [key for key in ("transaction_id", "id") if fields.get(key) not in _ABSENT]
    if not names:
        raise Unreadable("the id is missing; give transaction_id as in the contract")
    if len(names) > 1:
        raise Unreadable("id and transaction_id are both given; give one of them")
    return _token(fields, names[0], "")


def _token(fields: Mapping[str, Any], key: str, default: str) -> str:
    value = fields.get(key)
    if value in _ABSENT:
        return default
    text = _text(value, key)
    if len(text) > 64 or not text.isprintable() or any(char.isspace() for char in text):
        raise Unreadable(f"{key} is not 1 to 64 printable characters without spaces; correct it")
    return text


def _text(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{key} {shown(value)} is not text; put it in quotes")
    return value.strip()


def _energy(fields: Mapping[str, Any]) -> int:
    given = [key for key in ("energy", *_ENERGY_KEYS) if fields.get(key) not in _ABSENT]
    if not given:
        raise Unreadable("the energy is missing; give energy_wh, energy_kwh or energy_mwh")
    if len(given) > 1:
        raise Unreadable(f"{given[0]} and {given[1]} are both given; give one of them")
    key = given[0]
    value = fields[key]
    if key == "energy":
        if isinstance(value, str):
            return read_energy(value)
        raise Unreadable('energy is a bare number; write the unit with it, like "900 kWh"')
    return energy_of(_number(value, key), _ENERGY_KEYS[key])


def _number(value: object, key: str) -> str | int | Decimal:
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Unreadable(f"{key} {shown(value)} is not a number; write digits")
    return value


def _price(fields: Mapping[str, Any]) -> str:
    value = fields.get("price_kzt_per_kwh")
    if value in _ABSENT:
        raise Unreadable("the price is missing; give price_kzt_per_kwh, 0 where none is paid")
    return read_price(_number(value, "price_kzt_per_kwh"))


def _source(fields: Mapping[str, Any]) -> str:
    source = _token(fields, "source", DEFAULT_SOURCE)
    if source not in SOURCES:
        raise Unreadable(f"source {shown(source)} is unknown; write one of {', '.join(SOURCES)}")
    return source


def _json_items(text: str) -> list[object]:
    try:
        data = json.loads(text, parse_float=Decimal, parse_constant=_no_constant)
    except RecursionError:
        raise PurchasesError("the text is nested too deeply; write a list of purchases") from None
    except ValueError as error:
        raise PurchasesError(f"the text is not JSON: {error}") from error
    if isinstance(data, dict):
        names = [name for name in _LIST_KEYS if name in data]
        data = data[names[0]] if names else [data]
    if not isinstance(data, list):
        raise PurchasesError('the text is not a list of purchases; write {"transactions": […]}')
    return data


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a number of JSON")


def _toml_items(text: str) -> list[object]:
    try:
        data = tomllib.loads(text, parse_float=Decimal)
    except RecursionError:
        raise PurchasesError("the text is nested too deeply; write [[transactions]]") from None
    except ValueError as error:
        raise PurchasesError(f"the text is not TOML: {error}") from error
    names = [name for name in _LIST_KEYS if name in data]
    items = data.pop(names[0]) if names else []
    if data or not isinstance(items, list):
        raise PurchasesError("the text holds something else; write [[transactions]] above each")
    return items


def _csv_items(text: str) -> list[object]:
    head = text.partition("\n")[0]
    delimiter = max(";\t,", key=head.count)
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise PurchasesError(f"the text is not CSV: {error}") from error
    filled = [row for row in rows if any(cell.strip() for cell in row)]
    if not filled:
        return []
    return list(_csv_rows([name.strip() for name in filled[0]], filled[1:]))


def _csv_rows(names: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[dict[str, Any]]:
    if len({name.lower() for name in names}) != len(names):
        raise PurchasesError("the CSV's first line names a column twice; name each column once")
    for row in rows:
        extra = {"a cell without a column": row[len(names)]} if len(row) > len(names) else {}
        yield {**dict(zip(names, row, strict=False)), **extra}


_ITEMS: Mapping[PurchaseFormat, Callable[[str], list[object]]] = {
    PurchaseFormat.TOML: _toml_items,
    PurchaseFormat.JSON: _json_items,
    PurchaseFormat.CSV: _csv_items,
}
