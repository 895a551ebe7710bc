"""Frames: all that is known of one meter point at one instant, whole; else the journal has changes.

One stands at the start of every run, after readings had to be dropped, where something changed the
state by a way that has no record of its own, and once an hour. A reader can begin at each of them.
The values are exact (``agent.exact``), packed, and cut into records of a size that a line may have.
"""

import base64
import binascii
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import orjson

from agent.core.site import Parameters, SiteState
from agent.core.snapshot import Snapshot
from agent.exact import ExactError, from_plain, to_plain
from agent.records import NewRecord
from drivers.readings import Profile

CHUNK_CHARACTERS = 48_000
UNPACKED_MAX_BYTES = 256_000_000

_Profiles = tuple[Profile, ...]
_PROFILES = tuple[tuple[Profile, ...], ...]
_UNPACKING = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    binascii.Error,
    zlib.error,
    orjson.JSONDecodeError,
)


class Why(StrEnum):
    """Why a frame was written. Only HOUR goes on from what was known: the others begin anew."""

    START = "start"
    LOSS = "loss"
    CHANGE = "change"
    HOUR = "hour"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What the tick ``tick`` starts from."""

    tick: int
    why: Why
    state: SiteState
    sight: Snapshot
    parameters: Parameters


def frame_records(frame: Frame, at_ms: int) -> Iterator[NewRecord]:
    """``frame``: the packed frame of the tick at ``at_ms``, in as many records as it takes."""
    table, bare = _without_profiles(frame.sight)
    plain = {
        "frame": to_plain(Frame, replace(frame, sight=bare)),
        "profiles": to_plain(_PROFILES, tuple(table)),
        "profiles_of": [table[view.profiles] for view in frame.sight.miners],
    }
    packed = zlib.compress(orjson.dumps(plain), 6)
    text = base64.b64encode(packed).decode("ascii")
    chunks = [text[at : at + CHUNK_CHARACTERS] for at in range(0, len(text), CHUNK_CHARACTERS)]
    for part, chunk in enumerate(chunks):
        yield NewRecord(
            kind="frame",
            source=frame.state.ledger.meter_point,
            taken_at_ms=at_ms,
            data={
                "part": part,
                "parts": len(chunks),
                "tick": frame.tick,
                "why": frame.why.value,
                "zlib_base64": chunk,
            },
        )


def is_last_part(data: Mapping[str, Any]) -> bool:
    """Whether this is the last part of something that takes several records."""
    return int(data.get("part", 0)) + 1 == int(data.get("parts", 1))


def frame_from(parts: Sequence[Mapping[str, Any]]) -> Frame:
    """The frame that these records' data hold, in their order. Raises ExactError."""
    try:
        packed = base64.b64decode("".join(str(part["zlib_base64"]) for part in parts))
        opener = zlib.decompressobj()
        plain = opener.decompress(packed, UNPACKED_MAX_BYTES)
        whole = orjson.loads(plain)
        frame: Frame = from_plain(Frame, whole["frame"])
        table = from_plain(_PROFILES, whole["profiles"])
        miners = tuple(
            replace(view, profiles=table[at])
            for view, at in zip(frame.sight.miners, whole["profiles_of"], strict=True)
        )
    except _UNPACKING as error:
        raise ExactError(f"a frame cannot be unpacked: {error}") from error
    return replace(frame, sight=replace(frame.sight, miners=miners))


def _without_profiles(sight: Snapshot) -> tuple[dict[_Profiles, int], Snapshot]:
    """The lists of profiles, each once with its number: thousands of machines share a few."""
    table: dict[_Profiles, int] = {}
    for view in sight.miners:
        table.setdefault(view.profiles, len(table))
    miners = tuple(replace(view, profiles=()) for view in sight.miners)
    return table, replace(sight, miners=miners)
