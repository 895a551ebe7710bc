"""Who signed a bundle's checkpoint: the keys that may, and their signatures.

A key is good for a range of sizes of the log and not for a span of time: clocks can be set, the
size of a log cannot. Part of the one-file verifier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from agent.core.note import (
    COSIGNATURE_V1,
    ED25519,
    Checkpoint,
    Note,
    NoteError,
    VerifierKey,
    cosigned_at_s,
    parse_checkpoint,
    parse_note,
    parse_vkey,
    verified_by,
)
from agent.handover.findings import Findings
from agent.handover.shape import CHECKPOINT, KEYS, key_line

OWNERS = {ED25519: "the log", COSIGNATURE_V1: "the pool"}


@dataclass(frozen=True, slots=True, kw_only=True)
class GoodKey:
    """A key and the sizes of the log that it is good for. ``until`` None: without end."""

    since: int
    until: int | None
    key: VerifierKey

    def is_good_for(self, size: int) -> bool:
        return self.since <= size and (self.until is None or size <= self.until)


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The checkpoint, and when the pool had it by its own clock (None: not proven)."""

    checkpoint: Checkpoint
    cosigned_at_s: int | None


def keys_of(
    text: str, given: Mapping[int, VerifierKey | None], findings: Findings
) -> list[GoodKey]:
    """The keys to verify with: those given, or else what the bundle itself says."""
    listed = [key for line in text.splitlines() if (key := _key_from(line, findings)) is not None]
    found: list[GoodKey] = []
    for algorithm, wanted in given.items():
        owner = OWNERS[algorithm]
        own = [good for good in listed if good.key.algorithm == algorithm]
        if wanted is None:
            found += own
            for good in own:
                fingerprint = sha256(good.key.text.encode()).hexdigest()
                findings.remark(
                    f"The key of {owner} was taken from the bundle itself: compare its"
                    f" fingerprint {fingerprint} with the pool's register."
                )
        elif same := [good for good in own if good.key == wanted]:
            found += same
        else:
            findings.add(None, f"{KEYS} does not name the key of {owner} that was given")
            found.append(GoodKey(since=0, until=None, key=wanted))
    return found


def head_of(text: str, keys: Sequence[GoodKey], findings: Findings) -> Head | None:
    """The checkpoint with its signatures checked. None: there is none that can be read."""
    try:
        note = parse_note(text)
        checkpoint = parse_checkpoint(note.text)
    except NoteError as error:
        findings.add(None, f"{CHECKPOINT} cannot be read: {error}")
        return None
    good = [key.key for key in keys if key.is_good_for(checkpoint.size)]
    try:
        signers = verified_by(note, [key for key in good if key.algorithm == ED25519])
    except NoteError as error:
        findings.add(None, f"the log's signature of {CHECKPOINT} does not hold: {error}")
    else:
        if any(key.name != checkpoint.origin for key in signers):
            findings.add(None, f"{CHECKPOINT} is of another log than the key that signed it")
    if any(not any(one.is_by(key.key) for key in keys) for one in note.signatures):
        findings.add(None, f"{CHECKPOINT} has a signature by a key that {KEYS} does not name")
    pools = [key for key in good if key.algorithm == COSIGNATURE_V1]
    return Head(checkpoint=checkpoint, cosigned_at_s=_pool_time_s(note, pools, findings))


def _pool_time_s(note: Note, pools: Sequence[VerifierKey], findings: Findings) -> int | None:
    """The earliest time at which a pool had it."""
    times = []
    for key in pools:
        if not any(signature.is_by(key) for signature in note.signatures):
            continue
        try:
            times.append(cosigned_at_s(note, key))
        except NoteError as error:
            findings.add(None, f"the pool's signature of {CHECKPOINT} does not hold: {error}")
    if not times:
        findings.remark("No pool has cosigned this checkpoint: when it existed is not proven.")
    return min(times, default=None)


def _key_from(line: str, findings: Findings) -> GoodKey | None:
    try:
        since, until, text = line.split(" ")
        key = parse_vkey(text)
        good = GoodKey(since=int(since), until=None if until == "-" else int(until), key=key)
    except ValueError as error:
        findings.add(None, f"a line of {KEYS} is no key: {error}")
        return None
    if key_line(key, since=good.since, until=good.until) != line:
        findings.add(None, f"a line of {KEYS} is not written as it has to be")
    return good
