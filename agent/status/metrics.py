"""The site in the Prometheus text format, version 0.0.4.

One table, ``FAMILIES``, says everything: name, kind, unit in the name, help, labels and how the
samples come out of a ``SiteView``. ``docs/metrics.md`` repeats it and a test compares the two.
An absent number has no sample: a 0 or NaN in its place would be a false reading.
"""

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Final

from agent.core.decisions import Mode
from agent.status.bounds import BOUNDS
from agent.status.family import Family, Sample, status_family
from agent.status.view import MeterRow, MinerRow, PointView, SiteView, WindowView

CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"


def render_metrics(view: SiteView) -> bytes:
    """The whole exposition of one tick. A family without any number now is left out."""
    lines: list[str] = []
    for family in FAMILIES:
        lines.extend(_lines(family, view))
    return ("\n".join(lines) + "\n").encode()


def _lines(family: Family, view: SiteView) -> Iterator[str]:
    is_announced = False
    for values, number in family.samples(view):
        if number is None or not math.isfinite(number):
            continue
        if not is_announced:
            about = family.about.replace("\\", "\\\\").replace("\n", "\\n")
            yield f"# HELP {family.name} {about}"
            yield f"# TYPE {family.name} {family.kind}"
            is_announced = True
        yield f"{family.name}{_label_set(family.labels, values)} {_number(number)}"


def _label_set(labels: Sequence[str], values: Sequence[str]) -> str:
    if not labels:
        return ""
    pairs = zip(labels, values, strict=True)
    return "{" + ",".join(f'{label}="{_escaped(value)}"' for label, value in pairs) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _number(number: float) -> str:
    return str(number) if isinstance(number, int) else repr(number)


def _window(name: str, about: str, number: Callable[[WindowView], float]) -> Family:
    return status_family(
        name, about, lambda status: None if status.window is None else number(status.window)
    )


def _point(name: str, about: str, number: Callable[[PointView], float | None]) -> Family:
    return Family(
        name=name,
        kind="gauge",
        about=about,
        labels=("meter_point",),
        samples=lambda view: (
            ((one.meter_point,), number(one)) for one in view.status.meter_points
        ),
    )


def _meter(
    name: str, about: str, number: Callable[[MeterRow], float | None], kind: str = "gauge"
) -> Family:
    return Family(
        name=name,
        kind=kind,
        about=about,
        labels=("meter",),
        samples=lambda view: (((row.meter_id,), number(row)) for row in view.meters),
    )


def _miner(name: str, about: str, number: Callable[[MinerRow], float | None]) -> Family:
    return Family(
        name=name,
        kind="gauge",
        about=about,
        labels=("miner",),
        samples=lambda view: (((row.miner_id,), number(row)) for row in view.miners),
    )


def _build(view: SiteView) -> Iterable[Sample]:
    status = view.status
    return (((status.farm, status.agent, status.version), 1),)


def _modes(view: SiteView) -> Iterable[Sample]:
    known = [mode.value for mode in Mode]
    names = known if view.status.mode in known else [*known, view.status.mode]
    return (((name,), int(name == view.status.mode)) for name in names)


def _point_modes(view: SiteView) -> Iterable[Sample]:
    return (
        ((point.meter_point, mode.value), int(mode.value == point.mode))
        for point in view.status.meter_points
        for mode in Mode
    )


def _states(view: SiteView) -> Iterable[Sample]:
    status = view.status
    return (
        (("hashing",), status.miners_hashing),
        (("throttled",), status.miners_throttled),
        (("sleeping",), status.miners_sleeping),
        (("faulty",), status.miners_faulty),
    )


def _qualities(view: SiteView) -> Iterable[Sample]:
    return (
        ((row.meter_id, letter), int(row.quality == letter))
        for row in view.meters
        if row.quality is not None
        for letter in "GTSF"
    )


def _alarms(view: SiteView) -> Iterable[Sample]:
    standing = Counter((alarm.code, alarm.severity) for alarm in view.status.alarms)
    return ((key, count) for key, count in sorted(standing.items()))


