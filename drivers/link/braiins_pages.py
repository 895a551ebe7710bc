"""The pages of one machine with Braiins OS, and who answers there."""

from dataclasses import dataclass
from http import HTTPStatus

from drivers.errors import RefusedError, UnsupportedError, WrongDeviceError
from drivers.link.http import HttpLink, HttpReply
from drivers.link.recognition import Recognition
from drivers.link.token import TokenLink
from drivers.wire import braiins as wire
from drivers.wire import braiins_reply as envelope
from drivers.wire.cgminer import Row

DETAILS = "miner/details"

_API = "/api/v1/"
_VERSION = "version/"
_PAGE_NAME = b"Braiins OS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """Who answered, and on which signs that rests."""

    details: wire.DeviceDetails
    signs: tuple[str, ...]


class BraiinsPages:
    """``mac`` pins the machine; without a password the machine is asked without a login.

    ``seen`` has what the machine said of itself, and on which connection.
    """

    def __init__(
        self, *, miner_id: str, link: HttpLink, mac: str | None, password: str | None
    ) -> None:
        self.seen: Recognition[wire.DeviceDetails] = Recognition()
        self._miner_id = miner_id
        self._link = link
        self._mac = mac
        self._password = password
        log_in = None if password is None else self._login
        self._pages = TokenLink(link=link, prefix=_API, log_in=log_in)

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return self._link.address

    async def close(self) -> None:
        """Close the connection. The token is left to run out."""
        await self._link.close()

    async def reply(self, path: str) -> HttpReply:
        """One page, whatever its status. Raises RefusedError where a login is wanted."""
        reply = await self._pages.get(path)
        if reply.status == HTTPStatus.UNAUTHORIZED and self._password is None:
            raise RefusedError(
                f"Machine {self._miner_id} answers only after a login: give it a password_file "
                "with the password of its user root."
            )
        return reply

    async def body(self, path: str) -> bytes:
        """One page that is there."""
        return _yes(await self.reply(path), path)

    async def table(self, path: str) -> Row:
        """One page that is a table."""
        return table_in(await self.reply(path), path)

    async def table_if_any(self, path: str) -> Row | None:
        """None where this firmware has no such page."""
        reply = await self.reply(path)
        return None if envelope.is_absent(reply.status) else table_in(reply, path)

    async def token(self, *, worn: str = "") -> str:
        """A token other than ``worn``, from a login if need be."""
        return await self._pages.token(worn=worn)

    async def once(
        self, method: str, path: str, *, token: str, body: bytes | None, answer_s: float
    ) -> HttpReply:
        """One request under this token, whatever comes of it."""
        return await self._pages.once(method, path, token=token, body=body, answer_s=answer_s)

    async def details(self) -> wire.DeviceDetails:
        """What the machine says of itself. Raises for any but the pinned machine."""
        self.seen.forget()
        reply = await self.reply(DETAILS)
        details = wire.pinned(
            wire.details_of(table_in(reply, DETAILS)),
            mac=self._mac,
            miner_id=self._miner_id,
            address=self.address,
        )
        self.seen.keep(details, reply.connection)
        return details

    async def recognised(self) -> Known:
        """Who answers, asked anew. Raises for another machine, another system, an old firmware."""
        reply = await self.reply(_VERSION)
        # An old firmware shows its page under every address.
        if envelope.is_absent(reply.status) or reply.body.lstrip().startswith(b"<"):
            await self._require_rest()
        api = wire.api_of(envelope.table_of(_yes(reply, _VERSION), "version"))
        details = await self.details()
        second_mac = wire.mac_of(await self.table("network/"))
        signs = [f"version answers as API {api} and miner/details as Braiins OS {details.firmware}"]
        if wire.is_mac(details.mac) and details.mac == second_mac:
            signs.append(f"miner/details and network name the same MAC {details.mac}")
        return Known(details=details, signs=tuple(signs))

    async def _login(self) -> str:
        """A new token."""
        body = envelope.encode_login(self._password or "")
        reply = await self._pages.once("POST", "auth/login", token="", body=body)
        if envelope.is_absent(reply.status):
            await self._require_rest()
        if not reply.is_ok:
            # Without the body: nobody knows what a firmware repeats in it.
            raise envelope.refusal_of(reply.status, b"", "the login")
        return envelope.session_of(reply.body).token

    async def _require_rest(self) -> None:
        """Say why there is no REST API here. Raises UnsupportedError and WrongDeviceError."""
        page = await self._link.get("/")
        if _PAGE_NAME in page.body:
            raise UnsupportedError(
                f"Machine {self._miner_id} runs a Braiins OS without the REST API of 25.07: "
                "upgrade its firmware to 25.07 or later."
            )
        raise WrongDeviceError(
            f"What answers at {self.address} is not Braiins OS: "
            "check the address and the family of the configuration."
        )


def table_in(reply: HttpReply, path: str) -> Row:
    """The table of a page that is there."""
    return envelope.table_of(_yes(reply, path), path.rstrip("/"))


def _yes(reply: HttpReply, path: str) -> bytes:
    if not reply.is_ok:
        raise envelope.refusal_of(reply.status, reply.body, path)
    return reply.body
