"""Checking a handed-over bundle: every file, every record, every signature, every receipt.

Part of the one-file verifier that lies in each bundle, and what ``kwota verify`` calls: it imports
the standard library and the pure modules of which the one file is made.
"""

import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agent.core.merkle import ProofError, leaf_hash, verify_inclusion
from agent.core.note import (
    COSIGNATURE_V1,
    ED25519,
    NoteError,
    VerifierKey,
    cosigned_at_s,
    parse_checkpoint,
    parse_note,
)
from agent.handover.findings import Fault, Findings
from agent.handover.ocmfcheck import check_ocmf
from agent.handover.page import page_of
from agent.handover.receipt import ParsedRecord, receipt_bytes, receipt_of
from agent.handover.seals import Head, head_of, keys_of
from agent.handover.shape import (
    CHANGES,
    FIXED_FILES,
    GROWTH_FILES,
    KEYS,
    OCMF,
    PROOFS,
    RECEIPTS,
    RECORDS,
    SUMS,
    checkpoint_fields,
    parsed_record,
    proof_from,
    runs_of,
    sums_of,
)
from agent.handover.succession import check_succession

_NOT_TO_BE_WORKED_OUT = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
    zlib.error,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The result. ``records`` are how many, ``size`` is that of the log they were taken from."""

    origin: str
    size: int
    root: str
    records: int
    boots: int
    cosigned_size: int
    cosigned_at_s: int | None
    transactions: tuple[str, ...]
    faults: tuple[Fault, ...]
    remarks: tuple[str, ...]


def check_bundle(
    members: Mapping[str, bytes],
    *,
    device: VerifierKey | None = None,
    pool: VerifierKey | None = None,
) -> Verdict:
    """Check everything in a bundle. ``device`` and ``pool``: the keys as the pool registered them.

    Without them the keys that lie in the bundle are used, and a remark says so.
    """
    findings = Findings()
    _check_files(members, findings)
    keys = keys_of(_text(members, KEYS), {ED25519: device, COSIGNATURE_V1: pool}, findings)
    head = head_of(members, keys, findings)
    records = _Records(members, head, findings).checked()
    check_succession(members, keys, device, head, findings)
    pools = [good.key for good in keys if good.key.algorithm == COSIGNATURE_V1]
    _check_order(records, findings)
    _check_acks(records, pools, findings)
    receipts = _check_receipts(members, head, records, findings)
    if head is not None:
        check_ocmf(members, head, keys, records, receipts=receipts, findings=findings)
    _remark_on(records, findings)
    return Verdict(
        origin="" if head is None else head.checkpoint.origin,
        size=0 if head is None else head.checkpoint.size,
        root="" if head is None else head.checkpoint.root.hex(),
        records=len(records),
        boots=len({record["b"] for record in records}),
        cosigned_size=0 if head is None else head.cosigned_size,
        cosigned_at_s=None if head is None else head.cosigned_at_s,
        transactions=tuple(receipts),
        faults=tuple(findings.faults),
        remarks=tuple(findings.remarks),
    )


def _check_files(members: Mapping[str, bytes], findings: Findings) -> None:
    """SHA256SUMS must be, byte for byte, what it would be for the files that are there."""
    known = FIXED_FILES | GROWTH_FILES | {CHANGES}
    needed = FIXED_FILES if GROWTH_FILES.isdisjoint(members) else FIXED_FILES | GROWTH_FILES
    for name in sorted(needed - members.keys()):
        findings.add(None, f"the file {name} is missing")
    listed = {}
    for line in _text(members, SUMS).removesuffix("\n").split("\n"):
        digest, _, name = line.partition("  ")
        if name:
            listed[name] = digest
    for name in sorted((members.keys() | listed.keys()) - {SUMS}):
        if name not in known and not name.startswith((RECEIPTS, OCMF)):
            findings.add(None, f"the file {name} does not belong to a bundle")
        elif name not in members:
            findings.add(None, f"the file {name} is listed in {SUMS} and is missing")
        elif name not in listed:
            findings.add(None, f"the file {name} is not listed in {SUMS}")
        elif sha256(members[name]).hexdigest() != listed[name]:
            findings.add(None, f"the file {name} is not the one that is listed in {SUMS}")
    if not findings.faults and members[SUMS] != sums_of(members):
        findings.add(None, f"the file {SUMS} is not written as it has to be")


class _Records:
    """The records against their proofs, line by line."""

    def __init__(self, members: Mapping[str, bytes], head: Head | None, findings: Findings) -> None:
        self._head = head
        self._findings = findings
        self._lines = _lines(members, RECORDS, findings)
        self._proofs = _proofs_of(_lines(members, PROOFS, findings), findings)

    def checked(self) -> list[ParsedRecord]:
        """Those that hold, in the order of the log."""
        parsed = [parsed_record(line) for line in self._lines]
        there = {record["i"] for record in parsed if record is not None}
        missing = [index for index in self._proofs if index not in there]
        sound: dict[int, ParsedRecord] = {}
        seen: set[int] = set()
        newest = -1
        for at, (line, record) in enumerate(zip(self._lines, parsed, strict=True)):
            if record is None:
                self._name_unreadable(at, missing)
                continue
            index = record["i"]
            if index in seen:
                self._findings.add(index, f"record {index} stands there twice")
                continue
            if index < newest:
                self._findings.add(index, f"record {index} stands behind record {newest}")
            seen.add(index)
            newest = max(newest, index)
            if self._is_proven(index, line):
                sound[index] = record
        for index in missing:
            self._findings.add(index, f"record {index} is missing: its proof is there")
        return [sound[index] for index in sorted(sound)]

    def _name_unreadable(self, at: int, missing: list[int]) -> None:
        """A line that is no record is by its place one of those that are missing."""
        by_place = list(self._proofs)[at : at + 1]
        guess = by_place[0] if by_place and by_place[0] in missing else None
        if guess is None and missing:
            guess = missing[0]
        if guess is None:
            self._findings.add(None, f"line {at + 1} of {RECORDS} is no record")
            return
        missing.remove(guess)
        self._findings.add(
            guess, f"line {at + 1} of {RECORDS}, by its place record {guess}, is no record"
        )

    def _is_proven(self, index: int, line: bytes) -> bool:
        if index not in self._proofs:
            self._findings.add(index, f"record {index} has no proof")
            return False
        if self._head is None:
            return False
        try:
            verify_inclusion(
                leaf=leaf_hash(line),
                index=index,
                size=self._head.checkpoint.size,
                proof=self._proofs[index],
                root=self._head.checkpoint.root,
            )
        except ProofError as error:
            words = f"record {index} is not the one that was signed, or its proof is not: {error}"
            self._findings.add(index, words)
            return False
        return True


def _proofs_of(lines: Sequence[bytes], findings: Findings) -> dict[int, tuple[bytes, ...]]:
    """The inclusion proof of each record, in the order in which the records must stand."""
    proofs: dict[int, tuple[bytes, ...]] = {}
    newest = -1
    for number, line in enumerate(lines, 1):
        try:
            index, hashes = proof_from(line)
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            findings.add(None, f"line {number} of {PROOFS} is no proof: {error}")
            continue
        if index <= newest:
            findings.add(index, f"the proof of record {index} stands behind that of {newest}")
        newest = max(newest, index)
        proofs[index] = hashes
    return proofs


def _check_order(records: Sequence[ParsedRecord], findings: Findings) -> None:
    """Boots are counted upwards, and within one no record is older than the one before it."""
    boot = boottime_ns = -1
    for record in records:
        index = record["i"]
        if record["b"] < boot:
            findings.add(index, f"record {index} is of boot {record['b']}, after boot {boot}")
        elif record["b"] == boot and record["m"] < boottime_ns:
            findings.add(index, f"record {index} is older than the one before it")
        boot, boottime_ns = record["b"], record["m"]


def _check_acks(
    records: Sequence[ParsedRecord], pools: Sequence[VerifierKey], findings: Findings
) -> None:
    """What the pool answered earlier: each covers a smaller log than that of its own record."""
    for record in records:
        if record["k"] != "ack":
            continue
        index = record["i"]
        try:
            note = parse_note(str(record["d"].get("note", "")))
            size = parse_checkpoint(note.text).size
            for key in pools:
                cosigned_at_s(note, key)
        except NoteError as error:
            findings.add(index, f"the pool's answer in record {index} does not hold: {error}")
            continue
        if size > index:
            findings.add(index, f"the pool's answer in record {index} covers younger records")


def _check_receipts(
    members: Mapping[str, bytes],
    head: Head | None,
    records: Sequence[ParsedRecord],
    findings: Findings,
) -> dict[str, dict[str, Any]]:
    """Every receipt is worked out again and must be the same, byte for byte. Those, by purchase."""
    names = [name for name in members if name.startswith(RECEIPTS)]
    if head is None or findings.is_any_record_faulty:
        if names:
            findings.remark("The receipts were not compared, because not all records hold.")
        return {}
    receipts = {}
    for stem in sorted({name.removesuffix(".json").removesuffix(".html") for name in names}):
        try:
            wanted = str(json.loads(members[f"{stem}.json"])["transaction"])
            receipt = receipt_of(records, wanted, checkpoint_fields(head.checkpoint))
            made = {".json": receipt_bytes(receipt), ".html": page_of(receipt).encode()}
        except _NOT_TO_BE_WORKED_OUT as error:
            findings.add(None, f"the receipt {stem}.json cannot be worked out again: {error}")
            continue
        receipts[wanted] = receipt
        for suffix, content in made.items():
            if members.get(stem + suffix) != content:
                words = f"the receipt {stem}{suffix} does not say what the records of {wanted} say"
                findings.add(None, words)
    return receipts


def _remark_on(records: Sequence[ParsedRecord], findings: Findings) -> None:
    if records:
        findings.remark(f"Records {runs_of([int(record['i']) for record in records])}.")
    counts = Counter(str(record["k"]) for record in records)
    counts.update("quality " + str(record["q"]) for record in records)
    for key, words in (
        ("boot", "starts of the agent"),
        ("gap", "gaps that the log itself declares"),
        ("clock", "records about the clock"),
        ("alarm", "records of alarms"),
        ("quality I", "records with an unsynchronised clock"),
        ("quality R", "records with a clock held after a step"),
        ("quality U", "records with an implausible clock"),
    ):
        if counts[key]:
            findings.remark(f"{counts[key]} {words}.")


def _text(members: Mapping[str, bytes], name: str) -> str:
    return members.get(name, b"").decode("utf-8", "replace")


def _lines(members: Mapping[str, bytes], name: str, findings: Findings) -> list[bytes]:
    content = members.get(name, b"")
    if content and not content.endswith(b"\n"):
        findings.add(None, f"the last line of {name} is cut off")
        content += b"\n"
    return content.split(b"\n")[:-1]
