"""Who signed a bundle's checkpoint: the keys that may, and their signatures.

A key is good for a range of sizes of the log and not for a span of time: clocks can be set, the
size of a log cannot. Part of the one-file verifier.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256

from agent.core.merkle import ProofError, verify_consistency
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
from agent.handover.shape import CHECKPOINT, COSIGNED, GROWTH, KEYS, growth_from, key_line

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
    """The checkpoint, and how far the pool had the log at which time by its own clock.

    ``cosigned_at_s`` None: nothing of the pool's is proven.
    """

    checkpoint: Checkpoint
    cosigned_size: int
    cosigned_at_s: int | None


def listed_one(given: Sequence[VerifierKey], members: Mapping[str, bytes]) -> VerifierKey | None:
    """Of a log's keys the first that the bundle names, else the first; None: none are given."""
    lines = members.get(KEYS, b"").decode("utf-8", "replace").split("\n")
    named = {line.rpartition(" ")[2] for line in lines}
    return next((key for key in given if key.text in named), given[0] if given else None)


def keys_of(
    text: str, given: Mapping[int, VerifierKey | None], findings: Findings
) -> list[GoodKey]:
    """The keys to verify with: those given, or else what the bundle itself says."""
    lines = text.removesuffix("\n").split("\n") if text else []
    listed = [key for line in lines if (key := _key_from(line, findings)) is not None]
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
            # The log's other keys are vouched for by this one: agent.handover.succession.
            found += own if algorithm == ED25519 else same
        else:
            findings.add(None, f"the file {KEYS} does not name the key of {owner} that was given")
            found.append(GoodKey(since=0, until=None, key=wanted))
    return found


def head_of(
    members: Mapping[str, bytes], keys: Sequence[GoodKey], findings: Findings
) -> Head | None:
    """The checkpoint with its signatures checked. None: there is none that can be read."""
    signed = _signed(members, CHECKPOINT, keys, findings)
    if signed is None:
        return None
    note, checkpoint = signed
    cosigned_size, cosigned_at_s = checkpoint.size, _pool_time_s(note, CHECKPOINT, keys, findings)
    if COSIGNED in members:
        earlier = _signed(members, COSIGNED, keys, findings)
        if earlier is not None and _has_grown(members, earlier[1], checkpoint, findings):
            cosigned_size = earlier[1].size
            cosigned_at_s = _pool_time_s(earlier[0], COSIGNED, keys, findings)
    if cosigned_at_s is None:
        cosigned_size = 0
        findings.remark("No pool has cosigned this log: when it existed is not proven.")
    elif cosigned_size < checkpoint.size:
        findings.remark(f"The pool has cosigned the log up to record {cosigned_size - 1}.")
    return Head(checkpoint=checkpoint, cosigned_size=cosigned_size, cosigned_at_s=cosigned_at_s)


def _signed(
    members: Mapping[str, bytes], name: str, keys: Sequence[GoodKey], findings: Findings
) -> tuple[Note, Checkpoint] | None:
    """A note that holds a checkpoint, with the log's own signature checked."""
    try:
        note = parse_note(members.get(name, b"").decode("utf-8", "replace"))
        checkpoint = parse_checkpoint(note.text)
    except NoteError as error:
        findings.add(None, f"the file {name} cannot be read: {error}")
        return None
    own = [key for key in keys if key.key.algorithm == ED25519]
    good = [key.key for key in own if key.is_good_for(checkpoint.size)]
    for key in own:
        if key.key not in good and any(one.is_by(key.key) for one in note.signatures):
            until = " and on" if key.until is None else f" to {key.until}"
            findings.add(
                None,
                f"the file {name} of size {checkpoint.size} is signed by the key"
                f" {key.key.key_id.hex()}, which is good for sizes {key.since}{until} only",
            )
    try:
        signers = verified_by(note, good)
    except NoteError as error:
        findings.add(None, f"the log's signature of {name} does not hold: {error}")
    else:
        for lacking in (key for key in good if key not in signers):
            key_id = lacking.key_id.hex()
            findings.add(None, f"the file {name} lacks the signature by the key {key_id}")
        if any(key.name != checkpoint.origin for key in signers):
            findings.add(None, f"the file {name} is of another log than the key that signed it")
    if any(not any(one.is_by(key.key) for key in keys) for one in note.signatures):
        findings.add(None, f"the file {name} has a signature by a key that {KEYS} does not name")
    return note, checkpoint


def _has_grown(
    members: Mapping[str, bytes], old: Checkpoint, new: Checkpoint, findings: Findings
) -> bool:
    """Whether the cosigned log is the beginning of the one that is proven."""
    try:
        if old.origin != new.origin:
            raise ProofError("they are of two logs")
        verify_consistency(
            old_size=old.size,
            old_root=old.root,
            size=new.size,
            root=new.root,
            proof=growth_from(members.get(GROWTH, b"")),
        )
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        findings.add(
            None, f"the file {GROWTH} does not lead from {COSIGNED} to {CHECKPOINT}: {error}"
        )
        return False
    return True


def _pool_time_s(note: Note, name: str, keys: Sequence[GoodKey], findings: Findings) -> int | None:
    """The earliest time at which a pool had it. None: no known pool has signed it."""
    times = []
    for key in (good.key for good in keys if good.key.algorithm == COSIGNATURE_V1):
        if not any(signature.is_by(key) for signature in note.signatures):
            continue
        try:
            times.append(cosigned_at_s(note, key))
        except NoteError as error:
            findings.add(None, f"the pool's signature of {name} does not hold: {error}")
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
