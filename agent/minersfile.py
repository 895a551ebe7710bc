"""The ``[[miners]]`` of a kwota file, brought up to date with what was found on the network.

Pure: text in, text out. Everything else in the file stays as it is, comments included. Only two
things are done: a machine whose MAC is in the file gets the address at which it answers, a new one
is added at the end. Nothing is added that would stand twice. What comes out is compared, key by
key, with what was meant: a file written in a way that is not understood here is left alone.
"""

import copy
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic_core import PydanticCustomError

from agent.settings_devices import MINER_PORTS
from agent.settings_fields import mac as normal_mac
from agent.settings_fields import split_uri
from drivers.discovery.stranger import Found
from drivers.miners.registry import FAMILIES

_HEADER = re.compile(r"""\s*\[\[\s*(["']?)miners\1\s*\]\]""")
_URI = re.compile(r"""(\s*(["']?)uri\2\s*=\s*)("[^"\\]*"|'[^']*')""")


class MinersFileError(Exception):
    """The file is written in a way that cannot be edited here: the sentence says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extras:
    """What rows have besides: the point that feeds them, password files by family."""

    meter_point: str = ""
    passwords: Mapping[str, Path] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The new text, and one line of words for everything that was done or refused."""

    text: str
    added: tuple[str, ...]
    moved: tuple[str, ...]
    refused: tuple[str, ...]


def pinned_mac(found: Found) -> str:
    """The MAC of an identified machine as the file writes it; empty where it told none."""
    try:
        return "" if found.identity is None else normal_mac(found.identity.mac)
    except PydanticCustomError:
        return ""


def miner_id(found: Found) -> str:
    """A name that stays with the machine, wherever it stands; people may choose a better one."""
    return f"{found.family}-{pinned_mac(found).replace(':', '')}"


def without_mac(found: Found, extras: Extras) -> str:
    """Why an identified machine cannot be pinned, and what may help."""
    words = f"{found.address}: {found.family}, but it tells no MAC and cannot be pinned"
    family = FAMILIES.get(found.family)
    if family is None or not family.takes_password or found.family in extras.passwords:
        return f"{words}."
    return f"{words} without its password: add --password-file {found.family}=FILE."


def row_text(found: Found, extras: Extras) -> str:
    """One machine as a ``[[miners]]`` table, with what it is as a comment."""
    identity = found.identity
    assert identity is not None
    parts = (identity.model, identity.firmware, f"serial {identity.serial}" * bool(identity.serial))
    about = ", ".join(_one_line(part) for part in parts if part)
    lines = ["[[miners]]", *([f"# {about}"] if about else [])]
    lines += [f"{key} = {_quoted(value)}" for key, value in _row(found, extras).items()]
    return "\n".join(lines) + "\n"


def merged(text: str, found: Sequence[Found], extras: Extras) -> Merged:
    """The file with the machines in ``found``, all of them identified.

    Raises MinersFileError, and tomllib.TOMLDecodeError for a text that is not TOML.
    """
    data = tomllib.loads(text)
    book = _Book(data)
    refused = [without_mac(one, extras) for one in found if not pinned_mac(one)]
    unique = _without_twins([one for one in found if pinned_mac(one)], refused)
    moves = book.moves(unique, refused)
    fresh = book.fresh(unique, moves, refused)
    meant = copy.deepcopy(data)
    for place, one in moves.items():
        meant["miners"][place]["uri"] = one.uri
    if fresh:
        meant.setdefault("miners", []).extend(_row(one, extras) for one in fresh)
    edited = _appended(_moved(text, moves), [row_text(one, extras) for one in fresh])
    _compare(edited, meant)
    return Merged(
        text=edited,
        added=tuple(f"{miner_id(one)} at {one.uri} added." for one in fresh),
        moved=tuple(
            f"{book.name(place)} has moved from {book.rows[place].get('uri')} to {one.uri}."
            for place, one in moves.items()
        ),
        refused=tuple(refused),
    )


