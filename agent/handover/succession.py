"""Whether the keys that a bundle lists vouch for each other, one after the other.

A record of the log names each key that came later, and a checkpoint over that record bears the
signatures of the keys before it and of its own. That checkpoint lies in the bundle; the proof of
the record leads to its root as well as to that of the newest one. So one key that is known from
elsewhere is enough. Part of the one-file verifier.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.merkle import leaf_hash, node_hash
from agent.core.note import (
    ED25519,
    NoteError,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verified_by,
)
from agent.handover.findings import Findings
from agent.handover.seals import GoodKey, Head
from agent.handover.shape import CHANGES, KEYS, PROOFS, RECORDS, parsed_record, proof_from


def check_succession(
    members: Mapping[str, bytes],
    keys: Sequence[GoodKey],
    known: VerifierKey | None,
    head: Head | None,
    findings: Findings,
) -> None:
    """Name each key of the log that no key which is ``known`` leads to. The records are proven."""
    own = [good for good in keys if good.key.algorithm == ED25519]
    if head is None or (len(own) < 2 and all(good.until is None for good in own)):
        return
    changes = _changes_in(members, head.checkpoint.size)
    notes = _notes_in(members.get(CHANGES, b""), findings)
    groups = [
        group
        for index, (data, root) in changes.items()
        if data.get("event") == "added" and index + 1 in notes
        if (group := _vouching(own, index, str(data.get("vkey")), notes[index + 1], root))
    ]
    trusted = {known or own[0].key}
    while more := [group for group in groups if group & trusted and group - trusted]:
        trusted.update(*more)
    for good in own:
        name = good.key.key_id.hex()
        if good.key not in trusted:
            findings.add(None, f"the key {name} in {KEYS} is vouched for by no key that is known")
        if good.until is None or good.until >= head.checkpoint.size:
            continue
        ending = changes.get(good.until, ({}, b""))[0]
        if (ending.get("event"), ending.get("vkey")) != ("retired", good.key.text):
            findings.add(None, f"no record says that the key {name} ended where {KEYS} says so")


def _vouching(
    own: Sequence[GoodKey], index: int, named: str, note_text: str, root: bytes
) -> set[VerifierKey]:
    """The keys that have signed together that record ``index`` names one of them; empty: none."""
    wanted = [good.key for good in own if good.is_good_for(index + 1)]
    try:
        note = parse_note(note_text)
        checkpoint = parse_checkpoint(note.text)
        signers = set(verified_by(note, wanted))
    except NoteError:
        return set()
    is_ours = (checkpoint.size, checkpoint.root) == (index + 1, root)
    is_named = any(
        good.key.text == named and good.since == index + 1 and good.key in signers for good in own
    )
    is_whole = signers == set(wanted) and all(key.name == checkpoint.origin for key in signers)
    return signers if is_ours and is_named and is_whole else set()


def _changes_in(
    members: Mapping[str, bytes], size: int
) -> dict[int, tuple[Mapping[str, Any], bytes]]:
    """What each record about keys says, and the root of the log that ends with it."""
    proofs = {}
    for line in members.get(PROOFS, b"").split(b"\n"):
        try:
            index, proof = proof_from(line)
        except (ValueError, LookupError, TypeError, RecursionError):
            continue  # named where the proofs are checked
        proofs[index] = proof
    changes = {}
    for line in members.get(RECORDS, b"").split(b"\n"):
        record = parsed_record(line) if b'"k":"key"' in line else None
        if record is not None and record["k"] == "key" and record["i"] in proofs:
            index = record["i"]
            root = _root_ending_with(leaf_hash(line), index, size, proofs[index])
            changes[index] = (record["d"], root)
    return changes


def _root_ending_with(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """The root of the tree whose last leaf this is: its own proof, without what came later."""
    node, last, value = index, size - 1, leaf
    for sibling in proof:
        if node & 1 or node == last:
            value = node_hash(sibling, value)
            while node and not node & 1:
                node, last = node >> 1, last >> 1
        node, last = node >> 1, last >> 1
    return value


def _notes_in(content: bytes, findings: Findings) -> dict[int, str]:
    """The checkpoints under which keys were changed, by their size."""
    notes = {}
    for number, line in enumerate(content.removesuffix(b"\n").split(b"\n") if content else [], 1):
        try:
            entry = json.loads(line)
            notes[int(entry["size"])] = str(entry["note"])
        except (ValueError, LookupError, TypeError, RecursionError):
            findings.add(None, f"line {number} of {CHANGES} is no checkpoint")
    return notes
