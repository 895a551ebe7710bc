"""One value of a table, as Whatsminer writes it: numbers as numbers or as text, "" for none.

Never saw a socket, never guesses a value: what is of another kind is a BadReplyError.
"""

import re

from drivers.errors import BadReplyError
from drivers.wire.cgminer import Row

_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(?:\.[0-9]{1,15})?\Z")
_IS_ON = {"true": True, "false": False, "enable": True, "disable": False, "1": True, "0": False}


def has(row: Row, key: str) -> bool:
    """Whether there is a value; this firmware writes "" for none."""
    return row.values.get(key) not in (None, "")


def text_of(row: Row, key: str) -> str:
    """Text without blanks around it; empty where there is none."""
    return row.text_or_empty(key).strip()


def number_of(row: Row, key: str) -> float:
    """A finite number, also where the firmware writes it as text."""
    value = row.values.get(key)
    if isinstance(value, float):
        return value  # orjson yields finite ones only
    if isinstance(value, str) and _NUMBER.match(value):
        return float(value)
    return row.number(key)


def number_or_none(row: Row, key: str) -> float | None:
    """``number_of``; None where there is no value."""
    value = row.values.get(key)
    if value is None or type(value) is float:
        return value
    return None if value == "" else number_of(row, key)


def not_negative(row: Row, key: str) -> float:
    """``number_of`` of what cannot be less than nothing."""
    value = row.values.get(key)
    if not isinstance(value, float):
        value = number_of(row, key)
    if value < 0:
        raise BadReplyError(f"The machine says that its {row.section} {key} is negative.")
    return value


def is_on(row: Row, key: str) -> bool:
    """Yes or no, as this firmware writes it: true, "true", 1, "enable"."""
    value = row.values.get(key)
    if value is True or value is False:
        return value
    word = str(value).lower() if isinstance(value, (int, str)) else ""
    if word not in _IS_ON:
        raise BadReplyError(
            f"The machine's {row.section} has {key!r} that is not yes or no: "
            "its firmware may be a version that kwota does not know."
        )
    return _IS_ON[word]
