"""The register at both ends of a purchase as the Open Charge Metering Format writes it.

After OCMF 1.4.0 (SAFE e.V., OCMF-en.md of 2024-12-05): ``OCMF|payload|signature``, ECDSA over the
payload's bytes as they stand. A payload is worked out from a receipt and from nothing else, so that
a verifier comes to the same bytes; only its page is told. Part of the one-file verifier.
"""

import base64
import binascii
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.note import NoteError
from agent.handover.receipt import FRAME_MAX_BYTES, ParsedRecord

OCMF_VERSION = "1.4"
OCMF_ALGORITHM = "ECDSA-secp256r1-SHA256"
OCMF_KEY_LINE = "ocmf key ECDSA-secp256r1"
OCMF_METER_STATES = {"G": "G", "T": "T", "S": "E", "F": "F"}
"""Our state letters in those of table 10, where S is a substitute value, which we never form: what
we only doubt is another error there."""
EDGE_MAX_MS = 60_000
"""A reading further from the edge than this does not say what the register was there."""

_IMPORT_MAINS = "01-00:B0.08.00*FF"  # table 25: Total Import Mains Energy
_PAGE = re.compile(r'"PG":"T([1-9][0-9]*)"')


def ocmf_payload(
    records: Sequence[ParsedRecord], receipt: Mapping[str, Any], page: int, origin: str
) -> str:
    """The payload of one closed purchase: begin and end in one record.

    The reading of an edge is the last one before it, so that one purchase begins with the very
    reading with which the one before it ended. Raises ValueError, LookupError or TypeError.
    """
    edges = (receipt["purchase"]["start_ms"], _end_ms(records, receipt))
    meter = _budget_meter(records, receipt, edges[1])
    begin, end = (_serial_at(records, receipt["meter_point"], at_ms) for at_ms in edges)
    readings = [
        _ocmf_reading("B", "start", edges[0], receipt, meter, is_other=False),
        _ocmf_reading("E", "end", edges[1], receipt, meter, is_other=begin != end),
    ]
    boots = [r for r in records if r["k"] == "boot" and r["i"] < receipt["figures_from"]]
    fields = {
        "FV": OCMF_VERSION,
        "GI": "kwota",
        "GS": origin,
        **({"GV": boots[-1]["d"]["version"]} if boots else {}),
        "PG": f"T{page}",
        "MS": begin,
        "IS": True,
        "IF": [],
        "IT": "CENTRAL",
        "ID": receipt["transaction"],
        "RD": readings,
        "XP": receipt["meter_point"],  # names that begin with X are the vendor's own
        "XM": meter,
        "XI": [read["XI"] for read in readings],
    }
    for read in readings:
        del read["XI"]
    text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"))
    return text.replace("|", "\\u007c")


def ocmf_text(payload: str, signature: bytes) -> str:
    """The whole record. ``signature`` is DER."""
    fields = {"SA": OCMF_ALGORITHM, "SD": signature.hex().upper()}
    return f"OCMF|{payload}|{json.dumps(fields, separators=(',', ':'))}"


def ocmf_parts(text: str) -> tuple[str, int, bytes]:
    """Payload, page and signature of a record as ``ocmf_text`` writes it. Raises ValueError."""
    header, _, rest = text.partition("|")
    payload, _, sealed = rest.partition("|")
    page = _PAGE.search(payload)
    try:
        signature = bytes.fromhex(json.loads(sealed)["SD"])
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError("its signature section is none") from error
    if header != "OCMF" or page is None or ocmf_text(payload, signature) != text:
        raise ValueError("it is not written as it has to be")
    return payload, int(page[1]), signature


