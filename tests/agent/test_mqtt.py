import asyncio
import datetime as dt
import gc
import ipaddress
import random
import socket
import ssl
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from agent.broker import (
    NO_MATCHING_SUBSCRIBERS,
    Broker,
    ConnectionLostError,
    Credentials,
    Message,
    MqttError,
    MqttFileError,
    NoAnswerError,
    NotAuthorisedError,
    RefusedError,
    Session,
    UnreachableBrokerError,
    parse_broker,
)
from agent.mqtt import connect


def session(port: int, client_id: str = "agent", **changes: object) -> Session:
    broker = Broker(host="127.0.0.1", port=port, is_tls="credentials" in changes)
    values: dict[str, object] = {"broker": broker, "client_id": client_id, **changes}
    return Session(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("version", ["5", "3.1.1"])
async def test_what_is_published_arrives_in_order(mosquitto, version: str) -> None:
    async with mosquitto() as broker, AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(
            connect(session(broker.port, "receiver", version=version))
        )
        sender = await stack.enter_async_context(connect(session(broker.port, version=version)))
        await receiver.subscribe("a/#")
        payloads = [b"%d" % number * 1000 for number in range(200)]
        async with asyncio.TaskGroup() as group:
            for payload in payloads:
                group.create_task(sender.publish(Message(topic="a/b", payload=payload)))
        received = [(await receiver.next_message()).payload for _ in payloads]
        assert received == payloads


async def test_the_reason_code_of_the_puback_is_told(mosquitto) -> None:
    async with mosquitto() as broker, connect(session(broker.port)) as connection:
        assert connection.receive_maximum == 20  # mosquitto's own max_inflight_messages
        nobody = Message(topic="nobody/listens", payload=b"x")
        assert await connection.publish(nobody) == NO_MATCHING_SUBSCRIBERS
        await connection.subscribe("nobody/#")
        assert await connection.publish(nobody) == 0
        assert (await connection.next_message()).payload == b"x"


async def test_a_message_that_the_access_list_forbids_is_an_error(mosquitto, tmp_path) -> None:
    (tmp_path / "acl").write_text("topic readwrite allowed/#\n")
    lines = ("allow_anonymous true", f"acl_file {tmp_path}/acl")
    async with mosquitto(*lines) as broker, connect(session(broker.port)) as connection:
        with pytest.raises(NotAuthorisedError, match="Not authorized") as caught:
            await connection.publish(Message(topic="forbidden", payload=b"x"))
        assert caught.value.reason_code == 0x87
        await connection.subscribe("allowed/#")
        assert await connection.publish(Message(topic="allowed/a", payload=b"x")) == 0


async def test_a_wrong_password_is_told_and_a_right_one_works(mosquitto, tmp_path: Path) -> None:
    password_file = tmp_path / "password"
    password_file.write_text("right\n")
    password_file.chmod(0o600)
    maker = await asyncio.create_subprocess_exec(
        "mosquitto_passwd", "-b", "-c", str(tmp_path / "users"), "edge", "right"
    )
    assert await maker.wait() == 0
    credentials = Credentials(username="edge", password_file=password_file)
    async with mosquitto("allow_anonymous false", f"password_file {tmp_path}/users") as broker:
        plain = Broker(host="127.0.0.1", port=broker.port, is_tls=False)
        for version in ("5", "3.1.1"):
            good = Session(broker=plain, client_id="a", credentials=credentials, version=version)
            async with connect(good):
                pass
        password_file.write_text("wrong\n")
        for version in ("5", "3.1.1"):
            bad = Session(broker=plain, client_id="a", credentials=credentials, version=version)
            with pytest.raises(NotAuthorisedError, match="refused the connection"):
                async with connect(bad):
                    pass
        password_file.chmod(0o644)
        with pytest.raises(MqttFileError, match="chmod 600"):
            async with connect(good):
                pass


async def test_everybody_learns_that_the_broker_has_gone_and_it_can_come_back(mosquitto) -> None:
    async with mosquitto() as broker:
        async with connect(session(broker.port)) as connection:
            await connection.subscribe("a")
            message, error, _ = await asyncio.gather(
                connection.next_message(),
                connection.ended(),
                broker.stop(),
                return_exceptions=True,
            )
            assert isinstance(message, ConnectionLostError)
            assert isinstance(error, ConnectionLostError)
            with pytest.raises(ConnectionLostError):
                await connection.publish(Message(topic="a", payload=b"x"))
            assert not connection.publish_latest(Message(topic="a", payload=b"x", qos=0))
        with pytest.raises(UnreachableBrokerError):
            async with connect(session(broker.port)):
                pass
        await broker.start()
        async with connect(session(broker.port)) as connection:
            assert await connection.publish(Message(topic="a", payload=b"x")) in (0, 0x10)


async def test_a_retained_state_and_a_will_are_left_behind(mosquitto) -> None:
    will = Message(topic="state", payload=b"offline", is_retained=True)
    async with mosquitto() as broker, AsyncExitStack() as stack:
        watcher = await stack.enter_async_context(connect(session(broker.port, "watcher")))
        agent = await stack.enter_async_context(connect(session(broker.port, "agent", will=will)))
        online = Message(topic="state", payload=b"online", is_retained=True)
        await agent.publish(online)
        await watcher.subscribe("state")
        assert await watcher.next_message() == online
        # Another session of the same name throws ours out: the broker sends the will.
        await stack.enter_async_context(connect(session(broker.port, "agent")))
        assert isinstance(await agent.ended(), ConnectionLostError)
        assert (await watcher.next_message()).payload == b"offline"


async def test_the_reason_with_which_a_broker_says_goodbye_is_told() -> None:
    async def server_shutting_down(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        await reader.read(1000)
        # CONNACK with Receive Maximum 7 and Maximum Packet Size 4096, then DISCONNECT 0x8B.
        writer.write(bytes.fromhex("200b0000082100072700001000e0028b00"))
        await reader.read()
        writer.close()

    server = await asyncio.start_server(server_shutting_down, "127.0.0.1", 0)
    async with server, connect(session(server.sockets[0].getsockname()[1])) as connection:
        assert (connection.receive_maximum, connection.packet_maximum_bytes) == (7, 4096)
        error = await connection.ended()
    assert isinstance(error, RefusedError)
    assert error.reason_code == 0x8B
    assert "shutting down" in str(error)


async def test_something_that_is_no_broker_is_given_up_on() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()
        await reader.read()
        writer.close()

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    for handler in (silent, garbage, rude):
        server = await asyncio.start_server(handler, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            with pytest.raises((UnreachableBrokerError, ConnectionLostError)):
                async with asyncio.timeout(5), connect(session(port, connect_s=0.3)):
                    pass


async def test_no_broken_packet_gets_past_the_connection() -> None:
    rng = random.Random(5)
    escaped: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: escaped.append(context))

    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        kind = rng.choice([0x20, 0x30, 0x32, 0x40, 0x90, 0xD0, 0xE0, rng.randrange(256)])
        body = rng.randbytes(rng.randrange(0, 20))
        writer.write(bytes.fromhex("2003000000") + bytes([kind, len(body)]) + body)
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        for _ in range(150):
            with suppress(MqttError):
                async with asyncio.timeout(3), connect(session(port)) as connection:
                    assert isinstance(await connection.ended(), MqttError)
    assert escaped == []


async def test_a_broker_that_stops_acknowledging_is_noticed(mosquitto) -> None:
    """A proxy that swallows what the broker says after the CONNACK."""
    async with mosquitto() as broker:

        async def proxy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", broker.port)
            up_writer.write(await reader.read(4096))
            writer.write(await up_reader.read(4096))
            await reader.read()
            up_writer.close()
            writer.close()

        server = await asyncio.start_server(proxy, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, connect(session(port, acknowledge_s=0.3)) as connection:
            with pytest.raises(NoAnswerError, match="does not acknowledge"):
                await connection.publish(Message(topic="a", payload=b"x"))


async def test_cancelling_while_dialling_leaves_nothing_behind() -> None:
    accepted = asyncio.Event()
    closed = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        accepted.set()
        await reader.read()
        closed.set()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]

    async def dial() -> None:
        async with connect(session(port)):
            pass

    async with server, asyncio.TaskGroup() as group:
        task = group.create_task(dial())
        await accepted.wait()
        task.cancel()
        async with asyncio.timeout(3):
            await closed.wait()


async def test_unread_messages_stay_with_the_broker(mosquitto) -> None:
    async with mosquitto() as broker, AsyncExitStack() as stack:
        receiver = await stack.enter_async_context(connect(session(broker.port, "receiver")))
        sender = await stack.enter_async_context(connect(session(broker.port)))
        await receiver.subscribe("a")
        for number in range(150):
            await sender.publish(Message(topic="a", payload=b"%d" % number))
        assert len(receiver._messages) <= 64
        received = [int((await receiver.next_message()).payload) for _ in range(150)]
        assert received == list(range(150))


class Authority:
    """A certificate authority that lives for one test."""

    def __init__(self, directory: Path, name: str) -> None:
        self.directory = directory
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.certificate = self._sign(self.name, self.key.public_key(), is_ca=True)
        self.file = directory / f"{name}.pem"
        self.file.write_bytes(self.certificate.public_bytes(serialization.Encoding.PEM))

    def _sign(self, subject: x509.Name, key: object, *, is_ca: bool) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)  # type: ignore[arg-type]
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - dt.timedelta(hours=1))
            .not_valid_after(now + dt.timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
                critical=False,
            )
        )
        return builder.sign(self.key, hashes.SHA256())

    def issue(self, name: str) -> tuple[Path, Path]:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        certificate = self._sign(subject, key.public_key(), is_ca=False)
        cert_file, key_file = self.directory / f"{name}.crt", self.directory / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        key_file.chmod(0o600)
        return cert_file, key_file


