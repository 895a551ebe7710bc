"""Signed notes, checkpoints and cosignatures: the C2SP formats, as text and bytes.

After c2sp.org/signed-note, tlog-checkpoint and tlog-cosignature (cosignature/v1). Parsing is
strict: what parses is written back as the same bytes. Signatures by unknown keys are ignored,
which is what lets a key be rotated by signing twice; a bad signature by a known key is an error.
"""

import base64
import binascii
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from agent.core.merkle import HASH_BYTES

ED25519 = 0x01
COSIGNATURE_V1 = 0x04

_NOTE_MAX_CHARS = 1_000_000
_SIGNATURES_MAX = 100
_ED25519_BYTES = 64
_KEY_ID_BYTES = 4
_TIME_BYTES = 8
_PREFIX = "— "

Sign = Callable[[bytes], bytes]


class NoteError(ValueError):
    """A note, checkpoint or key that is malformed, or a signature that does not verify."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with the name it signs under. ``algorithm`` is ED25519 or COSIGNATURE_V1."""

    name: str
    algorithm: int
    public_key: bytes
    key_id: bytes = field(init=False)
    _ed25519: Ed25519PublicKey = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not _is_name(self.name):
            raise NoteError(f"{self.name!r} is not a key name: no spaces, no plus, not empty")
        if self.algorithm not in (ED25519, COSIGNATURE_V1):
            raise NoteError(f"key {self.name} has the unknown algorithm {self.algorithm:#04x}")
        try:
            ed25519 = Ed25519PublicKey.from_public_bytes(self.public_key)
        except ValueError as error:
            raise NoteError(f"key {self.name} is not an Ed25519 public key") from error
        digest = sha256(self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public_key)
        object.__setattr__(self, "key_id", digest.digest()[:_KEY_ID_BYTES])
        object.__setattr__(self, "_ed25519", ed25519)

    @property
    def text(self) -> str:
        """The vkey: ``<name>+<8 hex digits>+<base64>``."""
        key = _encode(bytes([self.algorithm]) + self.public_key)
        return f"{self.name}+{self.key_id.hex()}+{key}"

    def is_signature(self, signature: bytes, message: bytes) -> bool:
        try:
            self._ed25519.verify(signature, message)
        except InvalidSignature:
            return False
        return True


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """One signature line. ``value`` is what follows the key id."""

    name: str
    key_id: bytes
    value: bytes

    @property
    def line(self) -> str:
        return f"{_PREFIX}{self.name} {_encode(self.key_id + self.value)}\n"

    def is_by(self, key: VerifierKey) -> bool:
        """Whether it claims to be by this key: name and key id agree."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A text, which ends with a line feed, and the signatures under it."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The head of a log: what its device says it holds."""

    origin: str
    size: int
    root: bytes

    def encode(self) -> str:
        return f"{self.origin}\n{self.size}\n{_encode(self.root)}\n"


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey. Raises NoteError, also where the key id is not that of the key."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3:
        raise NoteError("a verifier key is written <name>+<8 hex digits>+<base64>")
    name, key_id, encoded = parts
    raw = _decode(encoded, "verifier key")
    if not raw:
        raise NoteError(f"key {name} is empty")
    key = VerifierKey(name=name, algorithm=raw[0], public_key=raw[1:])
    if key.key_id.hex() != key_id:
        raise NoteError(f"key {name} has the id {key.key_id.hex()}, not {key_id}")
    return key


def parse_note(encoded: str) -> Note:
    """Read a signed note. Raises NoteError. Nothing is verified yet."""
    if len(encoded) > _NOTE_MAX_CHARS:
        raise NoteError("the note is longer than a million characters")
    if any(ord(char) < 0x20 and char != "\n" for char in encoded):
        raise NoteError("the note contains control characters")
    split_at = encoded.rfind("\n\n")
    if split_at < 0:
        raise NoteError("the note has no empty line before its signatures")
    text, block = encoded[: split_at + 1], encoded[split_at + 2 :]
    if not text.strip("\n") or not block.endswith("\n"):
        raise NoteError("the note is cut off")
    lines = block[:-1].split("\n")
    if len(lines) > _SIGNATURES_MAX:
        raise NoteError(f"the note has more than {_SIGNATURES_MAX} signatures")
    return Note(text=text, signatures=tuple(_parse_signature(line) for line in lines))


