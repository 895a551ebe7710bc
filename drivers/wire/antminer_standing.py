"""Whether what the pages of a stock Antminer said of its mode and MAC before still stands.

A page costs one request or two, and says the same for hours. The statistics of the API show
whether it would now: a change of mode restarts the mining program, so its run begins anew, and
another machine at the address has another run. Where any of it is missing or moved, nothing stands.

Knows no socket and no clock, and remembers nothing.
"""

from dataclasses import dataclass

from drivers.wire.antminer_look import Look
from drivers.wire.antminer_modes import NORMAL_MODE
from drivers.wire.antminer_stats import Stats
from drivers.wire.antminer_web import MinerConfig, SystemInfo
from drivers.wire.standing import RUN_SLACK_S, is_same_run, is_young

# Normal, and those that lower the power of one model or another.
MINING_MODES = frozenset({NORMAL_MODE, 2, 3})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """A machine that hashes, as its statistics show it.

    ``run_s`` is for how long the mining program has run, ``hashing`` are the slots that hash,
    ``serials`` those that are told, by slot, ``told_mode`` None where no mode is told here.
    """

    seen_at_s: float
    run_s: float
    type_name: str
    hashing: frozenset[int]
    serials: frozenset[tuple[int, str]]
    told_mode: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the pages said, and the sight that was had beside it."""

    asked_at_s: float
    info: SystemInfo
    config: MinerConfig
    sight: Sight

    def is_young(self, now_s: float) -> bool:
        """Whether it was asked for less than a minute ago."""
        return is_young(self.asked_at_s, now_s)

    def look(self, stats: Stats, *, requested_at_s: float) -> Look:
        """The machine by these statistics and by what stands."""
        return Look(
            stats=stats,
            info=self.info,
            config=self.config,
            is_running=True,
            requested_at_s=requested_at_s,
        )

    def holds(self, now: Sight | None) -> bool:
        """Whether the pages of a machine of which this is seen now would say the same again."""
        if now is None:
            return False
        then = self.sight
        return (
            self.is_young(now.seen_at_s)
            and now.type_name == then.type_name
            and now.serials == then.serials
            and now.told_mode == then.told_mode
            and now.hashing >= then.hashing
            and is_same_run(grown_s=now.run_s - then.run_s, passed_s=now.seen_at_s - then.seen_at_s)
        )


def sight_of(stats: Stats, *, seen_at_s: float) -> Sight | None:
    """What the statistics show; None for a machine that does not hash or does not tell its run."""
    hashing = frozenset([chain.slot for chain in stats.chains if chain.hashrate_hs > 0])
    # A run shorter than the slack could pass for the one before it.
    if stats.elapsed_s is None or stats.elapsed_s <= RUN_SLACK_S or not hashing:
        return None
    return Sight(
        seen_at_s=seen_at_s,
        run_s=stats.elapsed_s,
        type_name=stats.type_name,
        hashing=hashing,
        serials=frozenset(
            [(chain.slot, chain.serial) for chain in stats.chains if chain.serial is not None]
        ),
        told_mode=stats.mode,
    )


def standing_of(look: Look, *, seen_at_s: float) -> Standing | None:
    """What may stand from now on, of a look whose statistics came at ``seen_at_s``.

    The run has to be older than the look: one that began between page and statistics may be that
    of another mode.
    """
    sight, info, config = sight_of(look.stats, seen_at_s=seen_at_s), look.info, look.config
    if sight is None or info is None or config is None or config.mode not in MINING_MODES:
        return None
    if sight.run_s <= seen_at_s - look.requested_at_s + RUN_SLACK_S:
        return None
    return Standing(asked_at_s=look.requested_at_s, info=info, config=config, sight=sight)
