"""An association with one DLMS meter over the TCP wrapper, by the optional library dlms-cosem.

It asks for nothing but GET: that alone is proposed, so that the meter would refuse the rest. The
library makes and reads the APDUs and holds the association's state; the bytes go over a Line. It is
imported when a meter is opened and not before.
"""

import struct
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from drivers.errors import BadReplyError, DriverError, RefusedError, UnsupportedError
from drivers.link.line import Line, Places
from drivers.wire.cosem import WrappedAnswers, wrapped

CONNECT_S = 5.0
ANSWER_S = 5.0  # a gateway to a serial line takes one to some seconds
_RELEASE_S = 1.0
_ABSENT = frozenset({"OBJECT_UNDEFINED", "OBJECT_UNAVAILABLE"})
# What the library raises at bytes that are no APDU; it has no error of its own for them.
_NONSENSE: tuple[type[Exception], ...] = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)


class AbsentError(RefusedError):
    """The meter has no such object: plan without it, or ask another meter."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One attribute of an object: its class, its OBIS code with six parts, and its number."""

    interface: int
    obis: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Got:
    """The data of an attribute with its tag, and the wall clock around the exchange."""

    data: bytes
    requested_at_ms: int
    replied_at_ms: int


class CosemLink:
    """The way to one meter: ``open`` first, ``close`` last whatever happens.

    After any error but AbsentError and RefusedError the line is cut.
    """

    def __init__(
        self,
        *,
        host: str,
        port: int,
        client: int,
        server: int,
        password: bytes | None,
        answer_s: float = ANSWER_S,
    ) -> None:
        self._places = Places(host, port)
        self._client, self._server = client, server
        self._password = password
        self._answer_s = answer_s
        self._line: Line | None = None
        self._association: Any = None
        self._library: _Library | None = None
        self._asked = 0

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return str(self._places)

    async def open(self) -> None:
        """Connect and associate. RefusedError where the meter wants another client or password."""
        self._library = library = _library()
        peer = self.address
        answers = WrappedAnswers(client=self._client, server=self._server, peer=peer)
        self._cut()
        self._line = Line(self._places, answers)
        await self._line.open(CONNECT_S)
        security = library.security
        lowest = security.NoSecurityAuthentication()
        if self._password is not None:
            lowest = security.LowLevelSecurityAuthentication(secret=self._password)
        self._association = library.connection.DlmsConnection(
            client_system_title=None,
            authentication=lowest,
            conformance=library.conformance.Conformance(get=True),
        )
        request = self._association.get_aarq()
        request.system_title = None  # only ciphered associations have one
        response = await self._exchanged(request, self._answer_s)
        result = getattr(getattr(response, "result", None), "name", "")
        state = self._association.state.current_state
        if result != "ACCEPTED" or state is not library.state.READY:
            raise RefusedError(
                f"{peer} refuses client {self._client}: check client= and the password in "
                "password_file=; ciphered access (HLS) is not spoken here."
            )

    async def get(self, attribute: Attribute) -> Got:
        """One attribute. Raises AbsentError where there is no such object."""
        assert self._library is not None
        library, self._asked = self._library, (self._asked + 1) % 16
        obis = library.cosem.Obis(*map(int, attribute.obis.split(".")))
        interface = library.enumerations.CosemInterface(attribute.interface)
        request = library.xdlms.GetRequestNormal(
            cosem_attribute=library.cosem.CosemAttribute(interface, obis, attribute.number),
            invoke_id_and_priority=library.xdlms.InvokeIdAndPriority(invoke_id=self._asked),
        )
        requested_at_ms = time.time_ns() // 1_000_000
        response = await self._exchanged(request, self._answer_s)
        replied_at_ms = time.time_ns() // 1_000_000
        if isinstance(response, library.xdlms.ExceptionResponse):
            raise RefusedError(f"{self.address} refuses to tell {attribute.obis}.")
        # Some meters number their refusals wrongly; none can be late, for a time-out cuts the line.
        if isinstance(response, library.xdlms.GetResponseNormalWithError):
            name = response.error.name
            if name in _ABSENT:
                raise AbsentError(f"{self.address} has no object {attribute.obis}.")
            reason = name.lower().replace("_", " ")
            raise RefusedError(f"{self.address} does not tell {attribute.obis}: {reason}.")
        if not isinstance(response, library.xdlms.GetResponseNormal):
            raise self._bad("answers a short question in blocks")
        if response.invoke_id_and_priority.invoke_id != self._asked:
            raise self._bad("answers another question than was asked")
        return Got(
            data=bytes(response.data), requested_at_ms=requested_at_ms, replied_at_ms=replied_at_ms
        )

    async def close(self) -> None:
        """Release the association, if there is one, and cut the line."""
        try:
            if self._line is not None and self._library is not None and self._is_ready:
                await self._exchanged(self._association.get_rlrq(), _RELEASE_S)
        except DriverError:
            pass  # the cut releases it as well
        finally:
            self._cut()

    @property
    def _is_ready(self) -> bool:
        assert self._library is not None
        is_made = self._association is not None
        return is_made and self._association.state.current_state is self._library.state.READY

    async def _exchanged(self, request: Any, limit_s: float) -> Any:
        """What the meter answers, as one of the library's APDUs."""
        assert self._library is not None
        if self._line is None:
            raise self._bad("was cut off after an error")
        answer = b""
        try:
            apdu = self._association.send(request)  # which knows how much the meter takes
            sent = wrapped(apdu, client=self._client, server=self._server)
            answer = await self._line.ask(sent, limit_s)
            self._association.receive_data(answer)
            return self._association.next_event()
        except self._library.errors as error:
            raise self._bad("sent what is no answer of a DLMS meter", answer) from error
        except BaseException:
            self._cut()
            raise

    def _bad(self, words: str, reply: bytes = b"") -> BadReplyError:
        self._cut()
        return BadReplyError(f"{self.address} {words}: check address and port.", reply=reply[:200])

    def _cut(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.cut()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Library:
    """The modules of dlms-cosem, which tells no types."""

    connection: Any
    conformance: Any
    cosem: Any
    enumerations: Any
    security: Any
    state: Any
    xdlms: Any
    errors: tuple[type[Exception], ...]


def _library() -> _Library:
    """Raises UnsupportedError where the extra is not installed."""
    try:
        structlog = import_module("structlog")
        connection = import_module("dlms_cosem.connection")
    except ImportError as error:
        raise UnsupportedError(
            "DLMS meters need a package that is not installed: pip install 'kwota[dlms]'."
        ) from error
    # It logs every APDU, the password included, and to stdout where nobody says otherwise.
    structlog.configure(processors=[_dropped], cache_logger_on_first_use=False)
    exceptions = import_module("dlms_cosem.exceptions")
    return _Library(
        connection=connection,
        conformance=import_module("dlms_cosem.protocol.xdlms.conformance"),
        cosem=import_module("dlms_cosem.cosem"),
        enumerations=import_module("dlms_cosem.enumerations"),
        security=import_module("dlms_cosem.security"),
        state=import_module("dlms_cosem.state"),
        xdlms=import_module("dlms_cosem.protocol.xdlms"),
        errors=(
            *_NONSENSE,
            *(
                one
                for one in vars(exceptions).values()
                if isinstance(one, type) and issubclass(one, Exception)
            ),
        ),
    )


def _dropped(_logger: object, _method: str, _event: object) -> Any:
    raise import_module("structlog").DropEvent