@pytest.mark.parametrize("tls_version", ["tlsv1.2", "tlsv1.3"])
async def test_tls_with_certificates_on_both_sides(
    mosquitto, tmp_path: Path, tls_version: str
) -> None:
    authority, stranger = Authority(tmp_path, "ca"), Authority(tmp_path, "stranger")
    server_cert, server_key = authority.issue("broker")
    cert_file, key_file = authority.issue("edge")
    lines = (
        "allow_anonymous true",
        f"cafile {authority.file}",
        f"certfile {server_cert}",
        f"keyfile {server_key}",
        "require_certificate true",
        f"tls_version {tls_version}",
    )
    good = Credentials(ca_file=authority.file, cert_file=cert_file, key_file=key_file)
    async with mosquitto(*lines) as broker:
        async with connect(session(broker.port, credentials=good)) as connection:
            await connection.subscribe("a")
            # Long enough that TLS holds several records when the socket was read once.
            payloads = [b"%d" % number * 20_000 for number in range(30)]
            async with asyncio.TaskGroup() as group:
                for payload in payloads:
                    group.create_task(connection.publish(Message(topic="a", payload=payload)))
            async with asyncio.timeout(5):
                assert [(await connection.next_message()).payload for _ in payloads] == payloads
        distrusting = Credentials(ca_file=stranger.file, cert_file=cert_file, key_file=key_file)
        with pytest.raises(UnreachableBrokerError, match="does not vouch for"):
            async with connect(session(broker.port, credentials=distrusting)):
                pass
        gc.collect()  # a socket that was left open would warn here
        nameless = Credentials(ca_file=authority.file)
        with pytest.raises((UnreachableBrokerError, ConnectionLostError)):
            async with connect(session(broker.port, credentials=nameless, connect_s=2.0)):
                pass
        key_file.chmod(0o640)
        with pytest.raises(MqttFileError, match="chmod 600"):
            async with connect(session(broker.port, credentials=good)):
                pass


