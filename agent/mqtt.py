"""MQTT for the event loop: a thin adapter over paho-mqtt 2.2, one client per connection.

paho's own loop is not used: the socket is watched by the event loop, and every callback runs on
it. A connection that is lost is thrown away together with everything paho still held, because
paho would send its whole queue again after a reconnect, past the broker's Receive Maximum
(eclipse paho.mqtt.python #492). What has to survive stands in the journal, not here.
"""

import asyncio
import ssl
import struct
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from paho.mqtt.client import (
    Client,
    ConnectFlags,
    DisconnectFlags,
    MQTTMessage,
)
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.exception import MQTTException
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from agent.broker import (
    ConnectionLostError,
    Message,
    MqttError,
    NoAnswerError,
    RefusedError,
    Session,
    UnreachableBrokerError,
    refusal,
    refuse,
)
from agent.mqttdial import RECEIVE_MAXIMUM, close_socket, dial

_FAILURE = 0x80
_MISC_S = 1.0
_DISCONNECT_S = 2.0
_READS_MAX = 64
_MESSAGES_MAX = 256
# What paho 2.2 raises where a packet is not what its first byte promises.
_BROKEN_PACKET = (
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    AssertionError,
    struct.error,
    MQTTException,
)


@asynccontextmanager
async def connect(session: Session) -> AsyncIterator["Connection"]:
    """Connect, and disconnect at the end. Raises MqttError."""
    client = await dial(session)
    connection = Connection(client, session)
    try:
        await connection.start()
        yield connection
    finally:
        await connection.stop()


