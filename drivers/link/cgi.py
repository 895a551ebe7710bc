"""The ``/cgi-bin`` pages of a machine behind a digest login: read one, post a form to one.

What a page says is the family's business. A login that is not taken is a refusal and nothing was
carried out; any other status than success is an answer that cannot be believed.
"""

from http import HTTPStatus

from drivers.errors import BadReplyError, RefusedError
from drivers.link.http import HttpLink, HttpReply, Login

_NO_LOGIN = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})


class LoginRefusedError(RefusedError):
    """The machine does not take the user and password: nothing was carried out, see to the file."""


class CgiPages:
    """The pages of one machine."""

    def __init__(self, *, host: str, port: int, login: Login, answer_s: float = 5.0) -> None:
        self._user = login.user
        self._link = HttpLink(host=host, port=port, digest=login, answer_s=answer_s)
        self._stranger = HttpLink(host=host, port=port, answer_s=answer_s)

    @property
    def address(self) -> str:
        """Host and port as people write them."""
        return self._link.address

    async def page(self, name: str) -> HttpReply:
        """One page. Raises LoginRefusedError, and what the link raises."""
        return self._believed(await self._link.get(_path(name)), name)

    async def post(self, name: str, form: bytes, *, answer_s: float) -> bytes:
        """Send a form of JSON to one page."""
        kind = {"Content-Type": "application/json"}
        reply = await self._link.send(
            "POST", _path(name), body=form, headers=kind, answer_s=answer_s
        )
        return self._believed(reply, name).body

    async def challenge(self) -> str:
        """What the machine says to somebody without a login; "" where it asks for none."""
        reply = await self._stranger.get("/")
        if reply.status != HTTPStatus.UNAUTHORIZED:
            return ""
        return reply.headers.get("www-authenticate", "")

    async def close(self) -> None:
        """Close the connections, if there are any."""
        await self._link.close()
        await self._stranger.close()

    def _believed(self, reply: HttpReply, name: str) -> HttpReply:
        if reply.status in _NO_LOGIN:
            raise LoginRefusedError(
                f"{self.address} does not take the password of its user {self._user}: "
                "check the machine's password file."
            )
        if not reply.is_ok:
            raise BadReplyError(
                f"{self.address} answers to its page {name} with status {reply.status}: "
                "check the address and the family of the configuration."
            )
        return reply


def _path(name: str) -> str:
    return f"/cgi-bin/{name}.cgi"
