"""Brokers, sessions and messages of MQTT, and what goes wrong with them, named by what to do next.

Reason codes are those of MQTT 5 (OASIS, 2.4). Secrets come as paths, never as values.
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from paho.mqtt.reasoncodes import ReasonCode

from agent.settings import MqttSettings

NO_MATCHING_SUBSCRIBERS = 0x10

_NOT_AUTHORISED = frozenset({0x86, 0x87, 0x8C})
_QUOTA_EXCEEDED = frozenset({0x93, 0x96, 0x97})
_FAILURE = 0x80


class MqttError(Exception):
    """Base of what goes wrong between us and a broker."""


class UnreachableBrokerError(MqttError):
    """No connection, no TLS or no answer to CONNECT: try the next broker, or later."""


class ConnectionLostError(MqttError):
    """The connection has ended: everything unacknowledged is open again."""


class NoAnswerError(MqttError):
    """The broker took our packet and does not acknowledge it: give up the connection."""


class RefusedError(MqttError):
    """The broker said no, with a reason code of MQTT 5 (or its 3.1.1 counterpart)."""

    def __init__(self, sentence: str, *, reason_code: int) -> None:
        super().__init__(sentence)
        self.reason_code = reason_code


class NotAuthorisedError(RefusedError):
    """User, certificate or access list: a person has to change something."""


class QuotaExceededError(RefusedError):
    """The broker wants less: wait before sending more."""


class MqttFileError(MqttError):
    """A certificate, key or password file cannot be used: a person has to change something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broker:
    """Where a broker listens."""

    host: str
    port: int
    is_tls: bool

    def __str__(self) -> str:
        return f"{'mqtts' if self.is_tls else 'mqtt'}://{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """Files with what proves who we are. The password is the first line of its file."""

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str | None = None
    password_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message, in or out."""

    topic: str
    payload: bytes
    qos: int = 1
    is_retained: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """How to connect. ``version`` is "5" or "3.1.1".

    The session survives a loss for ``expiry_s``, with MQTT 5 alone: an older broker would keep it
    for ever. ``packet_max_bytes``: what the broker may send us at once (MQTT 5).
    """

    broker: Broker
    client_id: str
    version: str = "5"
    credentials: Credentials = Credentials()
    will: Message | None = None
    keepalive_s: int = 30
    connect_s: float = 10.0
    acknowledge_s: float = 20.0
    expiry_s: int = 0
    packet_max_bytes: int | None = None


def credentials_of(mqtt: MqttSettings) -> Credentials:
    """Who the agent is to its brokers, as the configuration has it."""
    return Credentials(
        ca_file=mqtt.ca_file,
        cert_file=mqtt.cert_file,
        key_file=mqtt.tls_key_file,
        username=mqtt.user,
        password_file=mqtt.password_file,
    )


def parse_broker(url: str) -> Broker:
    """Read ``mqtt://host[:port]`` or ``mqtts://host[:port]``. Raises ValueError."""
    parts = urlsplit(url)
    if parts.scheme not in ("mqtt", "mqtts") or not parts.hostname:
        raise ValueError(f"{url!r} is not a broker: write mqtt://host:port or mqtts://host:port")
    if parts.username or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError(f"{url!r} names more than a broker: only host and port belong there")
    is_tls = parts.scheme == "mqtts"
    port = parts.port or (8883 if is_tls else 1883)
    return Broker(host=parts.hostname, port=port, is_tls=is_tls)


def refuse(reason_code: int, what: str, packet: int) -> None:
    """Raise the RefusedError of a reason code; below 0x80 nothing was refused.

    ``packet`` is the packet type (``PacketTypes``) in which the code stood: it words the reason.
    """
    if reason_code >= _FAILURE:
        raise refusal(reason_code, what, packet)


def refusal(reason_code: int, what: str, packet: int) -> RefusedError:
    """The error for a reason code of 0x80 or above."""
    try:
        reason = ReasonCode(packet, identifier=reason_code).getName()
    except (KeyError, AssertionError):  # a code that this packet should not carry
        reason = "no reason that we know"
    sentence = f"{what}: {reason} ({reason_code:#04x})."
    if reason_code in _NOT_AUTHORISED:
        return NotAuthorisedError(sentence, reason_code=reason_code)
    if reason_code in _QUOTA_EXCEEDED:
        return QuotaExceededError(sentence, reason_code=reason_code)
    return RefusedError(sentence, reason_code=reason_code)
