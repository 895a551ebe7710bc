"""The login of an Antminer's web pages: HTTP digest (RFC 7616) with MD5, one user."""

import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass, field

REALM = "antMiner Configuration"
USER = "root"

_PAIR = re.compile(r'(\w+)=(?:"([^"]*)"|([^\s,]+))')
_NONCES_MAX = 256


def _md5(text: str) -> str:
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


@dataclass(slots=True, kw_only=True)
class Doorkeeper:
    """Gives out nonces, each for a few uses, and knows who answers them rightly."""

    uses: int
    _left: dict[str, int] = field(init=False, default_factory=dict)

    def challenge(self, *, is_stale: bool) -> str:
        """What goes into ``WWW-Authenticate``."""
        nonce = secrets.token_hex(16)
        if len(self._left) >= _NONCES_MAX:
            del self._left[next(iter(self._left))]
        self._left[nonce] = self.uses
        stale = ", stale=true" if is_stale else ""
        return f'Digest realm="{REALM}", nonce="{nonce}", qop="auth"{stale}'

    def judge(self, header: str, *, method: str, path: str, password: str) -> str:
        """ "in", "stale" or "out" for an ``Authorization`` header."""
        if not header.startswith("Digest "):
            return "out"
        told = {key: quoted or plain for key, quoted, plain in _PAIR.findall(header)}
        first = _md5(f"{USER}:{REALM}:{password}")
        second = _md5(f"{method}:{told.get('uri')}")
        middle = ":".join(told.get(key, "") for key in ("nonce", "nc", "cnonce", "qop"))
        expected = _md5(f"{first}:{middle}:{second}")
        is_right = hmac.compare_digest(expected, told.get("response", ""))
        if told.get("username") != USER or told.get("uri") != path or not is_right:
            return "out"
        left = self._left.get(told["nonce"], 0)
        if left < 1:
            return "stale"
        self._left[told["nonce"]] = left - 1
        return "in"
