"""Writing a bundle: one zip that a stranger can check without us, our program or our machine.

Two passes over the log: which records are wanted, then their inclusion proofs. A page at a time
and off the event loop, so that a daemon can export itself. What does not lead to the root that was
signed is not handed over.
"""

import asyncio
import json
import os
import re
import zipfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from agent.core.merkle import leaf_hash
from agent.core.note import Checkpoint, NoteError, VerifierKey, parse_checkpoint, parse_note
from agent.core.prooftree import ProofTree, consistency_from
from agent.handover.ocmf import ocmf_payload, ocmf_text
from agent.handover.ocmfkey import OcmfSigner
from agent.handover.onefile import verifier_source
from agent.handover.page import page_of
from agent.handover.receipt import receipt_bytes, receipt_of
from agent.handover.selection import Selection, SelectionError, Wanted
from agent.handover.shape import (
    CHANGES,
    CHECKPOINT,
    COSIGNED,
    GROWTH,
    KEYS,
    OCMF,
    OCMF_KEY,
    PROOFS,
    README,
    RECEIPTS,
    RECORDS,
    SUMS,
    VERIFIER,
    checkpoint_fields,
    growth_file,
    key_line,
    proof_line,
    runs_of,
    sums_of,
)
from agent.handover.source import Source
from agent.keyring import ADDED, KeyRing, ring_from
from agent.logrows import SignedCheckpoint
from agent.records import is_of_kind

RECORDS_MAX = 200_000
BYTES_MAX = 400_000_000

_PAGE_BYTES = 1_000_000
_README = """Evidence of the log {origin}

{records} records: {runs}
of a log of {size} records, whose root the checkpoint signs.

records.ndjson   one record per line; a line without its line feed is exactly what was signed
proofs.ndjson    one line per record: the hashes that lead from it to the root (RFC 6962, 2.1.1)
checkpoint.note  the signed size and root (c2sp.org/tlog-checkpoint), by the device and, where it
                 had it already, by the pool (c2sp.org/tlog-cosignature)
cosigned.note, consistency.json  only where the pool had less of the log than that: what it had,
                 and the proof that the log grew out of it (RFC 6962, 2.1.2)
keys.txt         from size, to size (- is without end) and public key: compare them with the
                 pool's register
keychanges.ndjson  only where the log's key was changed: the checkpoints that both keys signed
receipts/        what became of each purchase, worked out from these records
{ocmf}
verify.py        checks all of this; needs Python 3.11 and the package cryptography, not kwota
SHA256SUMS       for `sha256sum -c SHA256SUMS`

    python3 verify.py BUNDLE.zip --key log.vkey --pool-key pool.vkey

What stands here was recorded by the device and not changed since; with the pool's signature also:
before the pool's time. {scope}
Nothing here says that the meter was right.
"""
_SCOPE_WHOLE = "Between the first and the last number of a run of records nothing was left out."
_SCOPE_PART = (
    "This is a selection: that nothing else concerned these purchases\n"
    "is shown only by an export of the whole span of time."
)
_OCMF = """\
ocmf/            of each closed purchase the register at both ends, in the Open Charge Metering
                 Format 1.4 (ECDSA-secp256r1-SHA256); ocmf/key.note names the key that signs
                 them, and the log's key vouches for it"""
_NO_OCMF = "                 (no OCMF records: they are signed by the agent alone)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What was written."""

    records: int
    size: int
    is_cosigned: bool
    transactions: tuple[str, ...]


