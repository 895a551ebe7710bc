"""Copies of frozen values with some fields changed.

A tick makes some twenty of them. ``dataclasses.replace`` walks the fields of each in Python and
calls its ``__init__``, which took a fifth of a campaign's time; here the walk is compiled once a
class.
"""

from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

Value = TypeVar("Value")

_copies: dict[type, Callable[[Any, dict[str, Any]], Any]] = {}


def replace(instance: Value, /, **changes: Any) -> Value:
    """The value with those fields changed, as ``dataclasses.replace`` gives it.

    For classes without ``__post_init__``. Raises TypeError for a field that there is not.
    """
    kind = type(instance)
    copy = _copies.get(kind)
    if copy is None:
        copy = _copies[kind] = _compiled(kind)
    made: Value = copy(instance, changes)
    return made


def _compiled(kind: type) -> Callable[[Any, dict[str, Any]], Any]:
    if hasattr(kind, "__post_init__"):
        message = f"{kind.__name__} checks itself when it is made: use dataclasses.replace"
        raise TypeError(message)
    names = [field.name for field in fields(kind)]
    kept = "    put(made, {0!r}, changes[{0!r}] if {0!r} in changes else instance.{0})"
    lines = [
        "def copy(instance, changes):",
        "    if not changes.keys() <= NAMES:",
        "        unknown = ', '.join(sorted(changes.keys() - NAMES))",
        "        raise TypeError(f'{KIND.__name__} has no field {unknown}')",
        "    made = new(KIND)",
        *(kept.format(name) for name in names),
        "    return made",
    ]
    scope: dict[str, Any] = {
        "KIND": kind,
        "NAMES": frozenset(names),
        "new": object.__new__,
        "put": object.__setattr__,
    }
    exec("\n".join(lines), scope)  # noqa: S102 - the text is made of field names alone
    copy: Callable[[Any, dict[str, Any]], Any] = scope["copy"]
    return copy
