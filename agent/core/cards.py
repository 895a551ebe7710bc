"""Actuator cards: what the control of one machine family can really do.

A card is worst case, not typical: the governor stakes a purchase on it. Sources are vendor papers
where they give figures; figures marked unconfirmed come from no paper that we could read and are
meant to be overridden by the site's configuration once they have been measured.
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ActuatorCard:
    """Seconds until the watts have followed a command, and the watts that stay.

    ``idle_w`` is drawn with every hashboard off but the machine awake, ``standby_w`` asleep.
    ``profile_s`` is the slow tier: one such command per machine and window.
    """

    family: str
    board_off_s: float
    board_on_s: float
    sleep_s: float
    wake_s: float
    profile_s: float
    idle_w: float
    standby_w: float
    source: str


LUXOS = ActuatorCard(
    family="luxos",
    board_off_s=5.0,
    board_on_s=30.0,
    sleep_s=10.0,
    wake_s=180.0,
    profile_s=90.0,
    idle_w=80.0,
    standby_w=30.0,
    source="docs.luxor.tech curtail and profiles pages: 'ramps like a reboot'; all unconfirmed",
)

CARDS = {card.family: card for card in (LUXOS,)}
