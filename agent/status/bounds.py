"""Metrics of what bounds the site beside the energy of now: the next window and the relays."""

from collections.abc import Callable, Iterable
from typing import Final

from agent.status.family import Family, Sample, status_family
from agent.status.view import PreflightView, SiteView


def _ahead(name: str, about: str, number: Callable[[PreflightView], float]) -> Family:
    return status_family(
        name, about, lambda status: None if status.preflight is None else number(status.preflight)
    )


def _relays(view: SiteView) -> Iterable[Sample]:
    states = {"open": 1, "closed": 0, "unknown": None}
    return (((row.relay_id,), states[row.state]) for row in view.status.relays)


def _openings(view: SiteView) -> Iterable[Sample]:
    return (((row.relay_id,), row.openings_24h) for row in view.status.relays)


BOUNDS: Final = (
    _ahead(
        "kwota_preflight_can_comply",
        "1 while the next window can be kept by what is known now, else 0.",
        lambda ahead: int(ahead.can_comply),
    ),
    _ahead(
        "kwota_preflight_start_timestamp_seconds",
        "When the next window opens, Unix time.",
        lambda ahead: ahead.start_ms / 1000,
    ),
    _ahead(
        "kwota_preflight_purchased_wh",
        "Energy bought for the next window.",
        lambda ahead: ahead.purchased_wh,
    ),
    _ahead(
        "kwota_preflight_least_wh",
        "Energy that flows in the next window at least, told to stop at its start.",
        lambda ahead: ahead.least_wh,
    ),
    _ahead(
        "kwota_preflight_stop_seconds",
        "Time until everything that obeys is at its floor.",
        lambda ahead: ahead.stop_s,
    ),
    _ahead(
        "kwota_preflight_controllable_ratio",
        "Share of the watts that may flow now which obeys, 0 to 1.",
        lambda ahead: ahead.controllable_share,
    ),
    _ahead(
        "kwota_preflight_losable_ratio",
        "Share of all watts that may cease to obey with the next purchase still kept, 0 to 1.",
        lambda ahead: ahead.losable_share,
    ),
    Family(
        name="kwota_relay_open",
        kind="gauge",
        about="1 while the relay is open, 0 while it is closed; none while nobody knows.",
        labels=("relay",),
        samples=_relays,
    ),
    Family(
        name="kwota_relay_openings_last_day",
        kind="gauge",
        about="Times the relay opened in the last 24 hours, told or by itself.",
        labels=("relay",),
        samples=_openings,
    ),
)