def parse_checkpoint(text: str) -> Checkpoint:
    """Read the text of a checkpoint note. Raises NoteError.

    Extension lines are allowed by tlog-checkpoint and refused here: our logs have none, and what
    is signed beyond the three lines would be a claim that nobody checks.
    """
    lines = text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise NoteError("a checkpoint is three lines: origin, size, root")
    origin, size, encoded_root, _ = lines
    if not origin:
        raise NoteError("the checkpoint has no origin")
    if not (size.isascii() and size.isdigit()) or (len(size) > 1 and size[0] == "0"):
        raise NoteError(f"the checkpoint's size {size[:30]!r} is not a plain decimal number")
    if len(size) > 19:
        raise NoteError("the checkpoint's size is beyond 64 bits")
    root = _decode(encoded_root, "checkpoint's root")
    if len(root) != HASH_BYTES:
        raise NoteError(f"the checkpoint's root has {len(root)} bytes instead of {HASH_BYTES}")
    return Checkpoint(origin=origin, size=int(size), root=root)


def sign_text(text: str, key: VerifierKey, sign: Sign) -> Note:
    """Sign a text with the private half of ``key``, which only ``sign`` knows."""
    signature = Signature(name=key.name, key_id=key.key_id, value=sign(text.encode()))
    return Note(text=text, signatures=(signature,))


def verified_by(note: Note, keys: Iterable[VerifierKey]) -> tuple[VerifierKey, ...]:
    """Which of the known Ed25519 keys signed the note.

    Raises NoteError where a signature that claims to be by a known key is not, and where none of
    them signed at all.
    """
    found = []
    for key in keys:
        for signature in note.signatures:
            if not signature.is_by(key):
                continue
            if not key.is_signature(signature.value, note.text.encode()):
                raise NoteError(f"the signature by {key.name} does not verify")
            found.append(key)
            break
    if not found:
        raise NoteError("the note is signed by none of the known keys")
    return tuple(found)


def cosignature_message(time_s: int, text: str) -> bytes:
    """What a witness signs at a POSIX time (tlog-cosignature, cosignature/v1)."""
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def cosigned_at_s(note: Note, witness: VerifierKey) -> int:
    """When the witness cosigned the note, POSIX seconds by its own clock.

    Raises NoteError where it did not, or where its cosignature does not verify.
    """
    if witness.algorithm != COSIGNATURE_V1:
        raise NoteError(f"key {witness.name} is not a cosigning key")
    for signature in note.signatures:
        if not signature.is_by(witness):
            continue
        if len(signature.value) != _TIME_BYTES + _ED25519_BYTES:
            raise NoteError(f"the cosignature by {witness.name} has the wrong length")
        time_s = int.from_bytes(signature.value[:_TIME_BYTES], "big")
        message = cosignature_message(time_s, note.text)
        if not witness.is_signature(signature.value[_TIME_BYTES:], message):
            raise NoteError(f"the cosignature by {witness.name} does not verify")
        return time_s
    raise NoteError(f"the note is not cosigned by {witness.name}")


def _parse_signature(line: str) -> Signature:
    if not line.startswith(_PREFIX):
        raise NoteError("a signature line does not start with an em dash and a space")
    name, _, encoded = line.removeprefix(_PREFIX).partition(" ")
    if not _is_name(name):
        raise NoteError("a signature line has no usable key name")
    raw = _decode(encoded, f"signature by {name}")
    if len(raw) <= _KEY_ID_BYTES:
        raise NoteError(f"the signature by {name} is too short")
    return Signature(name=name, key_id=raw[:_KEY_ID_BYTES], value=raw[_KEY_ID_BYTES:])


def _is_name(name: str) -> bool:
    return bool(name) and "+" not in name and not any(char.isspace() for char in name)


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")


def _decode(encoded: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(encoded, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"the {what} is not base64") from error
    if _encode(raw) != encoded:
        # Spare bits set in the last digit: two texts would stand for the same bytes.
        raise NoteError(f"the {what} is not canonical base64")
    return raw
