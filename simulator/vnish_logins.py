"""Logins of VNish machines: a password for a token, and a lock for whoever guesses too often."""

import secrets
from dataclasses import dataclass, field

from simulator.vnish_table import VnishTable


@dataclass(slots=True, kw_only=True)
class Logins:
    """Tokens and wrong tries of one machine. ``granted`` counts the logins of all time."""

    table: VnishTable
    granted: int = 0
    asked: int = 0
    tokens: dict[str, float] = field(default_factory=dict)
    _wrong_s: list[float] = field(default_factory=list)

    def unlock(self, password: object, now_s: float) -> tuple[int, str]:
        """Status and token of a login; 429 while it is locked for everybody."""
        self.asked += 1
        self._wrong_s = [at_s for at_s in self._wrong_s if now_s - at_s < self.table.lock_s]
        if len(self._wrong_s) >= self.table.wrong_tries:
            return 429, ""
        if password != self.table.password:
            self._wrong_s.append(now_s)
            return 403, ""
        token = secrets.token_urlsafe(24)
        self.tokens[token] = now_s
        self.granted += 1
        return 200, token

    def knows(self, header: str, now_s: float) -> bool:
        """Whether a header carries a token that is still good; some clients leave out "Bearer"."""
        token = header.removeprefix("Bearer ")
        used_s = self.tokens.get(token)
        if used_s is None or now_s - used_s >= self.table.token_s:
            self.tokens.pop(token, None)
            return False
        self.tokens[token] = now_s
        return True
