"""The page of settings: types, bounds and defaults from the code, meanings from the example file.

What a key means is what stands behind it in ``config/site.example.toml``, or else the sentence of
its table's docstring that names it.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from agent import settings_fields
from agent.settings import Settings
from agent.settings_discovery import Network

EXAMPLE: Final = Path(__file__).parents[2] / "config" / "site.example.toml"
UNITS: Final = {
    "s": "s", "h": "h", "w": "W", "wh": "Wh", "bytes": "bytes", "kw": "kW", "share": "share of 1",
    "ratio": "ratio",
}  # fmt: skip
# Kinds of text that have a form of their own.
FORMS: Final[Mapping[Any, str]] = {
    settings_fields.Level: "text: a-z, 0-9, -; 1 to 32",
    settings_fields.Identifier: "text: letters, digits, . _ -; 1 to 64",
    settings_fields.Domain: "domain name",
    settings_fields.Mac: "MAC address",
    settings_fields.Zone: "time zone, as Asia/Almaty",
    settings_fields.ListenText: "address:port",
    settings_fields.BrokerText: "mqtts:// or mqtt:// URL",
    settings_fields.LocalPath: "path",
    settings_fields.SecretPath: "path of a secret, or a systemd credential",
    settings_fields.SocketPath: "path of a unix socket",
    Network: "network, as 10.1.0.0/22",
}
_TABLE: Final = re.compile(r"#?\s*\[\[?([\w.]+)\]\]?\s*(?:#.*)?")
_KEY: Final = re.compile(r"#?\s*(\w+) = [^#]*(?:#\s+(.*))?")
_MORE: Final = re.compile(r"#?\s{8,}#\s+(.*)")

# A field may have marks of its own besides that of its form.
_FORM_OF: Final = {kind.__metadata__[0]: words for kind, words in FORMS.items()}

Tables = Iterator[tuple[str, bool, type]]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of the file. ``default`` is None where it has to be written."""

    table: str
    name: str
    kind: str
    unit: str
    default: str | None
    meaning: str


def settings_text() -> str:
    """A section for each table with a row for each key."""
    lines: list[str] = []
    meanings = example_meanings(EXAMPLE.read_text(encoding="utf-8"))
    for table, is_list, shape in tables():
        shown = f"[[{table}]]" if is_list else f"[{table}]"
        lines += [f"## `{shown}`", "", *_purpose(shape)]
        lines += ["| key | type | unit | default | meaning |", "|---|---|---|---|---|"]
        for key in keys_of(table, shape, meanings):
            default = "must be given" if key.default is None else key.default
            cells = (f"`{key.name}`", key.kind, key.unit, default, key.meaning)
            lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
        lines.append("")
    return "\n".join(lines)


def tables() -> Tables:
    """Every table of the file by name, whether it is a list of tables, and its shape."""
    for item in dataclasses.fields(Settings):
        for shape in _shapes(item.type):
            yield from _below(item.name, _is_list(item.type), shape)


def _below(name: str, is_list: bool, shape: type) -> Tables:
    yield name, is_list, shape
    for item in dataclasses.fields(shape):
        for inner in _shapes(item.type):
            yield from _below(f"{name}.{_written(item)}", _is_list(item.type), inner)


def keys_of(table: str, shape: type, meanings: Mapping[tuple[str, str], str]) -> Iterator[Key]:
    for item in dataclasses.fields(shape):
        if _shapes(item.type):
            continue  # a table of its own
        name = _written(item)
        meaning = _linked(meanings.get((table, name)) or _from_docstring(shape, item.name))
        yield Key(
            table=table, name=name, kind=kind_of(item.type), unit=_unit(name),
            default=_default(item), meaning=meaning,
        )  # fmt: skip


def example_meanings(text: str) -> dict[tuple[str, str], str]:
    """By table and key, the comment behind it, with the lines that go on below."""
    found: dict[tuple[str, str], str] = {}
    table, last = "", None
    for line in text.splitlines():
        if match := _TABLE.fullmatch(line):
            table, last = match[1], None
        elif match := _KEY.fullmatch(line):
            last = (table, match[1])
            if match[2] and last not in found:
                found[last] = match[2].strip()
        elif (match := _MORE.fullmatch(line)) and last in found:
            found[last] += " " + match[1].strip()
        else:
            last = None
    return found


def _purpose(shape: type) -> Iterator[str]:
    """What the docstring of a table says as a whole, before it speaks of single keys."""
    first = (shape.__doc__ or "").strip().partition("\n")[0]
    if first and "``" not in first and not first.startswith(f"{shape.__name__}("):
        yield from (_plain(first), "")


def _from_docstring(shape: type, name: str) -> str:
    sentences = re.split(r"(?<=[.;])\s+", " ".join((shape.__doc__ or "").split()))
    return _plain(" ".join(one for one in sentences if f"``{name}``" in one))


def _linked(text: str) -> str:
    """With links to the pages that it names; what is in angle brackets is no markup."""
    text = re.sub(r"<[^>]*>(?:[\w/-]*<[^>]*>)*|<[^>]*>", lambda match: f"`{match[0]}`", text)
    return re.sub(r"\bdocs/([\w-]+)\.md\b", r"[\1](../\1.md)", text)


def _plain(text: str) -> str:
    return text.replace("``", "`")


def _written(item: dataclasses.Field[Any]) -> str:
    """A key as the file has it: an alias stands for a word that Python keeps for itself."""
    marks = getattr(item.type, "__metadata__", ())
    aliases = [mark.alias for mark in marks if isinstance(mark, FieldInfo) and mark.alias]
    return aliases[0] if aliases else item.name


def _shapes(hint: Any) -> list[type]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return [] if hint.__module__ == settings_fields.__name__ else [hint]
    if hint in FORMS:
        return []
    return [shape for part in get_args(hint) for shape in _shapes(part)]


def _is_list(hint: Any) -> bool:
    return get_origin(hint) is tuple or any(_is_list(part) for part in get_args(hint))


def kind_of(hint: Any) -> str:
    """A type in the words of somebody who writes TOML."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        for mark in hint.__metadata__:
            if mark in _FORM_OF:
                return _FORM_OF[mark]
        return kind_of(parts[0]) + _bounds(hint)
    if origin in (Union, UnionType):
        return " or ".join(kind_of(part) for part in parts if part is not NoneType)
    if origin is Literal:
        return ", ".join(f'`"{part}"`' for part in parts)
    if origin is tuple:
        return f"list of {kind_of(parts[0])}"
    names = {int: "whole number", float: "number", bool: "`true` or `false`", str: "text"}
    return names.get(hint, "date" if "date" in str(hint) else "text")


def _bounds(hint: Any) -> str:
    least = most = None
    for mark in hint.__metadata__:
        for part in getattr(mark, "metadata", ()):
            least = getattr(part, "ge", least)
            most = getattr(part, "le", most)
    if least is None or most is None:
        return ""
    return f", {least:_} to {most:_}"


def _unit(name: str) -> str:
    return UNITS.get(name.rpartition("_")[2], "–")


def _default(item: dataclasses.Field[Any]) -> str | None:
    value = item.default
    if value is dataclasses.MISSING:
        return None if item.default_factory is dataclasses.MISSING else "none"
    if value is None or value in ("", ()):
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value)
    return f"`{value:_}`" if isinstance(value, int) else f"`{value}`"
