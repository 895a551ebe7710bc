"""One relay's place in the daemon: its driver, what it last said, and whether that is believed."""

import asyncio
from dataclasses import dataclass, field

from agent.core.decisions import RelayOrder
from agent.core.snapshot import RelayView
from agent.feedproof import Baseline, Gone, Proof
from agent.settings import Settings
from agent.settings_relays import RelaySettings
from drivers.device import SwitchesFeed
from drivers.readings import RelayReading
from drivers.relays.registry import open_relay
from drivers.relays.relay import Guard

POLL_S = 1.0
POLLS_PER_WATCHDOG = 4
LOST_AFTER_MISSES = 3
_HOUR_S = 3600.0


@dataclass(slots=True, kw_only=True)
class RelayPost:
    """A relay, the machines behind it, and the others of its point.

    ``fault`` is the last error's sentence.

    ``unset`` says what is not set on the board as configured; None while it has not been asked.
    ``mailbox`` holds the newest order not yet taken up; ``is_told_open`` what the last one said.
    """

    relay_id: str
    address: str
    meter_point: str
    meter_id: str
    miner_ids: frozenset[str]
    beside_ids: frozenset[str]
    device: SwitchesFeed
    poll_s: float = POLL_S
    test_every_s: float = 24 * _HOUR_S
    reading: RelayReading | None = None
    missed_polls: int = 0
    fault: str | None = None
    unset: tuple[str, ...] | None = None
    test_fault: str = ""
    baseline: Baseline | None = None
    gone: Gone | None = None
    proof: Proof = Proof.AWAITED
    doubt: str = ""
    is_told_open: bool | None = None
    mailbox: RelayOrder | None = None
    mail: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def is_known(self) -> bool:
        """Whether its coil has been read lately."""
        return self.reading is not None and self.missed_polls < LOST_AFTER_MISSES

    def view(self) -> RelayView:
        """What the tick sees of it. Open is only what is proven; a doubt is not knowing."""
        is_open: bool | None = None
        if self.is_known and self.gone is None:
            is_open = False
        elif self.is_known and self.proof is Proof.PROVEN:
            is_open = True
        return RelayView(relay_id=self.relay_id, miner_ids=self.miner_ids, is_open=is_open)


def relay_posts(settings: Settings) -> list[RelayPost]:
    """The relays of a configuration. Raises ValueError where one cannot be opened."""
    return [_post(settings, relay) for relay in settings.relays]


def _post(settings: Settings, relay: RelaySettings) -> RelayPost:
    behind = [miner for miner in settings.miners if relay.covers(miner.id)]
    point = next(one for one in settings.meter_points if one.id == behind[0].meter_point)
    guard, poll_s = None, POLL_S
    if relay.watchdog_s is not None:
        guard = Guard(after_s=relay.watchdog_s, is_written=relay.sets_watchdog)
        poll_s = min(POLL_S, relay.watchdog_s / POLLS_PER_WATCHDOG)
    return RelayPost(
        relay_id=relay.id,
        address=relay.uri,
        meter_point=point.id,
        meter_id=point.meter,
        miner_ids=frozenset(miner.id for miner in behind),
        beside_ids=frozenset(
            miner.id for miner in settings.miners_of(point) if miner not in behind
        ),
        device=open_relay(relay.uri, relay_id=relay.id, channel=relay.channel, guard=guard),
        poll_s=poll_s,
        test_every_s=relay.self_test_h * _HOUR_S,
    )
