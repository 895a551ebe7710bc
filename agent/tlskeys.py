"""The key of the TLS connection to the pool: made on this machine, certified by the pool.

P-256, because every broker speaks it. It is not the log's key and must never sign a log. Only the
request (PKCS#10, RFC 2986) leaves the machine; what comes back is checked before it is used.
"""

import contextlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from agent.keys import KeyFileError, read_private_file, write_new
from agent.secondcopy import sync_directory

_CHAIN_MAX = 8
_COMMON_NAME_MAX = 64  # RFC 5280, appendix A.1: ub-common-name
_FILE_MAX_BYTES = 1_000_000

TlsKey = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


class CertificateError(Exception):
    """A certificate that does not fit; the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """Whom a certificate is for: one agent of one farm."""

    farm: str
    agent: str

    @property
    def name(self) -> str:
        return f"{self.farm}-{self.agent}"

    @property
    def uri(self) -> str:
        """The name in which farm and agent cannot be taken for each other."""
        return f"kwota:{self.farm}/{self.agent}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The key's files. ``is_new_key``, ``is_new``: what was made just now."""

    key_file: Path
    csr_file: Path
    is_new_key: bool
    is_new: bool


def request_certificate(key_file: Path, csr_file: Path, device: Device) -> Request:
    """Make the key and its request where they are missing. Raises KeyFileError."""
    is_new_key = not os.path.lexists(key_file)
    if is_new_key:
        _create_key(key_file)
    key = load_tls_key(key_file)
    is_new = not os.path.lexists(csr_file)
    if is_new:
        write_new(csr_file, _request_of(key, device), mode=0o644)
    elif not _is_request_of(csr_file, key, device):
        raise KeyFileError(
            f"{csr_file} is not a request of this device's key: move it away, or name another"
            " file with --csr."
        )
    return Request(key_file=key_file, csr_file=csr_file, is_new_key=is_new_key, is_new=is_new)


def load_tls_key(path: Path) -> TlsKey:
    """Read the key, which nobody else may read. Raises KeyFileError."""
    try:
        key = serialization.load_pem_private_key(read_private_file(path), password=None)
    except (ValueError, TypeError) as error:
        raise KeyFileError(
            f"{path} is not an unencrypted PEM private key: move it away and run `kwota enroll`."
        ) from error
    if not isinstance(key, TlsKey):
        raise KeyFileError(
            f"{path} is no key that TLS can use here: move it away and run `kwota enroll`."
        )
    return key


def checked_certificate(
    content: bytes, *, key: TlsKey, authorities: bytes, now: datetime | None = None
) -> x509.Certificate:
    """The device's certificate, if it is one that the broker can take. Raises CertificateError.

    ``content`` and ``authorities`` are PEM: the certificate with what stands between it and the
    authorities that are trusted.
    """
    chain = _certificates(content, "the file")
    trusted = _certificates(authorities, "ca_file")
    moment = datetime.now(UTC) if now is None else now
    leaf = chain[0]
    if leaf.public_key() != key.public_key():
        raise CertificateError(
            "The certificate is for another key than this device's: have the pool sign the"
            " request that `kwota enroll` wrote."
        )
    for one in chain:
        _check_time(one, moment)
    if not _may_prove_a_client(leaf):
        raise CertificateError(
            "The certificate may not be used by a client: ask the pool for one with the extended"
            " key usage clientAuth."
        )
    _check_chain(leaf, chain[1:], trusted, moment)
    return leaf


def put_in_place(path: Path, content: bytes) -> bool:
    """Write the certificate, whole or not at all, for all to read. False: it is there already.

    Raises OSError.
    """
    if path.exists() and path.read_bytes() == content:
        return False
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    half = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fchmod(stream.fileno(), 0o644)
            os.fsync(stream.fileno())
        half.replace(path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            half.unlink()
        raise
    sync_directory(path.parent)
    return True


def read_pem(path: Path) -> bytes:
    """A public file. Raises CertificateError."""
    try:
        with path.open("rb") as file:
            return file.read(_FILE_MAX_BYTES)
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}.") from error


def _create_key(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    pem = ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    write_new(path, pem, mode=0o600)


def _subject(device: Device) -> x509.Name:
    common = x509.NameAttribute(NameOID.COMMON_NAME, device.name[:_COMMON_NAME_MAX])
    return x509.Name([common])


def _request_of(key: TlsKey, device: Device) -> bytes:
    names = x509.SubjectAlternativeName([x509.UniformResourceIdentifier(device.uri)])
    builder = x509.CertificateSigningRequestBuilder().subject_name(_subject(device))
    builder = builder.add_extension(names, critical=False)
    algorithm = None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm).public_bytes(serialization.Encoding.PEM)


def _is_request_of(path: Path, key: TlsKey, device: Device) -> bool:
    try:
        request = x509.load_pem_x509_csr(path.read_bytes())
        is_ours = request.public_key() == key.public_key() and request.is_signature_valid
        return bool(is_ours and request.subject == _subject(device))
    except (ValueError, TypeError):
        return False
    except OSError as error:
        raise KeyFileError(f"{path} cannot be read: {error.strerror}.") from error


def _certificates(content: bytes, where: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(content)
    except ValueError as error:
        raise CertificateError(f"There is no PEM certificate in {where}.") from error


def _check_time(one: x509.Certificate, moment: datetime) -> None:
    name = one.subject.rfc4514_string()
    if moment < one.not_valid_before_utc:
        since = f"{one.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise CertificateError(
            f"The certificate of {name} is valid only from {since} on: look at this controller's"
            " clock, or wait."
        )
    if moment > one.not_valid_after_utc:
        raise CertificateError(
            f"The certificate of {name} has expired on {one.not_valid_after_utc:%Y-%m-%d}: ask"
            " the pool for a new one."
        )


def _may_prove_a_client(leaf: x509.Certificate) -> bool:
    try:
        usage = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return True
    except ValueError as error:
        raise CertificateError(f"The certificate is malformed: {error}.") from error
    allowed = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    return not allowed.isdisjoint(usage)


def _check_chain(
    leaf: x509.Certificate,
    between: Sequence[x509.Certificate],
    trusted: Sequence[x509.Certificate],
    moment: datetime,
) -> None:
    """Follow the issuers up to one that is trusted. Raises CertificateError."""
    at = leaf
    for _ in range(_CHAIN_MAX):
        for issuer in trusted:
            if at == issuer or _has_issued(issuer, at):
                _check_time(issuer, moment)
                return
        above = next((one for one in between if one != at and _has_issued(one, at)), None)
        if above is None:
            break
        at = above
    raise CertificateError(
        f"The certificate was issued by {at.issuer.rfc4514_string() or 'nobody named'}, which does"
        " not lead to an authority in ca_file: add what stands between them to the file, or ask"
        " the pool which authority is theirs."
    )


def _has_issued(issuer: x509.Certificate, one: x509.Certificate) -> bool:
    """Whether it is an authority and has signed the other."""
    try:
        basic = issuer.extensions.get_extension_for_class(x509.BasicConstraints).value
        one.verify_directly_issued_by(issuer)
    except (x509.ExtensionNotFound, InvalidSignature, ValueError, TypeError):
        return False
    return basic.ca