class Connection:
    """One connection to one broker. Made by ``connect``; used from one event loop."""

    def __init__(self, client: Client, session: Session) -> None:
        self._client = client
        self._session = session
        self._loop = asyncio.get_running_loop()
        self._connected: asyncio.Future[None] = self._loop.create_future()
        self._ended = asyncio.Event()
        self._error: MqttError | None = None
        self._unacknowledged: dict[int, asyncio.Future[int]] = {}
        self._messages: deque[tuple[int, Message]] = deque()
        self._has_message = asyncio.Event()
        self._descriptor: int | None = None
        self._misc: asyncio.TimerHandle | None = None
        self.receive_maximum = RECEIVE_MAXIMUM
        self.packet_maximum_bytes: int | None = None

    async def publish(self, message: Message) -> int:
        """Send, and wait for the PUBACK where QoS is 1. Returns its reason code, below 0x80.

        Raises RefusedError (0x80 and above), NoAnswerError, ConnectionLostError. With version
        3.1.1 a broker cannot say no: 0 then means no more than received.
        """
        self._check_open()
        info = self._client.publish(
            message.topic, message.payload, qos=message.qos, retain=message.is_retained
        )
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise ConnectionLostError(f"{self._session.broker} takes no message: {info.rc.name}.")
        if message.qos == 0:
            return 0
        reason_code = await self._acknowledged(info.mid, f"the message to {message.topic}")
        refuse(
            reason_code,
            f"{self._session.broker} refused the message to {message.topic}",
            PacketTypes.PUBACK,
        )
        return reason_code

    def publish_latest(self, message: Message) -> bool:
        """Send with QoS 0 if nothing is waiting to be sent; else leave it out and say False."""
        if self._error is not None or self._client.want_write():
            return False
        info = self._client.publish(message.topic, message.payload, qos=0)
        return info.rc == MQTTErrorCode.MQTT_ERR_SUCCESS

    async def subscribe(self, topic: str, qos: int = 1) -> None:
        """Subscribe and wait for the SUBACK. Raises as ``publish`` does."""
        self._check_open()
        if self._session.version == "5":
            rc, mid = self._client.subscribe(topic, options=SubscribeOptions(qos=qos))
        else:
            rc, mid = self._client.subscribe(topic, qos)
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS or mid is None:
            raise ConnectionLostError(f"{self._session.broker} takes no subscription.")
        reason_code = await self._acknowledged(mid, f"the subscription to {topic}")
        refuse(
            reason_code,
            f"{self._session.broker} refused the subscription to {topic}",
            PacketTypes.SUBACK,
        )

    async def next_message(self) -> Message:
        """The next message in order. Raises MqttError at the end of the connection."""
        while not self._messages:
            self._check_open()
            self._has_message.clear()
            await self._has_message.wait()
        mid, message = self._messages.popleft()
        if message.qos:
            # Only now: unacknowledged ones stay with the broker, within our Receive Maximum.
            self._client.ack(mid, message.qos)
        return message

    async def ended(self) -> MqttError:
        """Wait for the end of the connection, and say why it ended."""
        await self._ended.wait()
        return self._error or ConnectionLostError("The connection is closed.")

    async def start(self) -> None:
        """Watch the socket and wait for the CONNACK. Part of ``connect``."""
        client, sock = self._client, self._client.socket()
        if sock is None:
            raise UnreachableBrokerError(f"{self._session.broker} closed the connection at once.")
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_socket_close = lambda *_: self._unwatch()
        client.on_socket_register_write = lambda *_: self._watch_write()
        client.on_socket_unregister_write = lambda *_: self._unwatch_write()
        self._descriptor = sock.fileno()
        self._loop.add_reader(self._descriptor, self._read)
        if client.want_write():
            self._watch_write()
        self._misc = self._loop.call_later(_MISC_S, self._tick)
        try:
            async with asyncio.timeout(self._session.connect_s):
                await self._connected
        except TimeoutError as error:
            raise UnreachableBrokerError(
                f"{self._session.broker} does not answer CONNECT; is it an MQTT broker?"
            ) from error

    async def stop(self) -> None:
        """Say goodbye if somebody still listens, and close. Part of ``connect``."""
        try:
            if self._error is None and self._descriptor is not None:
                self._client.disconnect()
                with suppress(TimeoutError):
                    async with asyncio.timeout(_DISCONNECT_S):
                        await self._ended.wait()
        finally:
            self._end(ConnectionLostError("The connection is closed."))
            close_socket(self._client)

    async def _acknowledged(self, mid: int, what: str) -> int:
        future: asyncio.Future[int] = self._loop.create_future()
        self._unacknowledged[mid] = future
        try:
            async with asyncio.timeout(self._session.acknowledge_s):
                return await future
        except TimeoutError as error:
            raise NoAnswerError(f"{self._session.broker} does not acknowledge {what}.") from error
        finally:
            self._unacknowledged.pop(mid, None)

    def _check_open(self) -> None:
        if self._error is not None:
            raise self._error

    def _end(self, error: MqttError) -> None:
        """The connection is over: everybody who waits learns why. Only the first reason counts."""
        self._unwatch()
        if self._misc is not None:
            self._misc.cancel()
        if self._error is None:
            self._error = error
        if not self._connected.done():
            self._connected.set_exception(self._error)
            self._connected.exception()  # it may be that nobody waits: that is no fault
        for future in self._unacknowledged.values():
            if not future.done():
                future.set_exception(self._error)
        self._client.drop_out_messages()
        self._has_message.set()
        self._ended.set()

    def _on_connect(
        self,
        _client: Client,
        _userdata: object,
        _flags: ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        try:
            refuse(
                reason.value,
                f"{self._session.broker} refused the connection",
                PacketTypes.CONNACK,
            )
        except RefusedError as error:
            self._end(error)
            return
        receive_maximum = getattr(properties, "ReceiveMaximum", None)
        if receive_maximum is not None:
            self.receive_maximum = receive_maximum
        self.packet_maximum_bytes = getattr(properties, "MaximumPacketSize", None)
        if not self._connected.done():
            self._connected.set_result(None)

    def _on_disconnect(
        self,
        _client: Client,
        _userdata: object,
        flags: DisconnectFlags,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        if flags.is_disconnect_packet_from_server and reason.value >= _FAILURE:
            what = f"{self._session.broker} ended the connection"
            self._end(refusal(reason.value, what, PacketTypes.DISCONNECT))
        else:
            self._end(ConnectionLostError(f"The connection to {self._session.broker} was lost."))

    def _on_publish(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reason: ReasonCode,
        _properties: Properties | None,
    ) -> None:
        self._settle(mid, reason.value)

    def _on_subscribe(
        self,
        _client: Client,
        _userdata: object,
        mid: int,
        reasons: list[ReasonCode],
        _properties: Properties | None,
    ) -> None:
        self._settle(mid, max(reason.value for reason in reasons))

    def _settle(self, mid: int, reason_code: int) -> None:
        future = self._unacknowledged.get(mid)
        if future is not None and not future.done():
            future.set_result(reason_code)

    def _on_message(self, _client: Client, _userdata: object, message: MQTTMessage) -> None:
        if len(self._messages) >= _MESSAGES_MAX:
            self._end(ConnectionLostError("The broker sends more than was asked for."))
            return
        taken = Message(
            topic=message.topic,
            payload=bytes(message.payload),
            qos=message.qos,
            is_retained=message.retain,
        )
        self._messages.append((message.mid, taken))
        self._has_message.set()

    def _read(self) -> None:
        for _ in range(_READS_MAX):
            try:
                rc = self._client.loop_read()
            except _BROKEN_PACKET as error:
                lost = ConnectionLostError(f"{self._session.broker} sends broken packets: {error}.")
                lost.__cause__ = error
                self._end(lost)
                return
            if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
                self._end(ConnectionLostError(f"{self._session.broker} is gone: {rc.name}."))
                return
            sock = self._client.socket()
            if not isinstance(sock, ssl.SSLSocket) or not sock.pending():
                return
        # TLS holds more that no longer makes the socket readable: go on after the others.
        self._loop.call_soon(self._read_again)

    def _read_again(self) -> None:
        if self._error is None:
            self._read()

    def _write(self) -> None:
        rc = self._client.loop_write()
        if rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            self._end(ConnectionLostError(f"{self._session.broker} is gone: {rc.name}."))

    def _tick(self) -> None:
        """Keepalive: paho sends its pings and notices a dead peer from here."""
        self._client.loop_misc()
        if self._error is None:
            self._misc = self._loop.call_later(_MISC_S, self._tick)

    def _watch_write(self) -> None:
        if self._descriptor is not None:
            self._loop.add_writer(self._descriptor, self._write)

    def _unwatch_write(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_writer(self._descriptor)

    def _unwatch(self) -> None:
        if self._descriptor is not None:
            self._loop.remove_reader(self._descriptor)
            self._loop.remove_writer(self._descriptor)
            self._descriptor = None
