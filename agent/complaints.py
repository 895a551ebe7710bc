"""What machines say of themselves that a person should know: faults, and whom they mine for.

A machine that was throttled on purpose complains of its hashrate; that is no alarm.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from agent.accreditation import Accreditation, pool_host
from agent.alarms import Condition
from agent.core.snapshot import Confirmation
from drivers.readings import MinerDetails, PoolReading


class Told(Protocol):
    """A machine's place in the daemon, as far as its details go."""

    @property
    def miner_id(self) -> str: ...
    @property
    def meter_point(self) -> str: ...
    @property
    def details(self) -> MinerDetails | None: ...
    @property
    def confirmed(self) -> Confirmation | None: ...


HasLowered = Callable[[str, Confirmation | None], bool]


def complaints(
    miners: Iterable[Told], accreditation: Accreditation, has_lowered: HasLowered
) -> Iterator[Condition]:
    """What is wrong by the machines' own words, as of their newest full read.

    ``has_lowered`` says of a machine, by its last confirmed command too, whether it hashes less
    than it could because it was told to.
    """
    for miner in miners:
        if miner.details is None:
            continue
        faults = [
            fault
            for fault in miner.details.faults
            if not (fault.is_of_rate and has_lowered(miner.miner_id, miner.confirmed))
        ]
        if faults:
            words = "; ".join(f"{fault.code}: {fault.words}" for fault in faults)
            yield Condition(
                code="MINER_FAULT",
                severity="warning",
                source=miner.miner_id,
                words=words,
                remedy="see the vendor's words for the code; it is governed as far as it obeys",
                meter_point=miner.meter_point or None,
            )
        yield from _foreign(miner, miner.details.pools, accreditation)


def _foreign(
    miner: Told, pools: Iterable[PoolReading], accreditation: Accreditation
) -> Iterator[Condition]:
    strange = [pool for pool in pools if pool.url and accreditation.allows(pool.url) is False]
    if not strange:
        return
    active = [pool for pool in strange if pool.is_active]
    hosts = ", ".join(dict.fromkeys(pool_host(pool.url) or "?" for pool in active or strange))
    yield Condition(
        code="POOL_FOREIGN",
        severity="critical" if active else "warning",
        source=miner.miner_id,
        words=f"{'mines for' if active else 'has as a fallback'} {hosts}, which the policy does"
        " not list as accredited",
        remedy="set an accredited pool on the machine, or complete accredited_pools in the policy",
        meter_point=miner.meter_point or None,
    )
