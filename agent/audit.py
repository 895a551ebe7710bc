"""One pass over a log in the order of its commits, collecting what does not hold.

Where a record's stored leaf hash survives, the tree goes on with it: so every changed record is
named, instead of only the first commit with one.
"""

from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agent.core.merkle import Frontier, leaf_hash
from agent.core.note import (
    Checkpoint,
    NoteError,
    VerifierKey,
    parse_checkpoint,
    parse_note,
    verified_by,
)
from agent.keyring import KeyRing, ring_of
from agent.receipts import parse_receipt, verified_receipt_time_s
from agent.records import Record, RecordError, parse_record

_DEFECTS_MAX = 100
_ROOTS_MAX = 65_536


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """A record as it lies there, at ``row``. None: this form of the log has no such column."""

    row: int
    kind: str | None
    source: str | None
    body: bytes
    leaf: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Defect:
    """What does not hold. ``index`` is the record it is pinned to, None: the log as a whole."""

    index: int | None
    words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The result. ``cosigned_at_s`` is the pool's time of the newest receipt that holds."""

    origin: str
    size: int
    checkpoints: int
    boots: int
    root: str
    cosigned_size: int
    cosigned_at_s: int | None
    defects: tuple[Defect, ...]
    remarks: tuple[str, ...]

    @property
    def is_sound(self) -> bool:
        return not self.defects


class UnknownSignerError(NoteError):
    """No key that was given has signed, rightly or not: another one has to be given."""


