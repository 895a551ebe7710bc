"""``[[relays]]``: which channel of which board is in whose feed.

A relay covers machines of one meter point: it opens for that point's purchase and for no other.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from agent.settings_devices import METER_PORTS, MinerSettings, note_twice
from agent.settings_faults import FaultList, joined, refusal, shown
from agent.settings_fields import Identifier, Pattern, from_text, split_uri
from drivers.relays.profile import RelayProfileError, load_relay_profile
from drivers.relays.registry import EXAMPLE, relay_address

RELAY_COUNT_MAX = 256
WATCHDOG_MIN_S = 3  # three polls have to fit into it


def relay_uri(text: str) -> str:
    """``modbus://host[:port]/unit?profile=name``, the way out in words where it is not."""
    remedy = f"write it like {EXAMPLE}"
    try:
        uri = split_uri(text)
    except ValueError as error:
        raise refusal(f"{shown(text)} {error}", remedy) from None
    if uri.scheme not in METER_PORTS:
        raise refusal(f"is of the unknown family {shown(uri.scheme)}", remedy)
    try:
        load_relay_profile(relay_address(text).profile)
    except RelayProfileError as error:
        raise refusal("names no known profile", str(error)) from None
    except ValueError as error:
        raise refusal("is no relay", str(error)) from None
    return text


@dataclass(frozen=True, slots=True, kw_only=True)
class RelaySettings:
    """``channel`` is as printed on the board, from 1. ``miners`` are ids, or patterns as ``r3-*``.

    ``watchdog_s``: after so many seconds of silence the board opens by itself; it is read back, and
    written only with ``sets_watchdog``.
    """

    id: Identifier
    uri: Annotated[str, from_text(relay_uri)]
    channel: Annotated[int, Field(ge=1, le=256)]
    miners: Annotated[tuple[Pattern, ...], Field(min_length=1)]
    watchdog_s: Annotated[int, Field(ge=WATCHDOG_MIN_S, le=3600)] | None = None
    sets_watchdog: bool = False
    self_test_h: Annotated[float, Field(ge=0.01, le=8760.0)] = 24.0
    __pydantic_config__ = ConfigDict(extra="forbid")

    def covers(self, miner_id: str) -> bool:
        """Whether a machine is behind it."""
        return any(fnmatchcase(miner_id, one) for one in self.miners)


def check_relays(
    found: FaultList,
    data: Mapping[str, Any],
    relays: Mapping[int, RelaySettings],
    miners: Mapping[int, MinerSettings],
) -> None:
    """What relays say about each other, their boards and the machines; by their places.

    Which machines there are is taken from the file's own ``data``, faulty rows included.
    """
    points = {miner.id: miner.meter_point for miner in miners.values()}
    names = [name for name in map(_id, _rows(data, "miners")) if name]
    ids = {name: f"miners.{name}" for name in names}
    ids |= {name: f"meters.{name}" for name in map(_id, _rows(data, "meters")) if name}
    channels: dict[str, str] = {}
    feeds: dict[str, str] = {}
    guards: dict[str, tuple[int | None, str]] = {}
    for at, relay in relays.items():
        key = joined("relays", at)
        address = relay_address(relay.uri)
        board = f"{address.endpoint}/{address.unit}"
        note_twice(found, ids, relay.id, joined(key, "id"))
        note_twice(found, channels, f"{board} channel {relay.channel}", joined(key, "channel"))
        _check_board(found, key, relay, address.profile)
        others_s, other = guards.setdefault(board, (relay.watchdog_s, key))
        if others_s != relay.watchdog_s:
            reason = f"is another than that of {other}, which is the same board"
            remedy = "a board has one time: write the same at all its relays"
            found.add(joined(key, "watchdog_s"), reason, remedy)
        _check_feed(found, key, relay, names, feeds)
        fed = {points[name] for name in names if name in points and relay.covers(name)}
        if len(fed) > 1:
            reason = f"are of the meter points {', '.join(sorted(fed))}"
            remedy = "give each point contactors and relays of its own: one opens for one point"
            found.add(joined(key, "miners"), reason, remedy)


def _check_board(found: FaultList, key: str, relay: RelaySettings, profile_name: str) -> None:
    profile = load_relay_profile(profile_name)
    try:
        profile.coil(relay.channel)
    except ValueError as error:
        found.add(joined(key, "channel"), f"is {relay.channel}", str(error))
    if relay.watchdog_s is not None and profile.watchdog is None:
        remedy = "remove it, or take a board that opens by itself"
        found.add(joined(key, "watchdog_s"), f"is set, and {profile.title} has none", remedy)
    if relay.sets_watchdog and relay.watchdog_s is None:
        found.add(joined(key, "watchdog_s"), "is missing beside sets_watchdog", "say the seconds")


def _check_feed(
    found: FaultList, key: str, relay: RelaySettings, names: Iterable[str], feeds: dict[str, str]
) -> None:
    for place, one in enumerate(relay.miners):
        if not any(fnmatchcase(name, one) for name in names):
            reason = f"is {shown(one)}, which no [[miners]] table has"
            remedy = "write the id of a machine that it feeds"
            found.add(joined(key, "miners", place), reason, remedy)
    for name in names:
        first = feeds.setdefault(name, key) if relay.covers(name) else key
        if first != key:
            reason = f"cover {shown(name)}, as {first} does"
            found.add(joined(key, "miners"), reason, "a machine is behind one relay at most")


def _rows(data: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    rows = data.get(kind)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _id(row: Mapping[str, Any]) -> str:
    return row["id"] if isinstance(row.get("id"), str) else ""
