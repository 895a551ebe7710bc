"""HTTP to one machine: one request at a time, bounded in time and size, every answer with its time.

aiohttp speaks; this module says what went wrong in the words of ``drivers.errors`` and whether a
request may have been carried out. Redirects are not followed, cookies and proxies not used. A
status is an answer like any other: what it means is the family's business. aiohttp may send a GET
or PUT once more on a connection that the machine closed meanwhile; POST and PATCH never.

Connections are numbered as they are opened, and each answer says on which one it came: what was
said on a connection before was said by the same machine.
"""

import asyncio
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus

import aiohttp
from yarl import URL

from drivers.errors import BadReplyError, UnreachableError
from drivers.link.deadlines import Limit
from drivers.link.tcp import REPLY_LIMIT_BYTES, NoAnswerError


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """Who asks, for machines that want digest (RFC 7616) of every request."""

    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpReply:
    """What came back, and when. ``requested_at_s`` is taken before the first byte left.

    ``headers`` are looked up in any case of letters. ``connection`` is the number of the connection
    on which it came, counted by its link from 1.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    requested_at_s: float
    replied_at_s: float
    connection: int

    @property
    def is_ok(self) -> bool:
        """Any of 200 to 299."""
        return HTTPStatus.OK <= self.status < HTTPStatus.MULTIPLE_CHOICES


class HttpLink:
    """The way to one machine. Safe to share: requests wait for each other."""

    def __init__(
        self,
        *,
        host: str,
        port: int,
        digest: Login | None = None,
        connect_s: float = 2.0,
        answer_s: float = 5.0,
        limit_bytes: int = REPLY_LIMIT_BYTES,
    ) -> None:
        self._host = host
        self._port = port
        self._root = URL.build(scheme="http", host=host, port=port, path="/")
        self._digest = digest
        self._connect_s = connect_s
        self._answer_s = answer_s
        self._limit_bytes = limit_bytes
        self._one_at_a_time = asyncio.Lock()
        self._session: aiohttp.ClientSession | None = None
        self._connection = 0

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return f"{self._host}:{self._port}"

    async def get(self, path: str, *, headers: Mapping[str, str] | None = None) -> HttpReply:
        """Read something."""
        return await self.send("GET", path, headers=headers)

    async def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        answer_s: float | None = None,
    ) -> HttpReply:
        """One request and its whole answer. ``path`` begins with a slash and may hold a query.

        Raises UnreachableError where nothing was sent, NoAnswerError where the request left and no
        whole answer came, BadReplyError where the answer exceeds the limit or is no HTTP.
        """
        limit_s = self._answer_s if answer_s is None else answer_s
        async with self._one_at_a_time:
            requested_at_s = time.clock_gettime(time.CLOCK_BOOTTIME)
            try:
                async with Limit(self._connect_s + limit_s):
                    return await self._exchange(method, path, body, headers, requested_at_s)
            except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
                raise UnreachableError(
                    f"No connection to {self.address} ({_reason(error)}): "
                    "check power, cable and address."
                ) from error
            except TimeoutError as error:
                raise NoAnswerError(
                    f"{self.address} took the request and did not answer within {limit_s:g} s."
                ) from error
            except aiohttp.ClientResponseError as error:
                raise BadReplyError(
                    f"{self.address} answered with something that is not HTTP: "
                    "check the address and the family of the configuration."
                ) from error
            except aiohttp.ClientError as error:
                raise NoAnswerError(
                    f"{self.address} closed the connection without a whole answer: "
                    "it may be restarting."
                ) from error

    async def close(self) -> None:
        """Close the connection, if there is one."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _exchange(
        self,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None,
        requested_at_s: float,
    ) -> HttpReply:
        session = self._opened()
        url = self._root.join(URL(path, encoded=True))
        asking = session.request(method, url, data=body, headers=headers, allow_redirects=False)
        async with asking as response:
            content, whole = response.content, bytearray()
            while not content.at_eof():
                whole += await content.readany()
                if len(whole) > self._limit_bytes:
                    response.close()
                    raise BadReplyError(
                        f"{self.address} sent more than {self._limit_bytes} bytes for one answer.",
                        reply=bytes(whole[:200]),
                    )
            return HttpReply(
                status=response.status,
                headers=response.headers,
                body=bytes(whole),
                requested_at_s=requested_at_s,
                replied_at_s=time.clock_gettime(time.CLOCK_BOOTTIME),
                connection=self._connection,
            )

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            login = self._digest
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=1, ssl=False, use_dns_cache=False, socket_factory=self._new_socket
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=self._connect_s),
                cookie_jar=aiohttp.DummyCookieJar(),
                middlewares=()
                if login is None
                else (aiohttp.DigestAuthMiddleware(login.user, login.password),),
            )
        return self._session

    def _new_socket(self, place: aiohttp.AddrInfoType) -> socket.socket:
        """The socket of a new connection. As there is one at a time, the newest is the one in use;
        where a name has several addresses the number may skip some."""
        self._connection += 1
        family, kind, protocol, _, _ = place
        return socket.socket(family=family, type=kind, proto=protocol)


def _reason(error: Exception) -> str:
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    return "it does not accept one in time"
