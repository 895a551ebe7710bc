"""What is wrong with a file an operator wrote, in the words of one who has to mend it.

Reads TOML with a bound on its size and turns every refusal, ours or the parser's, into faults that
name file, key, reason and way out. Knows nothing about what the keys mean.
"""

import dataclasses
import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

FILE_BYTES_MAX = 8 * 1024 * 1024
SHOWN_CHARS = 60

T = TypeVar("T")

_KINDS = {
    "bool_type": "true or false",
    "dataclass_type": "a table of keys",
    "float_type": "a number",
    "int_type": "a whole number",
    "string_type": "text in quotes",
    "tuple_type": "a list in square brackets",
    "finite_number": "a finite number",
    "date_type": "a date such as 2026-01-01, without quotes",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}
_SENTENCES = {
    "kwota": ("{reason}", "{remedy}"),
    "missing": ("is missing", "add it; the example file shows every key"),
    "literal_error": ("is not one of the choices", "write {expected}"),
    "too_short": ("is an empty list", "name at least one"),
    "too_long": ("is too long a list", "keep it to {max_length} entries"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing to mend. ``key`` is a dotted path with array indices, empty for the whole file."""

    file: str
    key: str
    reason: str
    remedy: str

    def __str__(self) -> str:
        where = f"{self.file}: {self.key}" if self.key else self.file
        return f"{where}: {self.reason}; {self.remedy}"


class SettingsError(Exception):
    """A file of the operator cannot be used. ``faults`` holds every reason, never none."""

    def __init__(self, faults: Iterable[Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where relative paths start. ``credentials`` is systemd's directory of secrets, if any."""

    base: Path
    credentials: Path | None


@dataclass(slots=True, kw_only=True)
class FaultList:
    """Gathers the faults of one file, so that all of them are reported at once."""

    file: str
    place: Place
    faults: list[Fault] = field(default_factory=list)

    def add(self, key: str, reason: str, remedy: str) -> None:
        self.faults.append(Fault(file=self.file, key=key, reason=reason, remedy=remedy))

    def parse(self, adapter: TypeAdapter[T], shape: type, data: object, key: str) -> T | None:
        """``data`` checked against ``shape``, or None after all its faults were noted."""
        try:
            return adapter.validate_python(data, context=self.place)
        except ValidationError as error:
            for details in error.errors(include_url=False):
                if details["type"] == "too_short" and details["input"]:
                    continue  # its entries have faults of their own
                self.faults.append(_fault(self.file, key, shape, details))
            return None

    def refuse_unknown(self, data: Mapping[str, object], known: Sequence[str], key: str) -> None:
        """Note every key that is not among ``known``."""
        for name in data:
            if name not in known:
                self.add(joined(key, name), *_unknown(name, known))


def refusal(reason: str, remedy: str) -> PydanticCustomError:
    """What a field's own check raises: pydantic carries both sentences to the fault."""
    return PydanticCustomError("kwota", "{reason}", {"reason": reason, "remedy": remedy})


def read_toml(path: Path) -> dict[str, Any]:
    """The tables of a TOML file. Raises SettingsError with one fault for the whole file."""
    try:
        with path.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
    except FileNotFoundError:
        raise _whole(path, "there is no such file", "check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise _whole(path, f"cannot be read: {reason}", "check the path and its rights") from error
    if len(content) > FILE_BYTES_MAX:
        raise _whole(path, "is larger than 8 MiB", "this is not a configuration file of kwota")
    try:
        return tomllib.loads(content.decode("utf-8"))
    except UnicodeDecodeError as error:
        reason = f"byte {error.start} is not UTF-8"
        raise _whole(path, reason, "save the file as UTF-8 text") from error
    except RecursionError as error:
        raise _whole(path, "is nested too deeply", "a kwota file has two levels") from error
    except ValueError as error:  # TOMLDecodeError, and int() on thousands of digits
        raise _whole(path, f"is not TOML: {error}", "mend that line") from error


def joined(key: str, *parts: str | int) -> str:
    """A dotted path with array indices: ``meters[0].uri``."""
    for part in parts:
        step = f"[{part}]" if isinstance(part, int) else f".{part}"
        key = f"{key}{step}"
    return key.removeprefix(".")


def shown(value: object) -> str:
    """A value as a fault quotes it: short, on one line."""
    text = " ".join(repr(value).split()) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _whole(path: Path, reason: str, remedy: str) -> SettingsError:
    return SettingsError([Fault(file=str(path), key="", reason=reason, remedy=remedy)])


def _fault(file: str, key: str, shape: type, details: ErrorDetails) -> Fault:
    where = joined(key, *details["loc"])
    reason, remedy = _words(shape, details)
    return Fault(file=file, key=where, reason=reason, remedy=remedy)


def _words(shape: type, details: ErrorDetails) -> tuple[str, str]:
    kind, value, context = details["type"], details["input"], details.get("ctx", {})
    if kind == "unexpected_keyword_argument":
        *tables, name = details["loc"]
        return _unknown(str(name), _names(_inner(shape, tables)))
    if kind in _KINDS:
        return f"is {shown(value)}, not {_KINDS[kind]}", f"write {_KINDS[kind]}"
    if kind in _BOUNDS:
        name, words = _BOUNDS[kind]
        return f"is {shown(value)}, which is out of range", f"write {words} {context[name]}"
    if kind in _SENTENCES:
        reason, remedy = _SENTENCES[kind]
        return reason.format(**context), remedy.format(**context)
    return f"is {shown(value)}: {details['msg']}", "correct it as the example file shows"


def _unknown(name: str, known: Sequence[str]) -> tuple[str, str]:
    near = difflib.get_close_matches(name, known, n=1)
    remedy = f"did you mean {near[0]}?" if near else "remove it"
    return "is not a key of kwota", remedy


def _inner(shape: type, path: Sequence[str | int]) -> type:
    """The table that a path leads to; the last one that is known where it is no table's."""
    for part in path:
        hint = next((one.type for one in dataclasses.fields(shape) if one.name == part), None)
        found = _tables(hint)
        shape = found[0] if found else shape
    return shape


def _tables(hint: object) -> list[type]:
    """The dataclasses in a field's type, as ``X | None`` or a tuple of them has one."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [hint]
    return [table for part in get_args(hint) for table in _tables(part)]


def _names(shape: type) -> list[str]:
    """The keys of a table as the file writes them: an alias stands for a word Python reserves."""
    names = []
    for item in dataclasses.fields(shape):
        marks = getattr(item.type, "__metadata__", ())
        aliases = [mark.alias for mark in marks if isinstance(mark, FieldInfo) and mark.alias]
        names.append(aliases[0] if aliases else item.name)
    return names
