"""The agent's actuator cards, and stand-ins for families that it has none for yet."""

from agent.core.cards import CARDS, ActuatorCard
from simulator.families import Family, families


def card_of(family: Family) -> ActuatorCard:
    """The agent's own card; where it has none, the family's worst case as the rig knows it."""
    known = CARDS.get(family.name)
    if known is not None:
        return known
    worst = family.worst
    return ActuatorCard(
        family=family.name,
        board_off_s=worst.board_off_s,
        board_on_s=worst.board_on_s,
        sleep_s=worst.sleep_s,
        wake_s=worst.wake_s,
        profile_s=worst.profile_s,
        idle_w=family.timings.fixed_w,
        standby_w=family.timings.standby_w + 5.0,
        source="the test rig's own data",
    )


def all_cards() -> dict[str, ActuatorCard]:
    """A card for every family that the rig has."""
    return {name: card_of(family) for name, family in families().items()}