class Audit:
    """Fed in order by ``agent.verify``: records, and each checkpoint after its last record.

    ``is_first_unsigned``: the first checkpoint has no good signature by a key that was given.
    """

    def __init__(
        self, *, devices: Sequence[VerifierKey], pool: VerifierKey | None, origin: str
    ) -> None:
        device = devices[0] if devices else None
        self._devices = devices
        self._ring: KeyRing | None = None
        self._checked_size = 0
        self._pool = pool
        self._origin = device.name if device is not None else origin
        self._defects: list[Defect] = []
        self._frontier = Frontier()
        self._open: list[tuple[int, bytes, bytes]] = []
        self._next = 0
        self._is_tree_lost = False
        self._roots: OrderedDict[int, Checkpoint] = OrderedDict()
        self._checkpoints = 0
        self._unknown: list[tuple[int, str]] = []
        self.is_first_unsigned = False
        self._boot = 0
        self._boottime_ns = 0
        self._cosigned_size = 0
        self._pool_time_s = 0
        self._epoch = ""
        self._counts: Counter[str] = Counter()
        if device is not None and origin and device.name != origin:
            self._add(None, f"the journal says it is {origin}, the key is that of {device.name}")

    def record(self, stored: StoredRecord) -> None:
        index = stored.row
        if index != self._next:
            self._add(self._next, f"records {self._next} to {index - 1} are missing")
            self._lose_tree()
        self._next = index + 1
        computed = leaf_hash(stored.body)
        leaf = computed if stored.leaf is None else stored.leaf
        self._open.append((index, leaf, computed))
        try:
            record = parse_record(stored.body)
        except RecordError as error:
            if leaf == computed:  # else the checkpoint's check names it already
                self._add(index, f"record {index} cannot be read: {error}")
            return
        self._check_place(stored, record)
        self._check_time(index, record)
        self._counts[record.kind] += 1
        self._counts["quality " + record.quality] += 1
        if record.kind == "key" and leaf == computed:
            self._change_keys(index, record.data)
        if record.kind == "ack" and leaf == computed:
            self._check_ack(index, str(record.data.get("note", "")))

    def checkpoint(self, size: int, note_text: str) -> None:
        """A stored checkpoint: all records below ``size`` have been handed over."""
        self._checkpoints += 1
        try:
            head = self._signed_head(note_text)
        except NoteError as error:
            self.is_first_unsigned |= self._checkpoints == 1
            if isinstance(error, UnknownSignerError):
                self._unknown.append((size, str(error)))
            else:
                self._add(None, f"the checkpoint of size {size} does not hold: {error}")
            return
        if head.size != size or (self._origin and head.origin != self._origin):
            self._add(None, f"the checkpoint stored for size {size} is another one's")
            return
        self._origin, self._checked_size = head.origin, head.size
        self._close_commit(head)
        self._roots[size] = head
        if len(self._roots) > _ROOTS_MAX:
            self._roots.popitem(last=False)

    def expect_size(self, size: int) -> None:
        if size != self._next:
            self._add(None, f"{self._next} records are there, and the journal says {size}")

    def expect_head(self, note_text: str) -> None:
        """What somebody else holds of this log: a checkpoint, or a receipt, of whatever size."""
        try:
            head = self._signed_head(note_text)
        except NoteError as error:
            self._add(None, f"the head to compare with does not hold: {error}")
            return
        own = self._roots.get(head.size)
        if head.origin != self._origin:
            self._add(None, f"the head to compare with is of {head.origin}")
        elif head.size > self._next:
            self._add(
                self._next,
                f"records {self._next} to {head.size - 1} were signed and are not there: the log"
                " was set back",
            )
        elif own is None or own.root != head.root:
            self._add(None, f"the log is not the one that was signed at size {head.size}")

    @property
    def keys(self) -> tuple[VerifierKey, ...]:
        """The keys that sign the log as far as it was read; empty: nobody's signature holds."""
        return () if self._ring is None else self._ring.keys

    def _signed_head(self, note_text: str) -> Checkpoint:
        """The head in a note of this device. Raises NoteError."""
        note = parse_note(note_text)
        head = parse_checkpoint(note.text)
        if self._ring is None and self._devices:
            if not any(one.is_by(key) for one in note.signatures for key in self._devices):
                raise UnknownSignerError(", ".join(one.key_id.hex() for one in note.signatures))
            self._ring = ring_of(verified_by(note, self._devices)[0])
        if self._ring is not None:
            self._ring.check(head.size, note)
        return head

    def _change_keys(self, index: int, data: Mapping[str, Any]) -> None:
        """Another key signs from here on. Believed, since the keys before it must sign it too."""
        if self._ring is None:
            if self._unknown:
                return  # it says who follows on a key that was not given
            self._ring = next(iter([ring_of(one) for one in self._devices]), None)
        try:
            self._ring = self._ring and self._ring.after(index, data, checked=self._checked_size)
        except NoteError as error:
            self._add(index, f"record {index} changes keys, and does not hold: {error}")

    def cannot_read(self, reason: str) -> None:
        self._add(self._next, f"the file cannot be read from record {self._next} on: {reason}")

    def report(self, cosigned_note: str) -> Report:
        """The end. ``cosigned_note`` is the receipt that the journal remembers, if it does."""
        if cosigned_note:
            self._check_ack(None, cosigned_note)
        self._name_unknown()
        if self._open:
            first = self._open[0][0]
            self._name_changed()
            if not self._unknown or first >= self._unknown[-1][0]:
                self._add(first, f"records from {first} on are under no checkpoint")
        return Report(
            origin=self._origin,
            size=self._next,
            checkpoints=self._checkpoints,
            boots=self._boot,
            root=self._frontier.root().hex(),
            cosigned_size=self._cosigned_size,
            cosigned_at_s=self._pool_time_s or None,
            defects=tuple(self._defects),
            remarks=self._remarks(),
        )

    def _name_unknown(self) -> None:
        """Once for all of them: who has not given the right key has to give one key."""
        if not self._unknown:
            return
        (first, signer), (last, _) = self._unknown[0], self._unknown[-1]
        self._add(
            None,
            f"{len(self._unknown)} checkpoints, of sizes {first} to {last}, are signed by none of"
            f" the known keys; give the one that this log began under, by its id {signer}",
        )

    def _close_commit(self, head: Checkpoint) -> None:
        """Compare the signed root with the tree, by stored leaf hashes first, then by bytes."""
        commit, self._open = self._open, []
        if self._is_tree_lost:
            self._open = commit
            self._name_changed()
            return
        if head.size != self._next:
            self._add(None, f"the checkpoint of size {head.size} has only {self._next} records")
            self._lose_tree()
            return
        changed = [index for index, leaf, computed in commit if leaf != computed]
        by_leaf = self._frontier.extend(leaf for _, leaf, _ in commit)
        by_bytes = self._frontier.extend(computed for _, _, computed in commit)
        if by_leaf.root() == head.root:
            self._frontier = by_leaf
            for index in changed:
                self._add(index, f"record {index} was changed after it was signed")
        elif by_bytes.root() == head.root:
            self._frontier = by_bytes
            for index in changed:
                self._add(index, f"the stored hash of record {index} was changed, its bytes not")
        else:
            for index in changed:
                self._add(index, f"record {index} and its stored hash do not belong together")
            first = commit[0][0] if commit else head.size
            self._add(first, f"records {first} to {head.size - 1} are not those that were signed")
            self._lose_tree()

    def _name_changed(self) -> None:
        """Without a tree to compare with, a record and its own hash still can be compared."""
        for index, leaf, computed in self._open:
            if leaf != computed:
                self._add(index, f"record {index} and its stored hash do not belong together")
        self._open = []

    def _lose_tree(self) -> None:
        if not self._is_tree_lost:
            self._is_tree_lost = True
            self._add(None, "later roots cannot be compared any more")

    def _check_place(self, stored: StoredRecord, record: Record) -> None:
        index = stored.row
        if record.index != index:
            self._add(index, f"record {index} says that it is record {record.index}")
        if stored.kind is not None and stored.kind != record.kind:
            self._add(index, f"record {index} is filed as {stored.kind} and is {record.kind}")
        if stored.source is not None and stored.source != record.source:
            self._add(index, f"record {index} is filed under {stored.source}, not its source")

    def _check_time(self, index: int, record: Record) -> None:
        if record.kind == "boot":
            if record.boot != self._boot + 1:
                self._add(index, f"record {index} starts boot {record.boot} after {self._boot}")
            self._boot, self._boottime_ns = record.boot, record.boottime_ns
            if record.data.get("previous_stop") == "unclean":
                self._counts["unclean stop"] += 1
            self._check_epoch(index, record.data.get("epoch"))
            return
        if record.boot != self._boot:
            self._add(index, f"record {index} is of boot {record.boot} within boot {self._boot}")
        if record.boottime_ns < self._boottime_ns:
            self._add(index, f"record {index} is older than the one before it")
        self._boottime_ns = max(self._boottime_ns, record.boottime_ns)

    def _check_epoch(self, index: int, epoch: Mapping[str, Any] | None) -> None:
        """A log of any epoch but the first says on which it follows, once and at once."""
        if index:
            if epoch is not None:
                self._add(index, f"record {index} opens an epoch in the middle of the log")
            return
        number = self._origin.rpartition("/")[2]
        told = "1" if epoch is None else str(epoch.get("number"))
        if number.isdecimal() and told != number:
            self._add(index, f"record {index} opens epoch {told}, and the log is epoch {number}")
        if epoch is not None:
            self._epoch = f"This is epoch {told} of the log: {epoch.get('words')}."

    def _check_ack(self, index: int | None, note: str) -> None:
        """A receipt lies between the records it covers and itself; the pool's time only rises."""
        where = "the newest receipt" if index is None else f"the receipt in record {index}"
        try:
            receipt = parse_receipt(note.encode())
        except NoteError as error:
            self._add(index, f"{where} does not hold: {error}")
            return
        claimed = receipt.claimed
        if index is not None and claimed.size > index:
            self._add(index, f"{where} covers records that are younger than itself")
            return
        own = self._roots.get(claimed.size)
        if own is None:
            self._counts["receipt not compared"] += 1
        elif self._pool is None:
            if own != claimed:
                self._add(index, f"{where} names another root than the checkpoint")
        else:
            try:
                self._pool_time_s = verified_receipt_time_s(
                    receipt, own=own, pool=self._pool, previous_s=self._pool_time_s
                )
            except NoteError as error:
                self._add(index, f"{where} does not hold: {error}")
            else:
                self._cosigned_size = max(self._cosigned_size, claimed.size)

    def _remarks(self) -> tuple[str, ...]:
        counts, remarks = self._counts, [self._epoch] if self._epoch else []
        if not self._devices:
            remarks.append("No verifier key was given: the log's own signatures were not checked.")
        if self._pool is None:
            remarks.append("No pool key was given: receipts were not checked.")
        if self._ring is not None and len(self._ring.spans) > 1:
            remarks += self._ring.words()
        for key, words in (
            ("unclean stop", "starts after an unclean stop"),
            ("gap", "gaps that the log itself declares"),
            ("clock", "records about the clock"),
            ("alarm", "alarms"),
            ("quality I", "records with an unsynchronised clock"),
            ("quality R", "records with a clock held after a step"),
            ("quality U", "records with an implausible clock"),
            ("receipt not compared", "receipts whose checkpoint is not at hand"),
        ):
            if counts[key]:
                remarks.append(f"{counts[key]} {words}.")
        return tuple(remarks)

    def _add(self, index: int | None, words: str) -> None:
        if len(self._defects) < _DEFECTS_MAX:
            self._defects.append(Defect(index=index, words=words[0].upper() + words[1:] + "."))
