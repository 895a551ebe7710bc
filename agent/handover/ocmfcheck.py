"""Checking the OCMF records of a bundle: key, signature, content, pages. Part of the verifier."""

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from agent.core.note import ED25519, NoteError, parse_note, verified_by
from agent.handover.findings import Findings
from agent.handover.ocmf import (
    OCMF_ALGORITHM,
    is_ocmf_signed,
    ocmf_key_from,
    ocmf_parts,
    ocmf_payload,
)
from agent.handover.receipt import ParsedRecord
from agent.handover.seals import GoodKey, Head
from agent.handover.shape import OCMF, OCMF_KEY


def check_ocmf(
    members: Mapping[str, bytes],
    head: Head,
    keys: Sequence[GoodKey],
    records: Sequence[ParsedRecord],
    *,
    receipts: Mapping[str, dict[str, Any]],
    findings: Findings,
) -> None:
    """Every OCMF record is worked out again; there is one for each closed purchase, or none."""
    names = sorted(name for name in members if name.startswith(OCMF) and name != OCMF_KEY)
    if not names and OCMF_KEY not in members:
        if receipts:
            findings.remark("No OCMF records are in it.")
        return
    public_der = _ocmf_key(members, head, keys, findings)
    if findings.is_any_record_faulty:
        findings.remark("The OCMF records were not compared, because not all records hold.")
        return
    closed = [name for name, receipt in receipts.items() if receipt["status"] == "closed"]
    pages: dict[str, int] = {}
    for name in names:
        try:
            wanted, page = _checked(members[name], public_der, head, records, receipts)
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
            findings.add(None, f"the OCMF record {name} does not hold: {error}")
            continue
        if wanted in pages:
            findings.add(None, f"the OCMF record {name} is there twice, for {wanted}")
        pages[wanted] = page
    for wanted in closed:
        if wanted not in pages:
            findings.add(None, f"the OCMF record of {wanted} in {OCMF} is missing")
    _check_pages(records, pages, findings)
    if pages:
        findings.remark(f"{len(pages)} OCMF records say what the records say ({OCMF_ALGORITHM}).")


def _ocmf_key(
    members: Mapping[str, bytes], head: Head, keys: Sequence[GoodKey], findings: Findings
) -> bytes:
    """The key of the OCMF records, for which a key of the log vouches; empty: there is none."""
    good = [key.key for key in keys if key.is_good_for(head.checkpoint.size)]
    try:
        note = parse_note(members.get(OCMF_KEY, b"").decode("utf-8", "replace"))
        public_der = ocmf_key_from(note.text, head.checkpoint.origin)
        verified_by(note, [key for key in good if key.algorithm == ED25519])
    except NoteError as error:
        findings.add(None, f"the file {OCMF_KEY} does not hold: {error}")
        return b""
    return public_der


def _checked(
    content: bytes,
    public_der: bytes,
    head: Head,
    records: Sequence[ParsedRecord],
    receipts: Mapping[str, dict[str, Any]],
) -> tuple[str, int]:
    """Of which purchase a record is, and its page. Raises ValueError and the like."""
    payload, page, signature = ocmf_parts(content.decode())
    wanted = json.loads(payload)["ID"]
    receipt = receipts.get(wanted)
    if receipt is None or receipt["status"] != "closed":
        raise ValueError(f"the purchase {wanted!r} has no receipt here, or is not closed")
    if ocmf_payload(records, receipt, page, head.checkpoint.origin) != payload:
        raise ValueError(f"it does not say what the records of {wanted} say")
    if not is_ocmf_signed(payload, signature, public_der):
        raise ValueError("it is not signed by the key of this log's OCMF records")
    return wanted, page


def _check_pages(
    records: Sequence[ParsedRecord], pages: Mapping[str, int], findings: Findings
) -> None:
    """Pages count the purchases in the order in which they were closed, without a gap."""
    closings: dict[str, int] = {}
    for record in records:
        if record["k"] == "ledger" and record["d"].get("event") == "closed":
            closings.setdefault(str(record["d"]["id"]), record["i"])
    there = {record["i"] for record in records}
    order = list(closings)
    paged = [name for name in order if name in pages]
    for one, other in pairwise(paged):
        steps = order.index(other) - order.index(one)
        apart = pages[other] - pages[one]
        is_whole = there.issuperset(range(closings[one], closings[other]))
        if apart < steps or (is_whole and apart != steps):
            words = f"the OCMF record of {other} has the page T{pages[other]}"
            findings.add(None, f"{words}, {apart} after that of {one} and not {steps}")
