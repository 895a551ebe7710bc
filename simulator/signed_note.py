"""Signed notes, checkpoints and cosignatures (c2sp.org/signed-note, tlog-checkpoint,
tlog-cosignature), written from those specifications.
"""

import base64
import binascii
import hashlib
import os
import struct
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

ED25519 = 0x01
COSIGNATURE_V1 = 0x04
_MAX_NOTE_BYTES = 65_536
_MAX_SIGNATURES = 16


class NoteError(Exception):
    """A note, key or checkpoint that is not what it claims to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierKey:
    """A public key with its name: ``<name>+<key id>+<base64(algorithm, key)>``."""

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """First four bytes of SHA-256(name, newline, algorithm, key)."""
        text = self.name.encode() + b"\n" + bytes([self.algorithm]) + self.public
        return hashlib.sha256(text).digest()[:4]

    def text(self) -> str:
        """The vkey line."""
        encoded = base64.b64encode(bytes([self.algorithm]) + self.public).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A log's size and root, and the note that says so."""

    origin: str
    size: int
    root: bytes
    text: bytes
    note: bytes


def parse_vkey(text: str) -> VerifierKey:
    """Read a vkey. Raises NoteError."""
    parts = text.strip().split("+", 2)
    if len(parts) != 3 or not parts[0] or " " in parts[0]:
        raise NoteError("this is not a verifier key")
    try:
        raw = base64.b64decode(parts[2], validate=True)
    except (binascii.Error, ValueError):
        raise NoteError("the key in the verifier key is not base64") from None
    if len(raw) != 33:
        raise NoteError("the key in the verifier key has the wrong length")
    key = VerifierKey(name=parts[0], algorithm=raw[0], public=raw[1:])
    if key.key_id.hex() != parts[1]:
        raise NoteError("the key id in the verifier key does not belong to the key")
    return key


def open_checkpoint(note: bytes, *vkeys: VerifierKey) -> Checkpoint:
    """Check that all these keys have signed a checkpoint, and read it. Raises NoteError."""
    if len(note) > _MAX_NOTE_BYTES:
        raise NoteError("the note is too long")
    text, separator, tail = note.rpartition(b"\n\n")
    text += b"\n"
    if not separator or not tail.endswith(b"\n"):
        raise NoteError("the note has no signatures")
    lines = tail[:-1].split(b"\n")
    if len(lines) > _MAX_SIGNATURES:
        raise NoteError("the note has too many signatures")
    if not all(any(_is_signed(line, text, vkey) for line in lines) for vkey in vkeys):
        raise NoteError("the checkpoint is not signed by the registered key")
    return _checkpoint(text, note)


def _is_signed(line: bytes, text: bytes, vkey: VerifierKey) -> bool:
    prefix = f"— {vkey.name} ".encode()
    if not line.startswith(prefix):
        return False
    try:
        blob = base64.b64decode(line[len(prefix) :], validate=True)
    except (binascii.Error, ValueError):
        return False
    if blob[:4] != vkey.key_id or vkey.algorithm != ED25519:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(vkey.public).verify(blob[4:], text)
    except InvalidSignature:
        return False
    return True


def _checkpoint(text: bytes, note: bytes) -> Checkpoint:
    lines = text.split(b"\n")
    if len(lines) < 4:
        raise NoteError("the checkpoint has fewer than three lines")
    size_text = lines[1].decode("ascii", "replace")
    if not size_text.isdigit() or len(size_text) > 18 or str(int(size_text)) != size_text:
        raise NoteError("the size of the checkpoint is not a decimal number")
    try:
        root = base64.b64decode(lines[2], validate=True)
        origin = lines[0].decode()
    except (binascii.Error, ValueError):
        raise NoteError("origin or root of the checkpoint cannot be read") from None
    if len(root) != 32:
        raise NoteError("the root of the checkpoint has the wrong length")
    return Checkpoint(origin=origin, size=int(size_text), root=root, text=text, note=note)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cosigner:
    """The witness's key."""

    name: str
    private: Ed25519PrivateKey

    @property
    def vkey(self) -> VerifierKey:
        """Its public half."""
        public = self.private.public_key().public_bytes_raw()
        return VerifierKey(name=self.name, algorithm=COSIGNATURE_V1, public=public)

    def cosign(self, checkpoint: Checkpoint, at_unix_s: int) -> bytes:
        """The note with a cosignature/v1 line at its end."""
        message = b"cosignature/v1\ntime %d\n" % at_unix_s + checkpoint.text
        signature = self.private.sign(message)
        blob = self.vkey.key_id + struct.pack(">Q", at_unix_s) + signature
        line = f"— {self.name} {base64.b64encode(blob).decode()}\n".encode()
        return checkpoint.note + line


@dataclass(frozen=True, slots=True, kw_only=True)
class Signer:
    """A key that signs texts, such as purchases; never the one that cosigns."""

    name: str
    private: Ed25519PrivateKey

    @property
    def vkey(self) -> VerifierKey:
        """Its public half."""
        public = self.private.public_key().public_bytes_raw()
        return VerifierKey(name=self.name, algorithm=ED25519, public=public)

    def sign(self, text: str) -> bytes:
        """The text as a signed note."""
        raw = text.encode()
        blob = self.vkey.key_id + self.private.sign(raw)
        return raw + f"\n— {self.name} {base64.b64encode(blob).decode()}\n".encode()


def load_or_make_signer(path: Path, name: str) -> Signer:
    """As ``load_or_make_cosigner``. Raises NoteError."""
    return Signer(name=name, private=_load_or_make(path))


def load_or_make_cosigner(path: Path, name: str) -> Cosigner:
    """Read the witness's 32 byte seed (base64, one line), or make one; 0600. Raises NoteError."""
    return Cosigner(name=name, private=_load_or_make(path))


def _load_or_make(path: Path) -> Ed25519PrivateKey:
    if path.exists():
        try:
            seed = base64.b64decode(path.read_bytes().strip(), validate=True)
        except (OSError, binascii.Error, ValueError) as error:
            raise NoteError(f"{path}: the pool's key cannot be read: {error}") from error
        if len(seed) != 32:
            raise NoteError(f"{path}: the pool's key is not 32 bytes in base64")
        return Ed25519PrivateKey.from_private_bytes(seed)
    private = Ed25519PrivateKey.generate()
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(base64.b64encode(private.private_bytes_raw()) + b"\n")
    return private
