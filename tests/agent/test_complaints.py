"""What machines say of themselves becomes an alarm; what nobody can judge does not."""

from dataclasses import dataclass

from agent.accreditation import Accreditation
from agent.complaints import complaints
from agent.core.snapshot import Confirmation
from drivers.readings import MinerDetails, MinerFault, MinerIdentity, PoolReading

LISTED = Accreditation(hosts=frozenset({"pool.example"}))
UNKNOWN = Accreditation(hosts=frozenset())
OURS, THEIRS = "stratum+tcp://kz.pool.example:3333", "stratum+tcp://else.test:3333"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    details: MinerDetails | None
    miner_id: str = "r1-s01"
    meter_point: str = "mp-1"
    confirmed: Confirmation | None = None


def at_full(_miner_id: str, _confirmed: Confirmation | None) -> bool:
    return False


def throttled(_miner_id: str, _confirmed: Confirmation | None) -> bool:
    return True


def machine(*urls: str, faults: tuple[MinerFault, ...] = ()) -> Machine:
    """The first of the pools is the active one."""
    identity = MinerIdentity(
        family="luxos",
        model="m",
        mac="62:f7:5e:00:00:01",
        serial="s",
        firmware="f",
        board_count=3,
        nameplate_hashrate_hs=None,
        signs=("a", "b"),
    )
    pools = tuple(
        PoolReading(
            slot=slot,
            url=url,
            user="farm.1",
            is_active=slot == 0,
            is_alive=True,
            accepted=1,
            rejected=0,
        )
        for slot, url in enumerate(urls)
    )
    return Machine(
        details=MinerDetails(
            identity=identity,
            pools=pools,
            profiles=(),
            board_serials=(),
            fan_speeds_rpm=(),
            uptime_s=1,
            faults=faults,
        )
    )


def test_a_machine_in_order_says_nothing() -> None:
    assert list(complaints([machine(OURS, OURS), Machine(details=None)], LISTED, at_full)) == []


def test_all_faults_of_a_machine_are_one_alarm_with_the_vendors_codes() -> None:
    faults = (MinerFault(code="541", words="slot 1 missing"), MinerFault(code="J0:8", words="gone"))
    (one,) = complaints([machine(OURS, faults=faults)], LISTED, at_full)
    assert (one.code, one.source, one.meter_point) == ("MINER_FAULT", "r1-s01", "mp-1")
    assert one.words == "541: slot 1 missing; J0:8: gone"


def test_a_machine_that_was_throttled_may_say_that_it_hashes_little_and_nothing_else() -> None:
    rate = MinerFault(code="2310", words="The hashrate is too low.", is_of_rate=True)
    fan = MinerFault(code="110", words="A fan has failed.")
    assert list(complaints([machine(OURS, faults=(rate,))], LISTED, throttled)) == []
    (one,) = complaints([machine(OURS, faults=(rate, fan))], LISTED, throttled)
    assert one.words == "110: A fan has failed."
    (two,) = complaints([machine(OURS, faults=(rate,))], LISTED, at_full)
    assert two.words == "2310: The hashrate is too low."


def test_mining_for_a_pool_that_is_not_listed_is_critical_and_a_fallback_a_warning() -> None:
    (active,) = complaints([machine(THEIRS, OURS)], LISTED, at_full)
    assert (active.code, active.severity) == ("POOL_FOREIGN", "critical")
    assert "mines for else.test" in active.words
    (fallback,) = complaints([machine(OURS, THEIRS, "")], LISTED, at_full)
    assert (fallback.code, fallback.severity) == ("POOL_FOREIGN", "warning")
    assert "has as a fallback else.test" in fallback.words


def test_without_a_list_of_pools_nobody_is_accused() -> None:
    assert list(complaints([machine(THEIRS)], UNKNOWN, at_full)) == []
