"""``feeds`` of a ``[[meters]]`` table: the meter of a feeder, and the machines that hang on it.

Such a meter is below the one of a meter point. It keeps no purchase: it tells where the evidence is
when meter and machines disagree.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

from agent.settings_devices import MeterSettings, MinerSettings
from agent.settings_faults import FaultList, joined, shown
from agent.settings_points import MeterPointSettings


def check_feeders(
    found: FaultList,
    data: Mapping[str, Any],
    meters: Mapping[int, MeterSettings],
    points: Mapping[int, MeterPointSettings],
    miners: Mapping[int, MinerSettings],
) -> None:
    """What feeders say about each other, the points and the machines; by their places.

    Which machines there are is taken from the file's own ``data``, faulty rows included.
    """
    rows = data.get("miners")
    rows = rows if isinstance(rows, list) else []
    names = [row["id"] for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str)]
    fed_by = {miner.id: miner.meter_point for miner in miners.values()}
    above = {name for point in points.values() for name in (point.meter, point.reference)}
    if len(meters) == 1:
        above |= {meter.id for meter in meters.values()}  # a point's, whoever names it
    feeders: dict[str, str] = {}
    for at, meter in meters.items():
        key = joined(joined("meters", at), "feeds")
        if meter.feeds and meter.id in above:
            reason = f"is set, and {shown(meter.id)} measures a whole meter point"
            found.add(key, reason, "write it at a meter below that one, or remove it")
        for place, one in enumerate(meter.feeds):
            if not any(fnmatchcase(name, one) for name in names):
                reason = f"is {shown(one)}, which no [[miners]] table has"
                found.add(joined(key, place), reason, "write the id of a machine that hangs on it")
        own = [name for name in names if meter.is_above(name)]
        for name in own:
            first = feeders.setdefault(name, key)
            if first != key:
                reason = f"has {shown(name)}, as {first} has"
                found.add(key, reason, "a machine hangs on one feeder")
        their = sorted({fed_by[name] for name in own if name in fed_by})
        if len(their) > 1:
            reason = f"are of the meter points {', '.join(their)}"
            found.add(key, reason, "a feeder is below the meter of one point")
