"""What one look at a stock Antminer brought, from its API and from its pages."""

from dataclasses import dataclass

from drivers.wire.antminer_modes import SLEEP_MODES
from drivers.wire.antminer_stats import Stats
from drivers.wire.antminer_web import MinerConfig, SystemInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Answers, and when the first was asked for.

    ``info`` and ``config`` are None where there is no password, ``is_running`` false where the
    mining program is down, as it may be in sleep.
    """

    stats: Stats
    info: SystemInfo | None
    config: MinerConfig | None
    is_running: bool
    requested_at_s: float

    @property
    def mode(self) -> int | None:
        """The mode that is configured, as far as anybody told."""
        told = None if self.config is None else self.config.mode
        return self.stats.mode if told is None else told

    @property
    def is_asleep(self) -> bool | None:
        """Whether it should sleep by its configuration; None where nobody told."""
        return None if self.mode is None else self.mode in SLEEP_MODES

    @property
    def is_hashing(self) -> bool:
        """Whether any board hashes."""
        return any(chain.hashrate_hs > 0 for chain in self.stats.chains)

    def dark_since_s(self, hashrate_hs: float, before_s: float | None) -> float | None:
        """Since when the machine is awake without a hash; ``before_s`` is what was so before."""
        if hashrate_hs > 0 or self.is_asleep:
            return None
        return self.requested_at_s if before_s is None else before_s
