"""Limits as an operator or a dispatcher hands them in: fields in, one limit or one sentence out.

Judges the form alone. Whether a limit fits what is known already is the book's business.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from agent.core.limitbook import ToldLimit
from agent.core.limits import Limit
from agent.purchase_values import Unreadable, read_duration, read_number, read_time
from agent.settings_faults import shown

MANUAL = "manual"
ORDER = "dispatch_order"
DEFAULT_SOURCE = "grid operator"
OPEN_END = "open"
TEXT_CHARS_MAX = 200
POWER_KW_MAX = 1_000_000
_KEYS = {
    MANUAL: {"kind", "kw", "for", "from", "reason", "then_kw"},
    ORDER: {"kind", "kw", "from", "to", "id", "source", "reason", "then_kw"},
}
_ABSENT = (None, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitReader:
    """Reads limits for one site. ``rated_w`` is what comes after an end that leaves nothing."""

    zone: ZoneInfo
    rated_w: float

    def read(self, content: bytes, *, told_by: str, manual_id: str, now_ms: int) -> ToldLimit:
        """The limit in a JSON object. Raises Unreadable."""
        try:
            fields = json.loads(content, parse_float=Decimal)
        except (ValueError, RecursionError):
            raise Unreadable("the request is not JSON; use `kwota limit`") from None
        kind = fields.get("kind") if isinstance(fields, dict) else None
        if not isinstance(kind, str) or kind not in _KEYS:
            raise Unreadable(f'the request has no kind; write "{MANUAL}" or "{ORDER}"')
        strange = sorted(fields.keys() - _KEYS[kind])
        if strange:
            raise Unreadable(f"{shown(strange[0])} is no field of a {kind} limit; remove it")
        read = self._manual if kind == MANUAL else self._order
        limit = read(fields, told_by, manual_id, now_ms)
        reason = _text(fields, "reason", "" if kind == ORDER else None)
        return ToldLimit(limit=limit, told_by=told_by, reason=reason, received_at_ms=now_ms)

    def _manual(
        self, fields: Mapping[str, Any], told_by: str, manual_id: str, now_ms: int
    ) -> Limit:
        power_w, reason = _power_w(fields, "kw"), _text(fields, "reason", None)
        begins = fields.get("from")
        from_ms = now_ms if begins in _ABSENT else read_time(_string(begins, "from"), self.zone)
        length_ms = read_duration(_text(fields, "for", None))
        return Limit(
            kind=MANUAL,
            source=told_by,
            limit_id=manual_id,
            power_w=power_w,
            safe_w=self._after_w(fields),
            from_ms=from_ms,
            expires_ms=from_ms + length_ms,
            words=f"{told_by} set {power_w / 1000:.1f} kW at most: {reason}",
        )

    def _order(self, fields: Mapping[str, Any], _told_by: str, _id: str, _now_ms: int) -> Limit:
        power_w, source = _power_w(fields, "kw"), _text(fields, "source", DEFAULT_SOURCE)
        limit_id = _text(fields, "id", None)
        if any(char.isspace() for char in limit_id) or len(limit_id) > 64:
            raise Unreadable("the id is not 1 to 64 characters without spaces; correct it")
        if limit_id.startswith(f"{MANUAL}-"):
            raise Unreadable(f"ids that begin with {MANUAL}- are the agent's own; give another")
        end = _text(fields, "to", None)
        return Limit(
            kind=ORDER,
            source=source,
            limit_id=limit_id,
            power_w=power_w,
            safe_w=self._after_w(fields),
            from_ms=read_time(_text(fields, "from", None), self.zone),
            expires_ms=None if end == OPEN_END else read_time(end, self.zone),
            words=f"{source} ordered {power_w / 1000:.1f} kW at most (order {limit_id})",
        )

    def _after_w(self, fields: Mapping[str, Any]) -> float:
        return self.rated_w if fields.get("then_kw") in _ABSENT else _power_w(fields, "then_kw")


def _power_w(fields: Mapping[str, Any], key: str) -> float:
    value = fields.get(key)
    if value in _ABSENT:
        raise Unreadable(f"{key} is missing; say how many kW may be drawn, 0 for none")
    if isinstance(value, bool) or not isinstance(value, str | int | Decimal):
        raise Unreadable(f"{key} {shown(value)} is not a number; write kW in digits")
    power_kw = read_number(value)
    if not 0 <= power_kw <= POWER_KW_MAX:
        raise Unreadable(f"{key} {shown(str(value))} is no power that a site can have; write kW")
    power_w = power_kw * 1000
    if power_w != power_w.to_integral_value():
        raise Unreadable(f"{key} {shown(str(value))} is not a whole number of W; round it")
    return float(power_w)


def _text(fields: Mapping[str, Any], key: str, default: str | None) -> str:
    """A line of text; one without a default has to be there."""
    value = fields.get(key)
    if value in _ABSENT:
        if default is None:
            raise Unreadable(f"{key} is missing; give it")
        return default
    text = _string(value, key).strip()
    if not text or len(text) > TEXT_CHARS_MAX or not text.isprintable():
        raise Unreadable(f"{key} is not 1 to {TEXT_CHARS_MAX} printable characters; correct it")
    return text


def _string(value: object, key: str) -> str:
    if not isinstance(value, str):
        raise Unreadable(f"{key} {shown(value)} is not text; put it in quotes")
    return value
