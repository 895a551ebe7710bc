"""The key that signs OCMF records: ECDSA P-256, because that format knows no Ed25519.

A key of its own beside the log's key, made when it is first needed. The log's key vouches for it
in a signed note, so whoever knows the log's key knows this one too.
"""

import os
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.core.note import sign_text
from agent.handover.ocmf import ocmf_key_text
from agent.keys import KeyFileError, LogKey, read_private_file
from agent.settings import JournalSettings

FILE_NAME = "ocmf.key"


@dataclass(frozen=True, slots=True, kw_only=True)
class OcmfSigner:
    """Signs OCMF records of one log. ``key_note`` is the log's word for the public key."""

    key_note: str
    _private: ec.EllipticCurvePrivateKey = field(repr=False)

    def sign(self, payload: bytes) -> bytes:
        """The signature as DER."""
        return self._private.sign(payload, ec.ECDSA(hashes.SHA256()))


def ocmf_key_file(settings: JournalSettings) -> Path:
    """Beside the log's key, or beside the journal where the agent may not write there.

    A credential of systemd lies where nobody may write.
    """
    beside = settings.key_file.with_name(FILE_NAME)
    if beside.exists() or os.access(beside.parent, os.W_OK):
        return beside
    return settings.path.with_name(FILE_NAME)


def ocmf_signer(path: Path, log_key: LogKey) -> OcmfSigner:
    """Read the key, or make it where there is none. Raises KeyFileError."""
    private = _read(path) if path.exists() else _make(path)
    public_der = private.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    text = ocmf_key_text(log_key.origin, public_der)
    note = sign_text(text, log_key.verifier, log_key.sign)
    return OcmfSigner(key_note=note.encode(), _private=private)


def _read(path: Path) -> ec.EllipticCurvePrivateKey:
    pem = read_private_file(path)
    try:
        private = serialization.load_pem_private_key(pem, password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            f"{path} is not an unencrypted PEM private key; move it away to have a new one made."
        ) from error
    if not isinstance(private, ec.EllipticCurvePrivateKey) or private.curve.name != "secp256r1":
        raise KeyFileError(
            f"{path} holds another kind of key than ECDSA P-256; move it away to have one made."
        )
    return private


def _make(path: Path) -> ec.EllipticCurvePrivateKey:
    """A new key in a new file of mode 0600, there as a whole or not at all."""
    private = ec.generate_private_key(ec.SECP256R1())
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    try:
        descriptor, half = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(pem)
                file.flush()
                os.fsync(descriptor)
            path.hardlink_to(half)  # never in the place of a key that somebody made meanwhile
        finally:
            Path(half).unlink()
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except FileExistsError:
        return _read(path)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from error
    return private
