"""Values of the core as plain JSON and back, to the last bit.

Driven by the type hints of the dataclasses, so a new field of the governor's state needs no line
here. A record may hold no floats: one is written as the shortest decimal text that reads back as
the same number. What has no exact form raises ExactError, on the way out as on the way in.
"""

import dataclasses
import functools
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, TypeVar, cast

T = TypeVar("T")


class ExactError(ValueError):
    """A value without an exact form, or a form that does not fit the type it should have."""


@dataclass(frozen=True, slots=True)
class _Codec:
    encode: Callable[[Any], Any]
    decode: Callable[[Any], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where two plain values first differ, and what stands there; ``None`` also for absent."""

    path: str
    recorded: object
    replayed: object


def to_plain(kind: Any, value: Any) -> Any:
    """A value of this type as plain JSON. Raises ExactError."""
    return _codec(kind).encode(value)


def from_plain(kind: Any, plain: Any) -> Any:
    """The value that ``to_plain`` was given. Raises ExactError."""
    try:
        return _codec(kind).decode(plain)
    except (KeyError, TypeError, AttributeError) as error:
        raise ExactError(f"this is no {_name(kind)}: {error}") from error


def changed_fields(kind: type, names: Sequence[str], old: Any, new: Any) -> dict[str, Any]:
    """The named fields of a dataclass that differ between two values, as plain JSON."""
    changed = {}
    for name in names:
        value, before = getattr(new, name), getattr(old, name)
        if value is not before and value != before:
            changed[name] = to_plain(hints_of(kind)[name], value)
    return changed


def with_fields(value: T, plain: Mapping[str, Any]) -> T:
    """A dataclass value with some fields taken from plain JSON. Raises ExactError."""
    kind: Any = type(value)
    hints = hints_of(kind)
    fields = {}
    try:
        for name, item in plain.items():
            fields[name] = from_plain(hints[name], item)
    except KeyError as error:
        raise ExactError(f"{type(value).__name__} has no field {error}") from error
    changed: T = dataclasses.replace(cast("Any", value), **fields)
    return changed


def number_text(value: float) -> str:
    """A number as text that reads back the same; whole ones of type int stay without a point."""
    return repr(value)


def first_difference(recorded: object, replayed: object, path: str = "") -> Difference | None:
    """The first place at which two plain values differ; None where they are the same."""
    if isinstance(recorded, dict) and isinstance(replayed, dict):
        for key in [*recorded, *(key for key in replayed if key not in recorded)]:
            where = f"{path}.{key}" if path else str(key)
            found = first_difference(recorded.get(key), replayed.get(key), where)
            if found is not None:
                return found
        return None
    if isinstance(recorded, list) and isinstance(replayed, list):
        for at in range(max(len(recorded), len(replayed))):
            left = recorded[at] if at < len(recorded) else None
            right = replayed[at] if at < len(replayed) else None
            found = first_difference(left, right, f"{path}[{at}]")
            if found is not None:
                return found
        return None
    if type(recorded) is type(replayed) and recorded == replayed:
        return None
    return Difference(path=path, recorded=recorded, replayed=replayed)


@functools.cache
def hints_of(kind: Any) -> dict[str, Any]:
    """The resolved type of each field of a dataclass."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind)}


@functools.cache
def _codec(kind: Any) -> _Codec:
    if kind in _PRIMITIVES:
        return _PRIMITIVES[kind]
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (types.UnionType, typing.Union):
        return _union(arguments)
    if origin is not None:
        return _container(kind, origin, arguments)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return _Codec(lambda value: value.value, kind)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _dataclass(kind)
    raise ExactError(f"there is no exact form for {_name(kind)}")


def _container(kind: Any, origin: Any, arguments: Sequence[Any]) -> _Codec:
    if origin is tuple:
        return _tuple(arguments)
    if origin is frozenset:
        return _set(_codec(arguments[0]))
    if issubclass(origin, Mapping):
        return _mapping(_codec(arguments[0]), _codec(arguments[1]))
    raise ExactError(f"there is no exact form for {_name(kind)}")


def _name(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind)


def _dataclass(kind: type) -> _Codec:
    # What follows from the rest is left out, and made anew where it is needed.
    names = [one.name for one in dataclasses.fields(kind) if not one.metadata.get("is_derived")]
    codecs = {name: _codec(hints_of(kind)[name]) for name in names}
    encoders = [(name, codec.encode) for name, codec in codecs.items()]

    def encode(value: Any) -> Any:
        if type(value) is not kind:
            raise ExactError(f"{value!r} is no {_name(kind)}")
        return {name: encoded(getattr(value, name)) for name, encoded in encoders}

    def decode(plain: Any) -> Any:
        if plain.keys() != codecs.keys():
            odd = min(plain.keys() ^ codecs.keys())
            raise ExactError(f"{_name(kind)} and what was written differ in the field {odd}")
        return kind(**{name: codec.decode(plain[name]) for name, codec in codecs.items()})

    return _Codec(encode, decode)


def _union(members: Sequence[Any]) -> _Codec:
    """``X | None`` is X or null; of several types the place of the one is written as well."""
    rest = [member for member in members if member is not type(None)]
    codecs = [_codec(member) for member in rest]
    if len(rest) == 1:
        only = codecs[0]
        return _Codec(
            lambda value: None if value is None else only.encode(value),
            lambda plain: None if plain is None else only.decode(plain),
        )

    def encode(value: Any) -> Any:
        for place, member in enumerate(rest):
            if type(value) is (typing.get_origin(member) or member):
                return [place, codecs[place].encode(value)]
        if value is None and len(rest) < len(members):
            return None
        raise ExactError(f"{value!r} is none of {', '.join(map(_name, rest))}")

    def decode(plain: Any) -> Any:
        return None if plain is None else codecs[plain[0]].decode(plain[1])

    return _Codec(encode, decode)


def _tuple(arguments: Sequence[Any]) -> _Codec:
    if len(arguments) == 2 and arguments[1] is ...:
        item = _codec(arguments[0])
        return _Codec(
            lambda value: [item.encode(one) for one in value],
            lambda plain: tuple(item.decode(one) for one in _listed(plain)),
        )
    items = [_codec(argument) for argument in arguments]
    return _Codec(
        lambda value: [c.encode(one) for c, one in zip(items, value, strict=True)],
        lambda plain: tuple(c.decode(one) for c, one in zip(items, _listed(plain), strict=True)),
    )


def _set(item: _Codec) -> _Codec:
    return _Codec(
        lambda value: [item.encode(one) for one in sorted(value)],
        lambda plain: frozenset(item.decode(one) for one in _listed(plain)),
    )


def _mapping(key: _Codec, item: _Codec) -> _Codec:
    """Pairs, so that order and kind of the keys survive."""
    return _Codec(
        lambda value: [[key.encode(name), item.encode(one)] for name, one in value.items()],
        lambda plain: {key.decode(name): item.decode(one) for name, one in _listed(plain)},
    )


def _listed(plain: Any) -> Any:
    if not isinstance(plain, list):
        raise ExactError(f"a list was expected, not {plain!r}")
    return plain


def _is(kind: type) -> Callable[[Any], Any]:
    def same(value: Any) -> Any:
        if type(value) is not kind:
            raise ExactError(f"{value!r} is no {kind.__name__}")
        return value

    return same


def _float_out(value: Any) -> Any:
    """A whole number in a float's place stays one: it counts the same and prints differently."""
    if type(value) is int:
        return value
    return number_text(_is(float)(value))


def _float_in(plain: Any) -> Any:
    if type(plain) is int:
        return plain
    try:
        return float(_is(str)(plain))
    except ValueError as error:
        raise ExactError(f"{plain!r} is no number") from error


_PRIMITIVES: dict[Any, _Codec] = {
    int: _Codec(_is(int), _is(int)),
    str: _Codec(_is(str), _is(str)),
    bool: _Codec(_is(bool), _is(bool)),
    float: _Codec(_float_out, _float_in),
}