async def export_zip(
    source: Source,
    file: Path,
    wanted: Wanted,
    *,
    device: VerifierKey,
    pool: VerifierKey | None,
    ocmf: OcmfSigner | None = None,
) -> Exported:
    """Write a bundle into a new file; with ``ocmf`` also what it signs.

    Raises SelectionError (what is wanted is not there, or too much), JournalError or LogError (the
    journal), OSError (FileExistsError where the file is there already).
    """
    newest = await source.newest_checkpoint(0, source.size)
    if newest is None:
        raise SelectionError("The log is empty.")
    selection = Selection(wanted)
    changes, at = list[tuple[int, bytes]](), 0
    async for page in _pages(source, newest.size):
        await asyncio.to_thread(selection.take, page)
        changes += [(at + n, line) for n, line in enumerate(page) if is_of_kind(line, "key")]
        at += len(page)
    indices, note = selection.indices(), newest.note
    cosigned = _size_of(source.cosigned_note)
    if selection.needed() < cosigned <= newest.size:
        note = source.cosigned_note
        indices = [index for index in indices if index < cosigned]
    _check_amount(len(indices))
    checkpoint = parse_checkpoint(parse_note(note).text)
    if checkpoint.origin != device.name:
        raise SelectionError(f"The log is {checkpoint.origin}, and the key is of {device.name}.")
    changes = [change for change in changes if change[0] < checkpoint.size]
    ring, change_notes = await _keys_of(source, device, changes)
    indices = sorted({*indices, *(index for index, _ in changes)})
    earlier = cosigned if 0 < cosigned < checkpoint.size else 0
    records, proofs, growth = await _proven(source, indices, checkpoint, earlier)
    content = _Content(
        checkpoint=checkpoint,
        note=note,
        records=records,
        proofs=proofs,
        cosigned_note=source.cosigned_note if earlier else "",
        growth=growth,
        transactions=tuple(selection.transactions()),
        pages=selection.pages(),
        ocmf=ocmf,
        is_part=bool(wanted.transactions),
        keys=tuple(
            key_line(key, since=since, until=until)
            for key, (since, until) in (
                *((key, ring.range_of(key)) for key in ring.keys),
                *((key, (0, None)) for key in (pool,) if key is not None),
            )
        ),
        change_notes=change_notes,
    )
    await asyncio.to_thread(_write, file, content)
    return Exported(
        records=len(records),
        size=checkpoint.size,
        is_cosigned=note == source.cosigned_note,
        transactions=content.transactions,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Content:
    """All that goes into one zip."""

    checkpoint: Checkpoint
    note: str
    records: dict[int, bytes]
    proofs: dict[int, tuple[bytes, ...]]
    cosigned_note: str
    growth: tuple[bytes, ...]
    transactions: tuple[str, ...]
    pages: dict[str, int]
    ocmf: OcmfSigner | None
    is_part: bool
    keys: tuple[str, ...]
    change_notes: tuple[SignedCheckpoint, ...]

    def members(self) -> dict[str, bytes]:
        members = {
            RECORDS: b"".join(line + b"\n" for line in self.records.values()),
            PROOFS: b"".join(proof_line(i, self.proofs[i]) + b"\n" for i in self.records),
            CHECKPOINT: self.note.encode(),
            KEYS: "".join(f"{line}\n" for line in self.keys).encode(),
            VERIFIER: verifier_source().encode(),
            README: _README.format(
                origin=self.checkpoint.origin,
                records=len(self.records),
                runs=runs_of(list(self.records)),
                size=self.checkpoint.size,
                ocmf=_NO_OCMF if self.ocmf is None else _OCMF,
                scope=_SCOPE_PART if self.is_part else _SCOPE_WHOLE,
            ).encode(),
        }
        if self.cosigned_note:
            members[COSIGNED] = self.cosigned_note.encode()
            members[GROWTH] = growth_file(self.growth)
        if self.change_notes:
            entries = [{"size": one.size, "note": one.note} for one in self.change_notes]
            members[CHANGES] = "".join(f"{json.dumps(entry)}\n" for entry in entries).encode()
        parsed = [json.loads(line) for line in self.records.values()]
        for number, name in enumerate(self.transactions, 1):
            receipt = receipt_of(parsed, name, checkpoint_fields(self.checkpoint))
            stem = f"{RECEIPTS}{number:03d}-{_file_name(name)}"
            members[f"{stem}.json"] = receipt_bytes(receipt)
            members[f"{stem}.html"] = page_of(receipt).encode()
            if self.ocmf is not None and receipt["status"] == "closed":
                page, origin = self.pages[name], self.checkpoint.origin
                payload = ocmf_payload(parsed, receipt, page, origin)
                text = ocmf_text(payload, self.ocmf.sign(payload.encode()))
                members[f"{stem.replace(RECEIPTS, OCMF, 1)}.ocmf"] = text.encode()
        if self.ocmf is not None:
            members[OCMF_KEY] = self.ocmf.key_note.encode()
        return {**members, SUMS: sums_of(members)}


async def _pages(source: Source, size: int) -> AsyncIterator[list[bytes]]:
    at = 0
    while at < size:
        page = (await source.read(at, _PAGE_BYTES))[: size - at]
        if not page:
            raise SelectionError(f"The journal has no record {at}: run `kwota verify` on it.")
        at += len(page)
        yield page


async def _keys_of(
    source: Source, device: VerifierKey, changes: Sequence[tuple[int, bytes]]
) -> tuple[KeyRing, tuple[SignedCheckpoint, ...]]:
    """The log's keys, and the checkpoints under which each later one was named."""
    said = [(index, json.loads(line)["d"]) for index, line in changes]
    try:
        ring = ring_from(device, said)
    except NoteError as error:
        raise SelectionError(
            f"The log's keys cannot be told ({error}): run `kwota verify`."
        ) from error
    if device not in ring.keys:
        raise SelectionError(f"The key {device.text} is none of those that signed the log.")
    notes = []
    for index in (index for index, data in said if data["event"] == ADDED):
        found = await source.newest_checkpoint(index, index + 1)
        if found is None:
            raise SelectionError(f"No checkpoint follows record {index}: run `kwota verify`.")
        notes.append(found)
    return ring, tuple(notes)


async def _proven(
    source: Source, indices: Sequence[int], checkpoint: Checkpoint, cosigned: int
) -> tuple[dict[int, bytes], dict[int, tuple[bytes, ...]], tuple[bytes, ...]]:
    """The wanted records, their proofs, and that the log grew out of the cosigned one (0: none).

    Raises SelectionError where they do not lead to the signed root.
    """
    wanted, records, total = set(indices), dict[int, bytes](), 0
    tree, last_cosigned = ProofTree({*indices, cosigned - 1}), b""

    def take(page: Sequence[bytes]) -> int:
        kept = {at: line for at, line in enumerate(page, tree.size) if at in wanted}
        records.update(kept)
        tree.extend(leaf_hash(line) for line in page)
        return sum(map(len, kept.values()))

    async for page in _pages(source, checkpoint.size):
        if tree.size < cosigned <= tree.size + len(page):
            last_cosigned = page[cosigned - 1 - tree.size]
        total += await asyncio.to_thread(take, page)
        if total > BYTES_MAX:
            raise SelectionError(f"That is more than {BYTES_MAX} bytes: take a shorter span.")
    root, proofs = await asyncio.to_thread(tree.finish)
    if root != checkpoint.root:
        raise SelectionError("The records do not lead to the signed root: run `kwota verify`.")
    growth: tuple[bytes, ...] = ()
    if cosigned:
        growth = consistency_from(cosigned, leaf_hash(last_cosigned), proofs[cosigned - 1])
    return records, proofs, growth


def _check_amount(count: int) -> None:
    if count > RECORDS_MAX:
        raise SelectionError(
            f"That is {count} records, more than the {RECORDS_MAX} of one bundle: take a shorter"
            " span, or export the whole log into a directory."
        )


def _size_of(note: str) -> int:
    """The size of the log that a note covers; 0 where there is no note."""
    try:
        return parse_checkpoint(parse_note(note).text).size
    except NoteError:
        return 0


def _file_name(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "_", name)[:60]


def _write(file: Path, content: _Content) -> None:
    """The zip, whole and on the disk, or nothing."""
    members = content.members()
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(descriptor, "w+b") as opened:
            with zipfile.ZipFile(opened, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in members.items():
                    archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
            opened.flush()
            os.fsync(opened.fileno())
    except BaseException:
        file.unlink()
        raise
