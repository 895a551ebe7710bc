"""The files of a handed-over bundle: their names, how each line is written, how it is read back.

Written in one way only, so that what parses can be compared byte for byte. Part of the one-file
verifier: it imports nothing but the standard library and the pure modules of the log.
"""

import base64
import binascii
import json
import zipfile
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from agent.core.merkle import HASH_BYTES
from agent.core.note import Checkpoint, VerifierKey
from agent.handover.receipt import ParsedRecord

RECORDS, PROOFS, SUMS = "records.ndjson", "proofs.ndjson", "SHA256SUMS"
CHECKPOINT, KEYS, README, VERIFIER = "checkpoint.note", "keys.txt", "README.txt", "verify.py"
COSIGNED, GROWTH = "cosigned.note", "consistency.json"
CHANGES = "keychanges.ndjson"
"""Only where the log's key was changed: the checkpoints that the old and the new key signed."""
RECEIPTS, OCMF = "receipts/", "ocmf/"
OCMF_KEY = "ocmf/key.note"
FIXED_FILES = frozenset({RECORDS, PROOFS, SUMS, CHECKPOINT, KEYS, README, VERIFIER})
GROWTH_FILES = frozenset({COSIGNED, GROWTH})
"""Only where the pool has cosigned an earlier checkpoint than the one that proves the records."""

BUNDLE_MAX_BYTES = 2_000_000_000
RUNS_MAX = 8


class BundleError(Exception):
    """What was given is no bundle that can be read at all."""


_UNREADABLE = (
    OSError,
    EOFError,
    zipfile.BadZipFile,
    zlib.error,
    RuntimeError,  # encrypted
    NotImplementedError,  # packed in a way that nobody reads
    ValueError,
    IndexError,
)


def is_bundle(path: Path) -> bool:
    """Whether it is, or once was, a bundle: a file that only bundles have is in it."""
    own = {PROOFS, SUMS, VERIFIER}
    if path.is_dir():
        return any((path / name).exists() for name in own)
    try:
        with zipfile.ZipFile(path) as archive:
            return not own.isdisjoint(archive.namelist())
    except _UNREADABLE:
        return False


def members_of(path: Path) -> dict[str, bytes]:
    """The files of a zip, or of a directory into which one was unpacked. Raises BundleError."""
    try:
        if path.is_dir():
            files = sorted(file for file in path.rglob("*") if file.is_file())
            return {file.relative_to(path).as_posix(): file.read_bytes() for file in files}
        with zipfile.ZipFile(path) as archive:
            infos = archive.infolist()
            names = Counter(info.filename for info in infos)
            if twice := sorted(name for name, count in names.items() if count > 1):
                raise BundleError(f"{path} holds {twice[0]} more than once.")
            if sum(info.file_size for info in infos) > BUNDLE_MAX_BYTES:
                raise BundleError(f"{path} unpacks to more than {BUNDLE_MAX_BYTES} bytes.")
            return {info.filename: archive.read(info) for info in infos if not info.is_dir()}
    except _UNREADABLE as error:
        raise BundleError(f"{path} is not a whole evidence bundle: {error}.") from error


def sums_of(members: Mapping[str, bytes]) -> bytes:
    """The file that ``sha256sum -c`` reads."""
    names = sorted(name for name in members if name != SUMS)
    return "".join(f"{sha256(members[name]).hexdigest()}  {name}\n" for name in names).encode()


def key_line(key: VerifierKey, *, since: int, until: int | None) -> str:
    """A line of keys.txt: the sizes of the log that the key is good for, and the key."""
    return f"{since} {'-' if until is None else until} {key.text}"


def proof_line(index: int, proof: Sequence[bytes]) -> bytes:
    """A line of proofs.ndjson: the hashes beside a leaf's way to the root, from below."""
    hashes = ",".join(f'"{base64.b64encode(node).decode("ascii")}"' for node in proof)
    return f'{{"i":{index},"proof":[{hashes}]}}'.encode()


def growth_file(proof: Sequence[bytes]) -> bytes:
    """consistency.json: that the cosigned log is the beginning of the one that is proven."""
    hashes = ",".join(f'"{base64.b64encode(node).decode("ascii")}"' for node in proof)
    return f'{{"proof":[{hashes}]}}\n'.encode()


def growth_from(content: bytes) -> tuple[bytes, ...]:
    """Read back ``growth_file``. Raises ValueError, LookupError or TypeError."""
    hashes = _hashes_from(json.loads(content)["proof"])
    if growth_file(hashes) != content:
        raise ValueError("it is not written as it has to be")
    return hashes


def checkpoint_fields(checkpoint: Checkpoint) -> dict[str, Any]:
    """A checkpoint as it stands in receipts."""
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "root": base64.b64encode(checkpoint.root).decode("ascii"),
    }


def runs_of(indices: Sequence[int]) -> str:
    """Ascending indices as text: ``3, 5-9``; where they are too scattered to be read, how many."""
    runs: list[list[int]] = []
    for index in indices:
        if runs and index == runs[-1][1] + 1:
            runs[-1][1] = index
        else:
            runs.append([index, index])
    if len(runs) > RUNS_MAX:
        return f"{len(indices)} between {indices[0]} and {indices[-1]}, in {len(runs)} runs"
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)


def proof_from(line: bytes) -> tuple[int, tuple[bytes, ...]]:
    """Read back ``proof_line``. Raises ValueError, LookupError or TypeError."""
    fields = json.loads(line)
    index = fields["i"]
    hashes = _hashes_from(fields["proof"])
    if type(index) is not int:
        raise ValueError("its index is no number")
    if proof_line(index, hashes) != line:
        raise ValueError("it is not written as it has to be")
    return index, hashes


def _hashes_from(texts: Sequence[str]) -> tuple[bytes, ...]:
    try:
        hashes = tuple(base64.b64decode(text, validate=True) for text in texts)
    except binascii.Error as error:
        raise ValueError("a hash is not base64") from error
    if any(len(node) != HASH_BYTES for node in hashes):
        raise ValueError("a hash has the wrong length")
    return hashes


def parsed_record(line: bytes) -> ParsedRecord | None:
    """A record with the fields that are needed here. None: it is none."""
    try:
        record = json.loads(line)
        numbers = [record[name] for name in ("i", "b", "m", "t", "e")]
        words = [record[name] for name in ("k", "q", "s", "st")]
        is_one = all(type(number) is int for number in numbers)
        is_one = is_one and all(type(word) is str for word in words)
        is_one = is_one and isinstance(record["d"], dict)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None
    return record if is_one else None
