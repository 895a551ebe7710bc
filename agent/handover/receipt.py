"""What became of one purchase, worked out from signed records and from nothing else.

The exporter and every verifier work it out by this code and must come to the same bytes: a receipt
that says anything else than the records is found. So there is no clock here, no setting and no
order but that of the log. Part of the one-file verifier: it imports nothing but the standard
library.
"""

import base64
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RECEIPT_VERSION = 1
FRAME_MAX_BYTES = 256_000_000

_OF_ONE_POINT = ("ledger", "statement", "preflight", "decision")

ParsedRecord = Mapping[str, Any]
"""A record as ``json`` reads it: docs/wire.md."""


def receipt_of(
    records: Sequence[ParsedRecord], transaction_id: str, checkpoint: Mapping[str, Any]
) -> dict[str, Any]:
    """The receipt of one purchase. ``records`` are in the order of the log.

    Raises ValueError where its purchase is not among them, LookupError and TypeError where a
    record is not of the shape that docs/wire.md gives.
    """
    bought = purchase_in(records, transaction_id)
    point, wanted = bought["s"], bought["d"]
    closed = _last(_events(records, point, "closed", transaction_id))
    until_ms = _until_ms(records, wanted, closed)
    window = (wanted["start_ms"], until_ms)
    meters, miners = devices_of(records, point, window)
    inside = [record for record in records if _is_within(record["t"] // 1000, window)]
    booked = [record for record in _events(records, point, "booked") if _overlaps(record, window)]
    return {
        "receipt": RECEIPT_VERSION,
        "transaction": transaction_id,
        "meter_point": point,
        "purchase": {**_without_event(wanted), "record": bought["i"]},
        **_figures(records, wanted, closed, point),
        "over_wh": sum(record["d"]["over_wh"] for record in booked),
        "register": _register(records, closed, point, meters, window),
        "booked": [_from(record) for record in booked],
        "quarters": [_from(r) for r in _of_point(records, "statement", point, window)],
        "preflight": [_from(r) for r in records if _is_preflight(r, point, transaction_id)][-1:],
        "limits": [_from(r) for r in _standing(records, "limit", window) if _is_limit(r, point)],
        "decisions": _counted(r["d"]["mode"] for r in inside if _is_decision(r, point)),
        "commands": _commands(inside, miners),
        "alarms": [_from(r) for r in _standing(records, "alarm", window) if _concerns(r, point)],
        "gaps": [
            _from(r)
            for r in records
            if r["k"] == "gap" and _concerns(r, point) and _gap_overlaps(r, window)
        ],
        "time": _time([record for record in inside if _tells_time(record, point)]),
        "checkpoint": dict(checkpoint),
    }


def receipt_bytes(receipt: Mapping[str, Any]) -> bytes:
    """The file of a receipt: JSON, one key a line."""
    return (json.dumps(receipt, ensure_ascii=False, indent=1) + "\n").encode()


def purchase_in(records: Sequence[ParsedRecord], transaction_id: str) -> ParsedRecord:
    """The record that took a purchase into the books. Raises ValueError where there is none."""
    for record in records:
        data = record["d"]
        if record["k"] == "ledger" and data["event"] == "purchase" and data["id"] == transaction_id:
            return record
    raise ValueError(f"the purchase {transaction_id} is not among the records")


def devices_of(
    records: Sequence[ParsedRecord], point: str, window: tuple[int, int]
) -> tuple[set[str], set[str]]:
    """The meters and machines of a meter point, by the frames that list them.

    These are the newest before the window, and those of starts of the agent in it: what is whose
    is read from the configuration, and that is read at a start.
    """
    frames = [record for record in records if record["k"] == "frame" and record["s"] == point]
    before = [r for r in frames if r["t"] // 1000 < window[0]]
    newest = [r for r in before if r["t"] == before[-1]["t"]]
    starts = [r for r in frames if r["d"]["why"] == "start" and _is_within(r["t"] // 1000, window)]
    meters: set[str] = set()
    miners: set[str] = set()
    parts: list[str] = []
    for record in [*newest, *starts]:
        data = record["d"]
        parts = [*(parts if data["part"] else []), data["zlib_base64"]]
        if data["part"] + 1 != data["parts"]:
            continue
        packed = base64.b64decode("".join(parts))
        plain = zlib.decompressobj().decompress(packed, FRAME_MAX_BYTES)
        sight = json.loads(plain)["frame"]["sight"]
        meters |= {meter["meter_id"] for meter in sight["meters"]}
        miners |= {miner["miner_id"] for miner in sight["miners"]}
    return meters, miners


def _figures(
    records: Sequence[ParsedRecord], wanted: Mapping[str, Any], closed: Any, point: str
) -> dict[str, Any]:
    """Purchased, allocated, unused: by its statement, or by the newest state of the books."""
    if closed is not None:
        data = closed["d"]
        figures = {name: data[f"{name}_wh"] for name in ("purchased", "allocated", "unused")}
        return {
            "status": "closed",
            **{f"{name}_wh": value for name, value in figures.items()},
            "order": data["order"],
            "figures_from": closed["i"],
        }
    state = _last(_events(records, point, "state"))
    allocated_wh = 0
    if state is not None:
        allocated_wh = {row[0]: row[1] for row in state["d"]["open"]}.get(wanted["id"], 0)
    return {
        "status": "not closed yet",
        "purchased_wh": wanted["energy_wh"],
        "allocated_wh": allocated_wh,
        "unused_wh": wanted["energy_wh"] - allocated_wh,
        "order": None,
        "figures_from": None if state is None else state["i"],
    }


def _register(
    records: Sequence[ParsedRecord],
    closed: Any,
    point: str,
    meters: set[str],
    window: tuple[int, int],
) -> dict[str, Any]:
    """The ledger's coordinate at both ends, and what the meters showed next to them."""
    states = [r for r in _events(records, point, "state") if r["t"] // 1000 <= window[1]]
    state = None if not states else states[-1]["d"]
    return {
        "opened_at_wh": None if closed is None else closed["d"]["opened_at_wh"],
        "closed_at_wh": None if closed is None else closed["d"]["closed_at_wh"],
        "offset_wh": None if state is None else state.get("offset_wh", 0),
        "serial": None if state is None else state.get("serial", ""),
        "events": [
            _from(r)
            for r in records
            if r["k"] == "ledger" and r["s"] == point and "register_wh" in r["d"]
        ],
        "readings": [
            {"edge": edge, "side": side, "meter": meter, **_reading(record)}
            for meter in sorted(meters)
            for edge, at_ms in zip(("start", "end"), window, strict=True)
            for side, record in _beside(records, meter, at_ms)
        ],
    }


def _beside(
    records: Sequence[ParsedRecord], meter: str, at_ms: int
) -> list[tuple[str, ParsedRecord]]:
    """The last reading before an edge and the first one at or after it, where they are there."""
    read = [r for r in records if r["k"] == "meter" and r["s"] == meter]
    before = [r for r in read if r["t"] < at_ms * 1000]
    after = [r for r in read if r["t"] >= at_ms * 1000]
    return [*(("before", r) for r in before[-1:]), *(("after", r) for r in after[:1])]


def _reading(record: ParsedRecord) -> dict[str, Any]:
    return {
        "energy_import_wh": record["d"]["energy_import_wh"],
        "at_us": record["t"],
        "time_quality": record["q"],
        "max_error_us": record["e"],
        "state": record["st"],
        "record": record["i"],
    }


def _commands(inside: Sequence[ParsedRecord], miners: set[str]) -> dict[str, Any]:
    """How far each command got; ``list`` holds every stage with its machine."""
    steps = [r for r in inside if r["k"] == "throttle" and r["s"] in miners]
    return {
        "stages": _counted(record["d"]["stage"] for record in steps),
        "machines": len({record["s"] for record in steps}),
        "list": [_from(record) for record in steps],
    }


def _time(inside: Sequence[ParsedRecord]) -> dict[str, Any]:
    """How well the agent's clock was known, and where it or the agent started anew."""
    return {
        "records": len(inside),
        "quality": _counted(record["q"] for record in inside),
        "max_error_us": max((record["e"] for record in inside), default=0),
        "steps": [
            _from(record)
            for record in inside
            if record["k"] == "clock" and "old_ms" in record["d"]  # not the kernel's word of it
        ],
        "starts": [_from(record) for record in inside if record["k"] == "boot"],
    }


def _standing(
    records: Sequence[ParsedRecord], kind: str, window: tuple[int, int]
) -> list[ParsedRecord]:
    """Alarms or limits of the window, and before them what stood when it began."""
    open_at_start: dict[tuple[str, str], ParsedRecord] = {}
    inside = []
    for record in records:
        if record["k"] != kind:
            continue
        data, at_ms = record["d"], record["t"] // 1000
        name = (data.get("code", ""), record["s"])
        if _is_within(at_ms, window):
            inside.append(record)
        elif at_ms < window[0] and data["event"] == "cleared":
            open_at_start.pop(name, None)
        elif at_ms < window[0] and data["event"] in ("raised", "told"):
            open_at_start[name] = record
    before = [r for r in open_at_start.values() if _lasts_until(r) > window[0]]
    return [*before, *inside]


def _lasts_until(record: ParsedRecord) -> float:
    """UTC ms until which an alarm or a limit stands, where it is not cleared."""
    until_ms = record["d"].get("until_ms")
    return float("inf") if until_ms is None else int(until_ms)


def _until_ms(records: Sequence[ParsedRecord], wanted: Mapping[str, Any], closed: Any) -> int:
    """The end of the window; of an open-ended one its closing, or the newest record."""
    if wanted["end_ms"] is not None:
        return int(wanted["end_ms"])
    return int((records[-1] if closed is None else closed)["t"]) // 1000


def _tells_time(record: ParsedRecord, point: str) -> bool:
    """Whether a record counts: it is no tick, no frame and not another point's."""
    if record["k"] in ("tick", "frame"):
        return False
    return record["k"] not in _OF_ONE_POINT or record["s"] == point


def _events(
    records: Sequence[ParsedRecord], point: str, event: str, name: str | None = None
) -> list[ParsedRecord]:
    return [
        r
        for r in records
        if r["k"] == "ledger" and r["s"] == point and r["d"]["event"] == event
        if name is None or r["d"]["id"] == name
    ]


def _of_point(
    records: Sequence[ParsedRecord], kind: str, point: str, window: tuple[int, int]
) -> list[ParsedRecord]:
    return [r for r in records if r["k"] == kind and r["s"] == point and _overlaps(r, window)]


def _is_preflight(record: ParsedRecord, point: str, name: str) -> bool:
    is_one = record["k"] == "preflight" and record["s"] == point
    return bool(is_one and name in record["d"]["transactions"])


def _is_limit(record: ParsedRecord, point: str) -> bool:
    return bool(record["k"] == "limit" and record["d"].get("meter_point") == point)


def _is_decision(record: ParsedRecord, point: str) -> bool:
    is_one = record["k"] == "decision" and record["s"] == point
    return bool(is_one and record["d"].get("part", 0) == 0)


def _concerns(record: ParsedRecord, point: str) -> bool:
    """Whether an alarm or a gap is this point's, or the agent's as a whole."""
    return record["d"].get("meter_point") in (None, point)


def _overlaps(record: ParsedRecord, window: tuple[int, int]) -> bool:
    data = record["d"]
    return bool(data["start_ms"] < window[1] and data["end_ms"] > window[0])


def _gap_overlaps(record: ParsedRecord, window: tuple[int, int]) -> bool:
    at_ms = record["t"] // 1000
    since_ms = record["d"].get("since_ms", at_ms) if record["st"] == "G" else at_ms
    return bool(since_ms < window[1] and at_ms >= window[0])


def _is_within(at_ms: int, window: tuple[int, int]) -> bool:
    return window[0] <= at_ms < window[1]


def _from(record: ParsedRecord) -> dict[str, Any]:
    """A record's data as it stands in a receipt: which record, when, of what."""
    head = {"record": record["i"], "at_us": record["t"], "source": record["s"]}
    return {**head, "state": record["st"], **record["d"]}


def _without_event(data: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name != "event"}


def _counted(names: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(names).items()))


def _last(records: Sequence[ParsedRecord]) -> ParsedRecord | None:
    return records[-1] if records else None