FAMILIES: Final = (
    Family(
        name="kwota_build_info",
        kind="gauge",
        about="Always 1; the labels say which agent this is and its version.",
        labels=("farm", "agent", "version"),
        samples=_build,
    ),
    status_family(
        "kwota_start_time_seconds",
        "When the agent started, Unix time.",
        lambda status: status.started_at_ms / 1000,
    ),
    status_family(
        "kwota_tick_timestamp_seconds",
        "When the numbers of this page were taken, Unix time.",
        lambda status: status.at_ms / 1000,
    ),
    status_family(
        "kwota_clock_trusted",
        "1 while the wall clock is known to be right, else 0.",
        lambda status: int(status.is_clock_trusted),
    ),
    Family(
        name="kwota_governor_mode",
        kind="gauge",
        about="1 for the mode the governor is in, 0 for the others.",
        labels=("mode",),
        samples=_modes,
    ),
    status_family(
        "kwota_site_power_watts",
        "Active power of the site now, by its meter.",
        lambda status: status.power_w,
    ),
    status_family(
        "kwota_site_power_cap_watts",
        "What the whole site may draw now.",
        lambda status: status.power_cap_w,
    ),
    status_family(
        "kwota_site_planned_watts",
        "What the site will draw once every command has been carried out.",
        lambda status: status.planned_w,
    ),
    status_family(
        "kwota_site_base_load_watts",
        "What everything but the machines draws now.",
        lambda status: status.base_load_w,
    ),
    status_family(
        "kwota_site_hashrate_hashes_per_second",
        "Hashrate of all machines together.",
        lambda status: status.hashrate_hs,
    ),
    _window(
        "kwota_energy_purchased_wh",
        "Energy of the purchases that are open now.",
        lambda window: window.purchased_wh,
    ),
    _window(
        "kwota_energy_used_wh",
        "Energy of the open purchases that is used, by the meter's register.",
        lambda window: window.used_wh,
    ),
    _window(
        "kwota_energy_used_upper_wh",
        "The most of the open purchases that can be used by now; the governor plans with this.",
        lambda window: window.used_upper_wh,
    ),
    _window(
        "kwota_window_left_wh",
        "Energy of the open purchases that is left, in watt hours.",
        lambda window: window.left_wh,
    ),
    _window(
        "kwota_window_left_seconds",
        "Time until the earliest end of the open purchases.",
        lambda window: window.time_left_s,
    ),
    status_family(
        "kwota_energy_over_wh",
        "Energy metered beyond all purchases. Anything above 0 breaks the promise.",
        lambda status: status.over_wh,
    ),
    *BOUNDS,
    Family(
        name="kwota_meter_point_mode",
        kind="gauge",
        about="1 for the mode a meter point is in, 0 for the others.",
        labels=("meter_point", "mode"),
        samples=_point_modes,
    ),
    _point(
        "kwota_meter_point_power_watts",
        "Active power of one meter point now, by its meter.",
        lambda point: point.power_w,
    ),
    _point(
        "kwota_meter_point_power_cap_watts",
        "What one meter point may draw now.",
        lambda point: point.power_cap_w,
    ),
    _point(
        "kwota_meter_point_energy_left_wh",
        "Energy of one meter point's open purchases that is left.",
        lambda point: None if point.window is None else point.window.left_wh,
    ),
    _point(
        "kwota_meter_point_energy_over_wh",
        "Energy metered at one meter point beyond its purchases.",
        lambda point: point.over_wh,
    ),
    status_family(
        "kwota_miners_known",
        "Machines in the configuration.",
        lambda status: status.miners_total,
    ),
    Family(
        name="kwota_miners",
        kind="gauge",
        about="Machines by state.",
        labels=("state",),
        samples=_states,
    ),
    status_family(
        "kwota_board_switches_total",
        "Hashboards switched since the agent started.",
        lambda status: status.board_switches,
        kind="counter",
    ),
    status_family(
        "kwota_mining_restarts_total",
        "Restarts of mining software seen since the agent started.",
        lambda status: status.mining_restarts,
        kind="counter",
    ),
    _meter("kwota_meter_power_watts", "Active power by this meter.", lambda row: row.power_w),
    _meter(
        "kwota_meter_energy_import_wh_total",
        "The meter's cumulative active energy import register.",
        lambda row: row.energy_import_wh,
        kind="counter",
    ),
    _meter("kwota_meter_age_seconds", "Age of the meter's last reading.", lambda row: row.age_s),
    _meter(
        "kwota_meter_faulty",
        "1 while something is wrong with the meter, else 0.",
        lambda row: int(row.fault is not None),
    ),
    Family(
        name="kwota_meter_quality",
        kind="gauge",
        about="1 for the reading's state letter (G good, T timed out, S suspect, F faulty).",
        labels=("meter", "quality"),
        samples=_qualities,
    ),
    _miner(
        "kwota_miner_power_watts",
        "Power as the machine itself reports it; not fit for billing.",
        lambda row: row.power_w,
    ),
    _miner(
        "kwota_miner_expected_watts",
        "What the machine should draw at its setpoint.",
        lambda row: row.expected_w,
    ),
    _miner(
        "kwota_miner_hashrate_hashes_per_second",
        "Hashrate as the machine reports it.",
        lambda row: row.hashrate_hs,
    ),
    _miner("kwota_miner_boards_on", "Hashboards switched on.", lambda row: row.boards_on),
    _miner("kwota_miner_boards", "Hashboards in the machine.", lambda row: row.board_count),
    _miner("kwota_miner_age_seconds", "Age of the last reading.", lambda row: row.age_s),
    _miner(
        "kwota_miner_faulty",
        "1 while the machine cannot be read or written, else 0.",
        lambda row: int(row.fault is not None),
    ),
    status_family(
        "kwota_journal_records",
        "Records in the signed log.",
        lambda status: status.delivery.journal_size,
    ),
    status_family(
        "kwota_journal_cosigned_records",
        "Records that the pool has cosigned.",
        lambda status: status.delivery.cosigned_size,
    ),
    status_family(
        "kwota_journal_unsent_records",
        "Records that still wait for delivery.",
        lambda status: status.delivery.unsent,
    ),
    status_family(
        "kwota_journal_last_receipt_timestamp_seconds",
        "When the pool last cosigned, Unix time.",
        lambda status: (
            None
            if status.delivery.last_receipt_ms is None
            else status.delivery.last_receipt_ms / 1000
        ),
    ),
    status_family(
        "kwota_broker_connected",
        "1 while the MQTT broker is connected, else 0.",
        lambda status: int(status.delivery.broker == "connected"),
    ),
    Family(
        name="kwota_alarms",
        kind="gauge",
        about="Alarms that stand now, by code.",
        labels=("code", "severity"),
        samples=_alarms,
    ),
)
