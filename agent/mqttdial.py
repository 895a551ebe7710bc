"""Dialling a broker: files, TLS and CONNECT, on a thread that nobody has to join.

paho connects and shakes hands by blocking, and resolving a name may block for longer still.
"""

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Any

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from agent.broker import Broker, MqttError, MqttFileError, Session, UnreachableBrokerError
from agent.keys import KeyFileError, read_private_file

RECEIVE_MAXIMUM = 65_535  # MQTT 5, 3.2.2.3.3: where the broker names none

_OWN_RECEIVE_MAXIMUM = 64
_GRACE_S = 2.0
_OLDER_TLS = ("TLSV1_ALERT_PROTOCOL_VERSION", "UNSUPPORTED_PROTOCOL")


async def dial(session: Session) -> Client:
    """Open TCP and TLS on a thread of its own: paho's connect blocks, and names may too."""
    loop = asyncio.get_running_loop()
    dialled: asyncio.Future[Client] = loop.create_future()

    def run() -> None:
        try:
            outcome: Client | MqttError = _open_client(session)
        except MqttError as error:
            outcome = error
        with suppress(RuntimeError):  # the loop has ended, and the process with it
            loop.call_soon_threadsafe(settle, outcome)

    def settle(outcome: Client | MqttError) -> None:
        if isinstance(outcome, MqttError):
            if not dialled.done():
                dialled.set_exception(outcome)
        elif dialled.done():
            close_socket(outcome)
        else:
            dialled.set_result(outcome)

    threading.Thread(target=run, name="mqtt-dial", daemon=True).start()
    try:
        async with asyncio.timeout(session.connect_s + _GRACE_S):
            return await dialled
    except TimeoutError as error:
        raise UnreachableBrokerError(f"{session.broker} does not answer.") from error


def _open_client(session: Session) -> Client:
    """A client whose CONNECT is on its way. Raises MqttError."""
    broker, is_v5 = session.broker, session.version == "5"
    context = _load_tls(session) if broker.is_tls else None
    client = _make_client(session)
    if context is not None:
        client.tls_set_context(context)
    properties = None
    if is_v5:
        properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho leaves it untyped
        properties.SessionExpiryInterval = session.expiry_s
        properties.ReceiveMaximum = _OWN_RECEIVE_MAXIMUM
        if session.packet_max_bytes is not None:
            properties.MaximumPacketSize = session.packet_max_bytes
    try:
        client.connect(
            broker.host,
            broker.port,
            keepalive=session.keepalive_s,
            clean_start=not session.expiry_s if is_v5 else 3,
            properties=properties,
        )
    except (OSError, ValueError) as error:
        if context is not None and context.wrapped is not None:
            context.wrapped.close()
        raise _unreachable(broker, error) from error
    return client


def _unreachable(broker: Broker, error: OSError | ValueError) -> UnreachableBrokerError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return UnreachableBrokerError(
            f"{broker} has a certificate that ca_file does not vouch for: {error.verify_message}."
        )
    if isinstance(error, ssl.SSLError) and error.reason in _OLDER_TLS:
        return UnreachableBrokerError(
            f"{broker} does not speak TLS 1.3: have the broker allow it, or renew the broker."
        )
    return UnreachableBrokerError(f"{broker} cannot be reached: {error}.")


def _make_client(session: Session) -> Client:
    is_v5 = session.version == "5"
    client = Client(
        CallbackAPIVersion.VERSION2,
        client_id=session.client_id,
        clean_session=None if is_v5 else True,
        protocol=MQTTProtocolVersion.MQTTv5 if is_v5 else MQTTProtocolVersion.MQTTv311,
        reconnect_on_failure=False,
        manual_ack=True,
    )
    client.connect_timeout = session.connect_s
    client.max_inflight_messages_set(RECEIVE_MAXIMUM)
    if session.will is not None:
        will = session.will
        client.will_set(will.topic, will.payload, qos=will.qos, retain=will.is_retained)
    credentials = session.credentials
    if credentials.password_file is not None:
        try:
            secret = read_private_file(credentials.password_file).decode()
        except (KeyFileError, ValueError) as error:
            raise _unusable(session, error) from error
        client.username_pw_set(credentials.username, secret.partition("\n")[0])
    return client


def _load_tls(session: Session) -> "_TlsContext":
    try:
        return _tls_context(session)
    except (KeyFileError, OSError, ValueError) as error:
        raise _unusable(session, error) from error


def _unusable(session: Session, error: Exception) -> MqttFileError:
    return MqttFileError(f"The files for {session.broker} cannot be used: {error}")


class _TlsContext(ssl.SSLContext):
    """Remembers its socket: paho leaves one open whose handshake has failed."""

    wrapped: ssl.SSLSocket | None = None

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        self.wrapped = super().wrap_socket(*args, **options)
        return self.wrapped


def _tls_context(session: Session) -> _TlsContext:
    """A context that checks the broker's name and certificate, TLS 1.3."""
    credentials = session.credentials
    context = _TlsContext(ssl.PROTOCOL_TLS_CLIENT)
    if credentials.ca_file is None:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    else:
        context.load_verify_locations(cafile=credentials.ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if credentials.cert_file is not None:
        if credentials.key_file is not None:
            read_private_file(credentials.key_file)  # refuses a key that others can read
        context.load_cert_chain(credentials.cert_file, credentials.key_file)
    return context


def close_socket(client: Client) -> None:
    """Close what is left of a connection, without any callback."""
    sock = client.socket()
    client.on_socket_close = None
    client.on_socket_register_write = None
    client.on_socket_unregister_write = None
    if sock is not None:
        sock.close()
