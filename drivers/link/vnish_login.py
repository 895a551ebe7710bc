"""The login of a VNish machine: one token for all that want one, until the machine forgets it.

A refused password is not tried again for a while, as the machine locks everybody out who tries too
often.
"""

import time
from collections.abc import Mapping

from drivers.errors import BusyError, RefusedError
from drivers.link.http import HttpLink, HttpReply
from drivers.wire import vnish_reply as envelope

# How long the machine locks everybody out is not published.
LOGIN_PAUSE_S = 60.0

_PATH = "/api/v1/unlock"
_FORBIDDEN = 403
_TOO_MANY = 429


class VnishLogin:
    """The login to one machine; without a password there is none."""

    def __init__(self, *, miner_id: str, link: HttpLink, password: str | None) -> None:
        self._miner_id = miner_id
        self._link = link
        self._password = password
        self._token: str | None = None
        self._no_login: tuple[float, RefusedError] | None = None

    def held(self) -> Mapping[str, str]:
        """The header of the login that was made before; empty where there is none."""
        return {} if self._token is None else {"Authorization": f"Bearer {self._token}"}

    async def bearer(self) -> Mapping[str, str]:
        """The header of a login, which is made if there is none."""
        if self._token is None:
            self._token = await self._logged_in()
        return self.held()

    def forget(self) -> None:
        """The machine does not know the token any more."""
        self._token = None

    async def _logged_in(self) -> str:
        now_s = time.clock_gettime(time.CLOCK_BOOTTIME)
        if self._no_login is not None and now_s < self._no_login[0]:
            refused = self._no_login[1]
            raise type(refused)(str(refused))
        if self._password is None:
            raise RefusedError(
                f"Machine {self._miner_id} wants a login: name a password_file for it."
            )
        body = envelope.encode_unlock(self._password)
        headers = {"Content-Type": "application/json"}
        reply = await self._link.send("POST", _PATH, body=body, headers=headers)
        if reply.is_ok:
            return envelope.token_of(reply.body)
        refused = self._refused(reply)
        self._no_login = (now_s + LOGIN_PAUSE_S, refused)
        raise refused

    def _refused(self, reply: HttpReply) -> RefusedError:
        """The machine's answer is in no error: it might repeat what it was told."""
        if reply.status == _TOO_MANY:
            return BusyError(
                f"Machine {self._miner_id} takes no login for now, it was tried too often: "
                "look who else tries, and wait a minute."
            )
        reason = "refuses the password" if reply.status == _FORBIDDEN else "refuses the login"
        return RefusedError(
            f"Machine {self._miner_id} {reason} (HTTP {reply.status}): put the password of its web "
            f"page into its password_file. It is not tried again for {LOGIN_PAUSE_S:g} s."
        )