async def test_many_packets_in_one_tls_record_are_all_read(tmp_path: Path) -> None:
    """What TLS has decrypted no longer makes the socket readable."""
    authority = Authority(tmp_path, "ca")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*authority.issue("broker"))
    count = 200

    async def burst(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        connack = bytes.fromhex("2003000000")
        publish = bytes.fromhex("30050001610078")  # topic a, no properties, payload x
        writer.write(connack + publish * count)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(burst, "127.0.0.1", 0, ssl=context)
    port = server.sockets[0].getsockname()[1]
    credentials = Credentials(ca_file=authority.file)
    async with server, connect(session(port, credentials=credentials)) as connection:
        async with asyncio.timeout(2):
            for _ in range(count):
                assert (await connection.next_message()).payload == b"x"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://127.0.0.1", "mqtt://127.0.0.1:1883"),
        ("mqtts://broker.pool.example", "mqtts://broker.pool.example:8883"),
        ("mqtt://broker:1", "mqtt://broker:1"),
    ],
)
def test_a_broker_is_read_from_its_url(url: str, expected: str) -> None:
    assert str(parse_broker(url)) == expected


@pytest.mark.parametrize(
    "url", ["broker", "http://b", "mqtt://", "mqtt://u:p@b", "mqtt://b/topic", "mqtt://b:99999"]
)
def test_what_is_no_broker_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError):
        parse_broker(url)


async def test_a_port_where_nobody_listens_is_unreachable() -> None:
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        with pytest.raises(UnreachableBrokerError, match="cannot be reached"):
            async with connect(session(reserved.getsockname()[1])):
                pass
