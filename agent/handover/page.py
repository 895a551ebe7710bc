"""A receipt for people: one printable page without a script, an image or anything from elsewhere.

Made from the receipt alone, so that a verifier makes it again and compares. Part of the one-file
verifier: it imports nothing but the standard library.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from typing import Any

PAGE_ROWS_MAX = 200
"""Rows of one table on the page; all of them stand in the JSON."""

_STYLE = """
body { font: 11pt/1.4 sans-serif; margin: 2em auto; max-width: 50em; padding: 0 1em; color: #111; }
h1 { font-size: 1.5em; } h2 { font-size: 1.1em; margin-top: 1.6em; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .2em .6em .2em 0; border-bottom: 1px solid #bbb;
  vertical-align: top; }
td:last-child { overflow-wrap: anywhere; }
td.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
.small { font-size: .85em; color: #444; overflow-wrap: anywhere; }
@media print { body { margin: 0; max-width: none; } tr { break-inside: avoid; } }
@page { margin: 15mm; }
""".strip()
_QUALITY = {
    "U": "implausible",
    "I": "not synchronised",
    "S": "synchronised",
    "R": "held after a step",
}


def page_of(receipt: Mapping[str, Any]) -> str:
    """The page, as HTML 5."""
    purchase = receipt["purchase"]
    title = f"Receipt of {receipt['transaction']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        _table((), _head_rows(receipt, purchase)),
        "<h2>Energy</h2>",
        _table((), _energy_rows(receipt)),
        "<h2>Register</h2>",
        _table(("", "kWh", "read at (UTC)", "clock", "meter", "record"), _register_rows(receipt)),
        "<h2>Clock</h2>",
        _table((), _clock_rows(receipt["time"])),
        "<h2>Commands</h2>",
        _table(("stage", "times"), receipt["commands"]["stages"].items()),
        *_listed("Booked intervals", receipt["booked"]),
        *_listed("Quarters of an hour", receipt["quarters"]),
        *_listed("What was announced before", receipt["preflight"]),
        *_listed("Limits told", receipt["limits"]),
        *_listed("Alarms", receipt["alarms"]),
        *_listed("Gaps", receipt["gaps"]),
        *_listed("Events of the register", receipt["register"]["events"]),
        "<h2>Where this comes from</h2>",
        _provenance(receipt["checkpoint"]),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}\n</style>\n</head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def _provenance(checkpoint: Mapping[str, Any]) -> str:
    return (
        f'<p class="small">Worked out from records of the log {escape(checkpoint["origin"])}, '
        f"checkpoint of {checkpoint['size']} records, root {escape(checkpoint['root'])}. "
        "The numbers of records lead to the signed lines. This page proves nothing by itself: "
        "run verify.py on the bundle that it came in.</p>"
    )


def _head_rows(receipt: Mapping[str, Any], purchase: Mapping[str, Any]) -> list[Sequence[object]]:
    return [
        ("Meter point", receipt["meter_point"]),
        ("Window (UTC)", f"{_moment(purchase['start_ms'])} – {_moment(purchase['end_ms'])}"),
        ("Bought from", purchase["source"]),
        ("Price", f"{purchase['price_kzt_per_kwh']} KZT/kWh"),
        ("Received (UTC)", f"{_moment(purchase['received_at_ms'])}, record {purchase['record']}"),
        ("Status", receipt["status"]),
    ]


def _energy_rows(receipt: Mapping[str, Any]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        (words, _Number(f"{_kwh(receipt[name])} kWh"))
        for words, name in (
            ("Purchased", "purchased_wh"),
            ("Allocated", "allocated_wh"),
            ("Unused", "unused_wh"),
            ("Metered in the window beyond all purchases", "over_wh"),
        )
    ]
    if receipt["figures_from"] is not None:
        rows.append(("By record", _Number(str(receipt["figures_from"]))))
    return rows


def _register_rows(receipt: Mapping[str, Any]) -> list[Sequence[object]]:
    register = receipt["register"]
    rows: list[Sequence[object]] = [
        (words, _Number(_kwh(register[name])), "", "", "by the books", receipt["figures_from"])
        for words, name in (("At the start", "opened_at_wh"), ("At the end", "closed_at_wh"))
        if register[name] is not None
    ]
    rows += [
        (
            f"Read {reading['side']} the {reading['edge']}",
            _Number(_kwh(reading["energy_import_wh"])),
            _moment(reading["at_us"] // 1000),
            _clock_of(reading),
            reading["meter"],
            reading["record"],
        )
        for reading in register["readings"]
    ]
    return rows


def _clock_of(reading: Mapping[str, Any]) -> str:
    quality = reading["time_quality"]
    return f"{_QUALITY.get(quality, quality)}, ± {_seconds(reading['max_error_us'])}"


def _clock_rows(time: Mapping[str, Any]) -> list[Sequence[object]]:
    rows: list[Sequence[object]] = [
        (f"Records with a clock {_QUALITY.get(letter, letter)}", _Number(str(count)))
        for letter, count in time["quality"].items()
    ]
    return [
        *rows,
        ("Largest error the system admits", _Number(_seconds(time["max_error_us"]))),
        ("Steps of the clock", _Number(str(len(time["steps"])))),
        ("Starts of the agent", _Number(str(len(time["starts"])))),
    ]


def _listed(title: str, entries: Sequence[Mapping[str, Any]]) -> list[str]:
    """A table of records: number, time, source and what they say."""
    heading = f"<h2>{escape(title)}</h2>"
    if not entries:
        return [heading, "<p>None.</p>"]
    head = ("record", "at_us", "source", "state")
    rows = [
        (
            entry["record"],
            _moment(entry["at_us"] // 1000),
            entry["source"],
            "; ".join(_told(k, v) for k, v in entry.items() if k not in head),
        )
        for entry in entries[:PAGE_ROWS_MAX]
    ]
    table = _table(("record", "at (UTC)", "source", ""), rows)
    if len(entries) <= PAGE_ROWS_MAX:
        return [heading, table]
    more = len(entries) - PAGE_ROWS_MAX
    return [heading, table, f"<p>And {more} more in the JSON.</p>"]


class _Number(str):
    """A cell that is set to the right."""

    __slots__ = ()


def _table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    top = "".join(f"<th>{escape(name)}</th>" for name in head)
    lines = [f"<tr>{top}</tr>"] if head else []
    for row in rows:
        cells = "".join(
            f'<td class="n">{escape(cell)}</td>'
            if isinstance(cell, _Number)
            else f"<td>{escape(str(cell))}</td>"
            for cell in row
        )
        lines.append(f"<tr>{cells}</tr>")
    return "<table>\n" + "\n".join(lines) + "\n</table>" if lines else "<p>None.</p>"


def _told(name: str, value: object) -> str:
    """A field for people: energy in kWh, moments as such, names without their units."""
    if name == "event":
        return str(value)
    words = name
    for unit in ("_wh", "_ms"):
        words = words.removesuffix(unit)
    return f"{words.replace('_', ' ')} {_value(name, value)}"


def _value(name: str, value: object) -> str:
    if name == "shares" and isinstance(value, list):
        return ", ".join(f"{owner} {_kwh(wh)} kWh" for owner, wh in value) or "none"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if value is None:
        return "none"
    if isinstance(value, int) and not isinstance(value, bool):
        return _figure(name, value)
    return str(value)


def _figure(name: str, value: int) -> str:
    if name.endswith("_wh"):
        return f"{_kwh(value)} kWh"
    if name in ("start_ms", "end_ms", "since_ms", "from_ms", "until_ms", "received_at_ms"):
        return _moment(value)
    return f"{value} ms" if name.endswith("_ms") else str(value)


def _seconds(span_us: int) -> str:
    return f"{span_us // 1_000_000}.{span_us // 1000 % 1000:03d} s"


def _kwh(wh: int | None) -> str:
    if wh is None:
        return "unknown"
    sign, rest = ("-", -wh) if wh < 0 else ("", wh)
    return f"{sign}{rest // 1000}.{rest % 1000:03d}"


def _moment(at_ms: int | None) -> str:
    if at_ms is None:
        return "open-ended"
    moment = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{moment:%Y-%m-%d %H:%M:%S}.{at_ms % 1000:03d}"