class _Book:
    """The rows of a file, whatever their faults, and who claims what."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        rows = data.get("miners", [])
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise MinersFileError("miners is no list of tables: write [[miners]] above each.")
        self.rows: list[dict[str, Any]] = rows
        meters = data.get("meters", [])
        others = [row for row in meters if isinstance(row, dict)] if meters else []
        self._ids = {str(row.get("id")) for row in (*self.rows, *others)}
        self._places: dict[str, int] = {}
        for place, row in enumerate(self.rows):
            self._places.setdefault(_mac_of(row), place)

    def name(self, place: int) -> str:
        return str(self.rows[place].get("id", f"miners[{place}]"))

    def moves(self, found: Sequence[Found], refused: list[str]) -> dict[int, Found]:
        """Rows whose machine answers elsewhere, but where another row has that address."""
        moves = {
            place: one
            for one in found
            if (place := self._places.get(pinned_mac(one))) is not None
            and _place(str(self.rows[place].get("uri"))) != _place(one.uri)
        }
        while True:
            taken = self._taken(moves)
            clashes = [place for place, one in moves.items() if _address(one.uri) in taken]
            if not clashes:
                return moves
            for place in clashes:
                one = moves.pop(place)
                owner = self.name(taken[_address(one.uri)])
                refused.append(
                    f"{self.name(place)} answers at {one.uri}, which the file gives to {owner}: "
                    f"correct or remove {owner} first."
                )

    def fresh(
        self, found: Sequence[Found], moves: Mapping[int, Found], refused: list[str]
    ) -> list[Found]:
        """Machines of which the file knows nothing, and which take nothing from a row of it."""
        taken = self._taken(moves)
        fresh = []
        for one in found:
            address = _address(one.uri)
            if pinned_mac(one) in self._places:
                continue
            if address in taken:
                owner = self.name(taken[address])
                refused.append(
                    f"{one.uri} has the MAC {pinned_mac(one)}, and the file gives this address "
                    f"to {owner} with another: correct or remove {owner} first."
                )
            elif miner_id(one) in self._ids:
                refused.append(f"{one.uri} would be called {miner_id(one)}, as another device is.")
            else:
                fresh.append(one)
        return fresh

    def _taken(self, moves: Mapping[int, Found]) -> dict[str, int]:
        """Who has which address, once everybody in ``moves`` has left."""
        return {
            _address(str(row.get("uri"))): place
            for place, row in enumerate(self.rows)
            if place not in moves
        }


def _without_twins(found: Sequence[Found], refused: list[str]) -> list[Found]:
    """Those whose MAC was found once."""
    places: dict[str, list[Found]] = {}
    for one in found:
        places.setdefault(pinned_mac(one), []).append(one)
    for mac, twins in places.items():
        if len(twins) > 1:
            where = " and ".join(one.address for one in twins)
            refused.append(f"The MAC {mac} answers at {where}: find out which of them is right.")
    return [twins[0] for twins in places.values() if len(twins) == 1]


def _row(found: Found, extras: Extras) -> dict[str, str]:
    row = {"id": miner_id(found), "uri": found.uri, "mac": pinned_mac(found)}
    if extras.meter_point:
        row["meter_point"] = extras.meter_point
    if found.family in extras.passwords:
        row["password_file"] = str(extras.passwords[found.family].absolute())
    return row


def _moved(text: str, moves: Mapping[int, Found]) -> str:
    """The text with the addresses of some of its tables replaced, place by place."""
    lines = text.splitlines(keepends=True)
    place = -1
    is_inside = False
    for number, line in enumerate(lines):
        if line.lstrip().startswith("["):
            is_inside = _HEADER.match(line) is not None
            place += is_inside
        match = _URI.match(line)
        if is_inside and match is not None and place in moves:
            lines[number] = f"{match[1]}{_quoted(moves[place].uri)}{line[match.end() :]}"
    return "".join(lines)


def _appended(text: str, rows: Sequence[str]) -> str:
    """Tables at the end of a text, with its own kind of line ends."""
    if not rows:
        return text
    end = "\r\n" if "\r\n" in text else "\n"
    gap = "" if text.endswith("\n") or not text else end
    return text + gap + "".join(end + row.replace("\n", end) for row in rows)


def _compare(text: str, meant: Mapping[str, Any]) -> None:
    try:
        is_as_meant = tomllib.loads(text) == meant
    except tomllib.TOMLDecodeError:
        is_as_meant = False
    if not is_as_meant:
        raise MinersFileError(
            "its miners are not written as [[miners]] tables with a line for each key: "
            "rewrite them so, or copy the tables that kwota discover prints."
        )


def _mac_of(row: Mapping[str, Any]) -> str:
    """A row's MAC in one spelling; what is no MAC stands for itself, and the loader refuses it."""
    try:
        return normal_mac(str(row.get("mac")))
    except PydanticCustomError:
        return str(row.get("mac"))


def _address(uri: str) -> str:
    try:
        parts = split_uri(uri)
    except ValueError:
        return uri
    port = parts.port if parts.port is not None else MINER_PORTS.get(parts.scheme, 0)
    return f"{parts.host}:{port}"


def _place(uri: str) -> tuple[str, str]:
    """Where a machine is and what it speaks: other firmware is a reason to write it anew."""
    return uri.partition("://")[0], _address(uri)


def _quoted(text: str) -> str:
    """A basic string of TOML, whose escapes are JSON's but for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _one_line(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)
