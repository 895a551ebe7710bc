"""The log's signing key: made on this machine, read from a file that only its owner can read.

The file is PKCS#8 PEM, so that ``openssl pkey -in log.key -pubout`` reads it. The private half
never leaves ``LogKey``; it is not the TLS key and must never be used as one.
"""

import os
import stat
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from agent.core.note import ED25519, NoteError, VerifierKey, parse_vkey

_KEY_FILE_MAX_BYTES = 16_384


class KeyFileError(Exception):
    """A key file that cannot or must not be used; the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogKey:
    """The signing key of one log. The key's name is the log's origin.

    ``successor`` is the key that follows on it, where a change of keys is under way.
    """

    verifier: VerifierKey
    _private: Ed25519PrivateKey = field(repr=False)
    successor: "LogKey | None" = None

    @property
    def origin(self) -> str:
        return self.verifier.name

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)

    def named(self, origin: str) -> "LogKey":
        """The same key under the name of another epoch of its log."""
        successor = None if self.successor is None else self.successor.named(origin)
        return replace(_log_key(self._private, origin), successor=successor)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """What a key is known by: hand the vkey to the pool, compare the fingerprint.

    ``is_new``: the key was made just now, and was not there before.
    """

    origin: str
    key_file: Path
    vkey_file: Path
    vkey: str
    fingerprint: str
    is_new: bool


def enroll(key_file: Path, origin: str) -> Enrolment:
    """The log's key and, beside it, its public ``.vkey``; made where there is none yet.

    A key that is there is never replaced. Raises KeyFileError.
    """
    is_new = not os.path.lexists(key_file)
    if is_new:
        key_file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = create_log_key(key_file, origin) if is_new else load_log_key(key_file, origin)
    vkey_file = key_file.with_suffix(".vkey")
    if not vkey_file.exists():
        write_new(vkey_file, (key.verifier.text + "\n").encode(), mode=0o644)
    elif key.verifier not in load_vkeys(vkey_file):
        raise KeyFileError(f"{vkey_file} does not name the key in {key_file}: move it away.")
    return Enrolment(
        origin=origin,
        key_file=key_file,
        vkey_file=vkey_file,
        vkey=key.verifier.text,
        fingerprint=fingerprint(key.verifier),
        is_new=is_new,
    )


def successor_file(key_file: Path) -> Path:
    """Where the key lies that is to follow on the one in ``key_file``."""
    return key_file.with_name(f"{key_file.stem}.next{key_file.suffix}")


def load_log_keys(path: Path, origin: str) -> LogKey:
    """The log's key with its successor, if there is one. Raises KeyFileError."""
    key, following = load_log_key(path, origin), successor_file(path)
    if not os.path.lexists(following):
        return key
    return replace(key, successor=load_log_key(following, origin))


def create_log_key(path: Path, origin: str) -> LogKey:
    """Make a key and write it to a new file with mode 0600. Raises KeyFileError."""
    private = Ed25519PrivateKey.generate()
    key = _log_key(private, origin)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new(path, pem, mode=0o600)
    return key


def load_log_key(path: Path, origin: str) -> LogKey:
    """Read a key that ``create_log_key`` wrote. Raises KeyFileError."""
    if not path.exists():
        raise KeyFileError(f"{path} does not exist; make the key with `kwota enroll`.")
    pem = read_private_file(path)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            f"{path} is not an unencrypted PEM private key; make one with `kwota enroll`."
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(
            f"{path} holds another kind of key than Ed25519; make one with `kwota enroll`."
        )
    return _log_key(private, origin)


def load_vkey(path: Path) -> VerifierKey:
    """Read a public verifier key, such as the pool's; the first of several. Raises KeyFileError."""
    return load_vkeys(path)[0]


def load_vkeys(path: Path) -> tuple[VerifierKey, ...]:
    """Read public verifier keys, one a line, the oldest first. Raises KeyFileError."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise KeyFileError(f"{path} does not exist; get the verifier key from the pool.") from error
    except (OSError, UnicodeDecodeError) as error:
        raise KeyFileError(f"{path} cannot be read as a verifier key: {error}.") from error
    try:
        return tuple(parse_vkey(line) for line in text.strip().splitlines() or [""])
    except NoteError as error:
        raise KeyFileError(f"{path} holds no verifier key: {error}.") from error


def fingerprint(key: VerifierKey) -> str:
    """SHA-256 of the vkey in groups of four hex digits, to be read aloud."""
    digest = sha256(key.text.encode()).hexdigest()
    return " ".join(digest[at : at + 4] for at in range(0, len(digest), 4))


def read_private_file(path: Path) -> bytes:
    """Read a secret that nobody else may read. Raises KeyFileError, also where others may."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise KeyFileError(
            f"{path} does not exist; correct the path in the configuration."
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be opened: {error.strerror}.") from error
    try:
        _refuse_loose(path, os.fstat(descriptor))
        return os.read(descriptor, _KEY_FILE_MAX_BYTES)
    finally:
        os.close(descriptor)


def _log_key(private: Ed25519PrivateKey, origin: str) -> LogKey:
    public = private.public_key().public_bytes_raw()
    try:
        verifier = VerifierKey(name=origin, algorithm=ED25519, public_key=public)
    except NoteError as error:
        raise KeyFileError(f"The log cannot be named {origin!r}: {error}.") from error
    return LogKey(verifier=verifier, _private=private)


def _refuse_loose(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise KeyFileError(f"{path} is not a regular file.")
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyFileError(
            f"{path} belongs to user {status.st_uid} and not to the one that runs this: run it as"
            " that user, or give the file away with chown."
        )
    # systemd grants credentials to the service by an ACL, which shows as a group mode.
    is_credential = str(path.parent) == os.environ.get("CREDENTIALS_DIRECTORY")
    loose = 0o037 if is_credential else 0o077
    if status.st_mode & loose:
        mode = stat.S_IMODE(status.st_mode)
        raise KeyFileError(f"{path} is open to others (mode {mode:04o}); run chmod 600 on it.")


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that must not exist yet, and make its name durable. Raises KeyFileError."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    except FileExistsError as error:
        raise KeyFileError(
            f"{path} exists already and is not replaced; move it away to make a new key."
        ) from error
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(descriptor)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
