"""Evidence to hand over: exact record bytes, checkpoints, keys, in a directory of plain files.

Read page by page through the journal, so that a running daemon exports itself without stopping.
"""

import asyncio
import os
from pathlib import Path
from typing import IO

import orjson

from agent.core.note import VerifierKey
from agent.journal import Journal
from agent.keyring import ring_from
from agent.records import parse_record

_PAGE_BYTES = 1_000_000

_README = """Evidence of the log {origin}

records.ndjson      one record per line; a line without its line feed is exactly what was signed
checkpoints.ndjson  one signed checkpoint per line: its size and its note
checkpoint.note     the newest checkpoint as plain text
receipt.note        the newest checkpoint that the pool has cosigned (absent: none yet)
keys.txt            verifier keys (c2sp.org/signed-note): compare them with the pool's register

Verify with `kwota verify <this directory>`, or with openssl as docs/verify.md shows.
"""


async def export_bundle(
    journal: Journal, directory: Path, *, device: VerifierKey, pool: VerifierKey | None
) -> int:
    """Write everything up to now into a new directory. Returns how many records there are.

    Raises JournalError and OSError (FileExistsError where the directory is there already).
    """
    await asyncio.to_thread(directory.mkdir, mode=0o700)
    size = journal.size
    files = {name: directory / f"{name}.ndjson" for name in ("records", "checkpoints")}
    with files["records"].open("xb") as records, files["checkpoints"].open("xb") as checkpoints:
        await _copy_records(journal, size, records)
        newest = await _copy_checkpoints(journal, size, checkpoints)
    changes = [parse_record(line) async for line in journal.records_of(["key"])]
    keys = ring_from(device, [(change.index, change.data) for change in changes]).keys
    texts = {
        "checkpoint.note": newest,
        "receipt.note": journal.cosigned_note,
        "keys.txt": "".join(f"{key.text}\n" for key in (*keys, pool) if key is not None),
        "README.txt": _README.format(origin=device.name),
    }
    for name, text in texts.items():
        if text:
            await asyncio.to_thread(_write_synced, directory / name, text)
    return size


async def _copy_records(journal: Journal, size: int, file: IO[bytes]) -> None:
    at = 0
    while at < size:
        page = (await journal.read(at, _PAGE_BYTES))[: size - at]
        at += len(page)
        await asyncio.to_thread(file.write, b"".join(record + b"\n" for record in page))


async def _copy_checkpoints(journal: Journal, size: int, file: IO[bytes]) -> str:
    """Copy the checkpoints up to a size that is itself one. Returns the newest note."""
    at, newest = 0, ""
    while at < size:
        page = await journal.checkpoints_from(at + 1)
        page = [checkpoint for checkpoint in page if checkpoint.size <= size]
        if not page:
            break
        at, newest = page[-1].size, page[-1].note
        lines = (orjson.dumps({"size": entry.size, "note": entry.note}) for entry in page)
        await asyncio.to_thread(file.write, b"".join(line + b"\n" for line in lines))
    return newest


def _write_synced(path: Path, text: str) -> None:
    with path.open("x", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
