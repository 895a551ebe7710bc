"""TLS to the broker: version 1.3 or a sentence that says so."""

import asyncio
import socket
import ssl
import subprocess
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from agent.broker import Broker, Credentials, MqttError, Session, UnreachableBrokerError
from agent.mqtt import connect


def certified(directory: Path, latest: ssl.TLSVersion) -> ssl.SSLContext:
    """A server that speaks TLS up to a version; its certificate is its own authority."""
    command = ["openssl", "req", "-x509", "-nodes", "-newkey", "ec", "-days", "9"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", "a.key", "-out", "a.pem"]
    subprocess.run(command, cwd=directory, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "a.pem", directory / "a.key")
    context.maximum_version = latest
    return context


@pytest.mark.parametrize("latest", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_broker_without_tls_1_3_is_told_apart_from_one_that_has_it(
    tmp_path: Path, latest: ssl.TLSVersion
) -> None:
    spoken: list[str | None] = []
    context = certified(tmp_path, latest)
    listener = socket.create_server(("127.0.0.1", 0))

    def greet() -> None:
        plain, _ = listener.accept()
        with plain, suppress(ssl.SSLError), context.wrap_socket(plain, server_side=True) as spoke:
            spoken.append(spoke.version())

    port = listener.getsockname()[1]
    greeter = threading.Thread(target=greet)
    greeter.start()
    session = Session(
        broker=Broker(host="127.0.0.1", port=port, is_tls=True),
        client_id="kwota-farm-1-edge-1",
        credentials=Credentials(ca_file=tmp_path / "a.pem"),
        connect_s=2.0,
    )
    with listener, pytest.raises(MqttError) as ended:
        async with connect(session):
            pass
    await asyncio.to_thread(greeter.join)
    if latest is ssl.TLSVersion.TLSv1_3:
        assert spoken == ["TLSv1.3"]
        assert "TLS" not in str(ended.value)
    else:
        assert spoken == []
        assert isinstance(ended.value, UnreachableBrokerError)
        assert "does not speak TLS 1.3: have the broker allow it" in str(ended.value)
