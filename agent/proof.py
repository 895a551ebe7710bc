"""What the status endpoint asks of those who come from elsewhere, read from the site's files."""

import ssl

from agent.keys import read_private_file
from agent.settings_status import StatusSettings
from agent.status.server import Proof, StatusError

TOKEN_BYTES_MIN = 16


def proof_of(status: StatusSettings) -> Proof:
    """Read token and certificates. Raises StatusError or KeyFileError with the way out."""
    return Proof(hosts=status.hosts, token=_token(status), tls=_tls(status))


def _token(status: StatusSettings) -> bytes | None:
    if status.token_file is None:
        return None
    token = read_private_file(status.token_file).partition(b"\n")[0].strip()
    if len(token) < TOKEN_BYTES_MIN:
        raise StatusError(
            f"The token in {status.token_file} is shorter than {TOKEN_BYTES_MIN} characters: make "
            "one with `openssl rand -hex 32` and write it into the file's first line."
        )
    return token


def _tls(status: StatusSettings) -> ssl.SSLContext | None:
    """TLS 1.2 or later; with a CA of clients nobody comes in without its certificate."""
    if status.tls_cert_file is None or status.tls_key_file is None:
        return None
    read_private_file(status.tls_key_file)  # refuses a key that others can read
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(status.tls_cert_file, status.tls_key_file)
        if status.client_ca_file is not None:
            context.load_verify_locations(cafile=status.client_ca_file)
            context.verify_mode = ssl.CERT_REQUIRED
    except (OSError, ValueError) as error:
        named = f"{status.tls_cert_file} with {status.tls_key_file}"
        if status.client_ca_file is not None:
            named += f", or {status.client_ca_file},"
        raise StatusError(
            f"The status page cannot use {named} for TLS ({error}): check that they are PEM "
            "and belong together."
        ) from error
    return context
