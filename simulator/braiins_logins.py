"""Logins of Braiins OS: a token for a password, the same for REST and gRPC; each use renews it."""

import string
from typing import Any

from simulator.braiins_moment import Json, Moment, RefusalError

_LETTERS = string.ascii_letters + string.digits
_TOKENS_MAX = 64


def login(at: Moment, document: Any) -> Json:
    """Token and how long it lives. Raises RefusalError for wrong credentials."""
    wanted = {"username": "root", "password": at.table.password}
    if not isinstance(document, dict) or {name: document.get(name) for name in wanted} != wanted:
        raise RefusalError(401, "Bad credentials")
    token = "".join(at.traits.secrets.choices(_LETTERS, k=16))
    while len(at.traits.tokens) >= _TOKENS_MAX:
        at.traits.tokens.pop(next(iter(at.traits.tokens)))
    at.traits.tokens[token] = at.now_s + at.table.token_s
    return {"token": token, "timeout_s": max(1, round(at.table.token_s))}


def require_token(at: Moment, token: str) -> None:
    """Raise RefusalError where the machine asks for a login and the token is none of its own."""
    if not at.table.asks_login:
        return
    if at.traits.tokens.get(token, 0.0) <= at.now_s:
        at.traits.tokens.pop(token, None)
        raise RefusalError(401)
    at.traits.tokens[token] = at.now_s + at.table.token_s