def is_ocmf_signed(payload: str, signature: bytes, public_der: bytes) -> bool:
    """Whether the key has signed these bytes. Raises ValueError where it is no such key."""
    try:
        key = serialization.load_der_public_key(public_der)
    except UnsupportedAlgorithm as error:
        raise ValueError("its key is of a kind that nobody knows") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise ValueError("its key is not on the curve secp256r1")
    try:
        key.verify(signature, payload.encode(), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def ocmf_key_text(origin: str, public_der: bytes) -> str:
    """What the log's key signs to vouch for the key of the OCMF records: a note's text.

    Its second line is no number, so that it can never be taken for a checkpoint.
    """
    return f"{origin}\n{OCMF_KEY_LINE}\n{base64.b64encode(public_der).decode('ascii')}\n"


def ocmf_key_from(text: str, origin: str) -> bytes:
    """The public key (DER) that such a text names. Raises NoteError."""
    lines = text.split("\n")
    try:
        public_der = base64.b64decode(lines[2] if len(lines) == 4 else "", validate=True)
    except binascii.Error as error:
        raise NoteError("its key is not base64") from error
    if ocmf_key_text(origin, public_der) != text:
        raise NoteError("it does not name a key of this log")
    return public_der


def _ocmf_reading(
    reason: str,
    edge: str,
    at_ms: int,
    receipt: Mapping[str, Any],
    meter: str,
    *,
    is_other: bool,
) -> dict[str, Any]:
    """One reading; without a value where the log has none (7, Readings: an event alone)."""
    beside = [
        read
        for read in receipt["register"]["readings"]
        if read["meter"] == meter and read["edge"] == edge
    ]
    if not beside:
        time = _ocmf_time(at_ms * 1000, "U")
        return {"TM": time, "TX": reason, "EF": "Et", "ST": "N", "XI": None}
    exact = [read for read in beside if read["at_us"] == at_ms * 1000]
    read = [*exact, *beside][0]
    is_far = abs(read["at_us"] - at_ms * 1000) > EDGE_MAX_MS * 1000
    state = "X" if is_other else OCMF_METER_STATES[read["state"]]
    energy = "E" if state != "G" or is_far else ""
    time = "t" if read["time_quality"] == "U" else ""
    return {
        "TM": _ocmf_time(read["at_us"], read["time_quality"]),
        "TX": reason,
        "RV": read["energy_import_wh"],
        "RI": _IMPORT_MAINS,
        "RU": "Wh",
        "RT": "AC",
        "EF": energy + time,
        "ST": state,
        "XI": read["record"],
    }


def _ocmf_time(at_us: int, quality: str) -> str:
    moment = datetime.fromtimestamp(at_us // 1_000_000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S},{at_us // 1000 % 1000:03d}+0000 {quality}"


def _end_ms(records: Sequence[ParsedRecord], receipt: Mapping[str, Any]) -> int:
    """The end of the window; of an open-ended one the time of its closing."""
    end_ms = receipt["purchase"]["end_ms"]
    if end_ms is not None:
        return int(end_ms)
    return next(int(r["t"]) // 1000 for r in records if r["i"] == receipt["figures_from"])


def _serial_at(records: Sequence[ParsedRecord], point: str, at_ms: int) -> str:
    """Whose register the books went by at a time, as they say it; empty where it tells none."""
    told = [
        (record["d"].get("at_ms", record["t"] // 1000), str(record["d"]["serial"]))
        for record in records
        if record["k"] == "ledger" and record["s"] == point and record["d"].get("serial")
    ]
    before = [serial for told_ms, serial in told if told_ms <= at_ms]
    return [*before[-1:], *(serial for _, serial in told), ""][0]


def _budget_meter(records: Sequence[ParsedRecord], receipt: Mapping[str, Any], end_ms: int) -> str:
    """The meter by which the purchase was kept, where the point has others beside it."""
    meters = sorted({str(read["meter"]) for read in receipt["register"]["readings"]})
    if len(meters) == 1:
        return meters[0]
    frames = [
        record
        for record in records
        if record["k"] == "frame" and record["s"] == receipt["meter_point"]
        if record["t"] // 1000 <= end_ms
    ]
    if not frames:
        raise ValueError("no frame says by which meter the purchase was kept")
    parts = [r["d"]["zlib_base64"] for r in frames if r["t"] == frames[-1]["t"]]
    packed = base64.b64decode("".join(parts))
    plain = zlib.decompressobj().decompress(packed, FRAME_MAX_BYTES)
    return str(json.loads(plain)["frame"]["parameters"]["meter_id"])
