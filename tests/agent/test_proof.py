"""What others have to show, from the site's files to a real connection."""

import asyncio
import ssl
import subprocess
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

import pytest

from agent.control import ControlError, listening
from agent.keys import KeyFileError
from agent.proof import proof_of
from agent.settings_fields import Endpoint
from agent.settings_status import StatusSettings
from agent.status.server import StatusError, open_status_server, serve_status_on

TOKEN = "0123456789abcdef0123456789abcdef"
SOURCE = SimpleNamespace(view=lambda: None, is_healthy=lambda: True)


def secret(path: Path, text: str, mode: int = 0o600) -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def certificate(directory: Path, name: str) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    cert, key = directory / f"{name}.pem", directory / f"{name}.key"
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext"),
            *("subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", key, "-out", cert),
        ],
        check=True,
        capture_output=True,
        timeout=15,
    )
    key.chmod(0o600)
    return cert, key


async def asked(
    port: int, tls: ssl.SSLContext | None, *lines: str, name: str = "localhost"
) -> bytes:
    async with asyncio.timeout(8):
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=tls, server_hostname=tls and "localhost"
        )
        head = [
            "GET /healthz HTTP/1.1",
            f"Host: {name}:{port}",
            *lines,
            "Connection: close",
            "",
            "",
        ]
        try:
            writer.write("\r\n".join(head).encode())
            return await reader.read()
        finally:
            writer.close()


def test_a_token_is_the_first_line_of_its_file(tmp_path: Path) -> None:
    settings = StatusSettings(token_file=secret(tmp_path / "t", f"{TOKEN}\nnot this\n"))
    assert proof_of(settings).token == TOKEN.encode()
    assert proof_of(StatusSettings()).token is None


def test_a_token_that_others_can_read_or_guess_is_refused_with_the_way_out(tmp_path: Path) -> None:
    loose = secret(tmp_path / "loose", TOKEN, 0o640)
    with pytest.raises(KeyFileError, match="chmod 600"):
        proof_of(StatusSettings(token_file=loose))
    with pytest.raises(StatusError, match="openssl rand -hex 32"):
        proof_of(StatusSettings(token_file=secret(tmp_path / "short", "secret\n")))
    with pytest.raises(KeyFileError, match="does not exist"):
        proof_of(StatusSettings(token_file=tmp_path / "none"))


def test_a_token_that_systemd_hands_over_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    handed = secret(tmp_path / "status.token", TOKEN, 0o440)
    assert proof_of(StatusSettings(token_file=handed)).token == TOKEN.encode()


async def test_tls_shows_the_certificate_and_speaks_nothing_older_than_1_2(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    proof = proof_of(StatusSettings(tls_cert_file=cert, tls_key_file=key))
    async with open_status_server(SOURCE, "127.0.0.1", 0, proof=proof) as server:
        assert server.url.startswith("https://")
        trusting = ssl.create_default_context(cafile=str(cert))
        assert (await asked(server.port, trusting)).endswith(b"ok\n")
        old = ssl.create_default_context(cafile=str(cert))
        old.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
        with pytest.warns(DeprecationWarning, match="TLSv1_1"):
            old.maximum_version = ssl.TLSVersion.TLSv1_1
        with pytest.raises(ssl.SSLError):
            await asked(server.port, old)
        assert await asked(server.port, None) == b""


async def test_with_a_ca_of_clients_nobody_else_is_answered(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    own, own_key = certificate(tmp_path, "operator")
    stranger, stranger_key = certificate(tmp_path, "stranger")
    settings = StatusSettings(tls_cert_file=cert, tls_key_file=key, client_ca_file=own)
    async with open_status_server(SOURCE, "127.0.0.1", 0, proof=proof_of(settings)) as server:
        known = ssl.create_default_context(cafile=str(cert))
        known.load_cert_chain(own, own_key)
        assert (await asked(server.port, known)).endswith(b"ok\n")
        for chain in (None, (stranger, stranger_key)):
            other = ssl.create_default_context(cafile=str(cert))
            if chain is not None:
                other.load_cert_chain(*chain)
            try:
                received = await asked(server.port, other)
            except (ssl.SSLError, ConnectionError):
                received = b""
            assert received == b""


async def test_a_handshake_that_never_ends_is_dropped(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    proof = proof_of(StatusSettings(tls_cert_file=cert, tls_key_file=key))
    async with (
        asyncio.timeout(8),
        open_status_server(SOURCE, "127.0.0.1", 0, proof=proof, patience_s=0.3) as server,
    ):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"\x16\x03\x01\x02\x00\x01")
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.close()


def test_files_that_are_no_certificates_are_one_sentence(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path, "server")
    _, other = certificate(tmp_path, "other")
    garbage = secret(tmp_path / "garbage", "no PEM")
    for settings in (
        StatusSettings(tls_cert_file=garbage, tls_key_file=key),
        StatusSettings(tls_cert_file=cert, tls_key_file=other),
        StatusSettings(tls_cert_file=cert, tls_key_file=key, client_ca_file=garbage),
    ):
        with pytest.raises(StatusError, match=r"^The status page cannot use .+ together\.$"):
            proof_of(settings)


async def test_an_address_for_all_is_served_with_proof_and_names(tmp_path: Path) -> None:
    settings = StatusSettings(
        listen=Endpoint(host="0.0.0.0", port=0),
        hosts=("kwota.farm.example",),
        token_file=secret(tmp_path / "t", TOKEN),
    )
    proof = proof_of(settings)
    async with open_status_server(SOURCE, settings.listen.host, 0, proof=proof) as server:
        assert (await asked(server.port, None, name="kwota.farm.example")).endswith(b"ok\n")
        # The machine's own names count on loopback addresses only.
        assert b" 421 " in await asked(server.port, None, name="127.0.0.1")


async def test_the_pages_own_socket_shows_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "page.sock"
    with listening(path, "status.page_socket") as listener:
        assert path.stat().st_mode & 0o777 == 0o660
        async with asyncio.timeout(8), serve_status_on(SOURCE, listener):
            for line, status in (
                (b"GET /healthz", b" 200 "),
                (b"GET /control/v1/journal", b" 404 "),
                (b"POST /control/v1/transactions", b" 405 "),
            ):
                reader, writer = await asyncio.open_unix_connection(path)
                writer.write(line + b" HTTP/1.1\r\nHost: anything\r\nConnection: close\r\n\r\n")
                assert status in (await reader.read()).partition(b"\r\n")[0] + b" "
                writer.close()
    assert not path.exists()


def test_a_socket_in_no_folder_names_its_own_key(tmp_path: Path) -> None:
    with (
        pytest.raises(ControlError, match=r"status\.page_socket"),
        listening(tmp_path / "none" / "page.sock", "status.page_socket"),
    ):
        pass
