"""``[[meter_points]]``: the commercial connection points of a farm, each with what is its own.

Purchases, limits and decisions are by point. Each has one meter, its rating, its base load and its
machines; nothing of one point bounds another. Where there is one point, one meter, nobody has to
name it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import ConfigDict

from agent.settings_devices import MeterSettings, MinerSettings, note_twice
from agent.settings_faults import FaultList, joined, shown
from agent.settings_fields import Identifier, PowerW, RatedPowerW
from agent.settings_limits import LimitsSettings, check_limits

POINT_COUNT_MAX = 64

_MOVED = {
    ("site", "meter_point"): "id",
    ("site", "rated_power_w"): "rated_power_w",
    ("governor", "base_load_max_w"): "base_load_max_w",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterPointSettings:
    """``meter`` is the id of the point's meter; the file may leave it out where there is one.

    ``reference`` is the id of a second meter at the same place, which the first is compared with.
    """

    id: Identifier
    rated_power_w: RatedPowerW
    base_load_max_w: PowerW
    meter: Identifier = ""
    reference: Identifier = ""
    limits: LimitsSettings | None = None
    __pydantic_config__ = ConfigDict(extra="forbid")


def without_moved(found: FaultList, data: Mapping[str, Any]) -> dict[str, Any]:
    """The tables without the keys that have moved into ``[[meter_points]]``; a fault for each."""
    kept = dict(data)
    for (table, key), now in _MOVED.items():
        if isinstance(kept.get(table), dict) and key in kept[table]:
            remedy = f"write it as {now} of a [[meter_points]] table"
            found.add(f"{table}.{key}", "has moved: a farm may have several meter points", remedy)
            kept[table] = {name: item for name, item in kept[table].items() if name != key}
    if "limits" in kept:
        del kept["limits"]
        remedy = "write it as [meter_points.limits] below its [[meter_points]] table"
        found.add("limits", "has moved: each meter point has limits of its own", remedy)
    return kept


def check_points(
    found: FaultList,
    data: Mapping[str, Any],
    points: Mapping[int, MeterPointSettings],
    miners: Mapping[int, MinerSettings],
) -> None:
    """What points, meters and machines say about each other; ``points`` by their places.

    Who exists is taken from the file's own ``data``: a fault in a row does not make others
    strangers.
    """
    meters, named = _ids(data, "meters"), _ids(data, "meter_points")
    ids: dict[str, str] = {}
    users: dict[str, str] = {}
    for at, point in points.items():
        key = joined("meter_points", at)
        note_twice(found, ids, point.id, joined(key, "id"))
        _check_meter(found, users, key, point, meters)
        _check_reference(found, users, key, point, meters)
        if point.base_load_max_w > point.rated_power_w:
            remedy = "state the base load alone, below the rating"
            found.add(joined(key, "base_load_max_w"), "is more than its rated_power_w", remedy)
        if point.limits is not None:
            check_limits(found, point.limits, point.rated_power_w, joined(key, "limits"))
    for at, miner in miners.items():
        _check_miner(found, joined("miners", at, "meter_point"), miner, named)
    if len(named) > 1:
        _check_manned(found, data, points)


def _check_manned(
    found: FaultList, data: Mapping[str, Any], points: Mapping[int, MeterPointSettings]
) -> None:
    """A point without any machine has nothing that could be governed: a typing error."""
    fed = {row.get("meter_point") for row in _rows(data, "miners")}
    for at, point in points.items():
        if point.id not in fed:
            remedy = f'write meter_point = "{point.id}" at its machines, or remove the point'
            found.add(joined("meter_points", at), "has no machine", remedy)


def _ids(data: Mapping[str, Any], kind: str) -> list[str]:
    return [row["id"] for row in _rows(data, kind) if isinstance(row.get("id"), str)]


def _rows(data: Mapping[str, Any], kind: str) -> list[Mapping[str, Any]]:
    rows = data.get(kind)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def joined_points(
    points: Sequence[MeterPointSettings],
    meters: Sequence[MeterSettings],
    miners: Sequence[MinerSettings],
) -> tuple[tuple[MeterPointSettings, ...], tuple[MinerSettings, ...]]:
    """Points and machines with what the file may leave out: the only meter, the only point."""
    return (
        tuple(replace(point, meter=point.meter or meters[0].id) for point in points),
        tuple(replace(miner, meter_point=miner.meter_point or points[0].id) for miner in miners),
    )


def _check_meter(
    found: FaultList,
    users: dict[str, str],
    key: str,
    point: MeterPointSettings,
    meters: Sequence[str],
) -> None:
    if not meters:
        return  # a fault of its own
    known = ", ".join(meters)
    if not point.meter and len(meters) > 1:
        remedy = f"name the one that the point is billed by, of {known}"
        found.add(joined(key, "meter"), f"is missing, and there are {len(meters)} meters", remedy)
        return
    name = point.meter or meters[0]
    if name not in meters:
        reason = f"is {shown(name)}, which no [[meters]] table has"
        found.add(joined(key, "meter"), reason, f"write one of {known}")
        return
    first = users.setdefault(name, key)
    if first != key:
        reason = f"is {shown(name)}, the meter of {first} already"
        found.add(joined(key, "meter"), reason, "give each point a meter of its own")


def _check_reference(
    found: FaultList,
    users: dict[str, str],
    key: str,
    point: MeterPointSettings,
    meters: Sequence[str],
) -> None:
    if not point.reference or not meters:
        return
    key = joined(key, "reference")
    if point.reference not in meters:
        reason = f"is {shown(point.reference)}, which no [[meters]] table has"
        found.add(key, reason, f"write one of {', '.join(meters)}")
        return
    first = users.setdefault(point.reference, key)
    if first != key:
        reason = f"is {shown(point.reference)}, the meter of {first} already"
        found.add(key, reason, "name a second meter, which measures the same")


def _check_miner(found: FaultList, key: str, miner: MinerSettings, points: Sequence[str]) -> None:
    if not points:
        return  # a fault of its own
    known = ", ".join(points)
    if not miner.meter_point and len(points) > 1:
        reason = f"is missing, and there are {len(points)} meter points"
        found.add(key, reason, f"write the one that feeds the machine, of {known}")
    elif miner.meter_point and miner.meter_point not in points:
        reason = f"is {shown(miner.meter_point)}, which no [[meter_points]] table has"
        found.add(key, reason, f"write one of {known}")
