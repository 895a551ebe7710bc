"""From what is known of one machine to its row, with the reason in one sentence."""

from dataclasses import asdict

from agent.accreditation import Accreditation
from agent.core.decisions import Decision, Setpoint
from agent.core.fleet import Machine, Memory, matches
from agent.core.governor import Outcome
from agent.core.snapshot import Confirmation, MinerView
from agent.status.view import ChipTemperaturesView, MinerRow, PoolView
from drivers.readings import MinerDetails, PoolReading

# Three full reads: the firmware's rate is a mean of minutes, and its complaint of it comes later.
RATE_SETTLES_S = 1_800.0


def is_throttled(machine: Machine) -> bool:
    """Whether it is awake and does less than it could."""
    if machine.at is None or not machine.at.is_awake:
        return False
    default = next((p.name for p in machine.profiles if p.step == 0), None)
    profile = machine.profile(machine.at.profile)
    is_lower = profile is not None and default is not None and profile.step < 0
    return machine.at.boards_on != machine.boards or is_lower


def is_lowered(machine: Machine, confirmed: Confirmation | None, now_s: float) -> bool:
    """Whether it hashes less than it could because it was told to, or may have been until lately.

    Where nobody knows how it is set, nobody can say that it should hash more.
    """
    if machine.at is None or not machine.at.is_awake or is_throttled(machine):
        return True
    return confirmed is not None and now_s - confirmed.confirmed_at_s < RATE_SETTLES_S


def miner_row(
    outcome: Outcome,
    view: MinerView,
    details: MinerDetails | None,
    *,
    address: str,
    moved_to: str | None,
    rack: str | None,
    pinned_mac: str | None,
    meter_point: str,
    advised: Setpoint | None,
    accreditation: Accreditation,
) -> MinerRow:
    """One machine as people are shown it."""
    machine = outcome.picture.machines[view.miner_id]
    memory = outcome.state.memories.get(view.miner_id, Memory())
    reading, identity = view.reading, view.identity
    desired = memory.desired if advised is None else advised
    expected_w = None if desired is None else machine.power_w(desired)
    parts = (
        _why_parts(view, machine, memory, outcome.decision)
        if advised is None
        else _advice_parts(view, advised, outcome.decision)
    )
    return MinerRow(
        miner_id=view.miner_id,
        address=moved_to or address,
        family=view.family,
        model=None if identity is None else identity.model,
        mac=None if identity is None else identity.mac,
        serial=None if identity is None else identity.serial,
        firmware=None if identity is None else identity.firmware,
        activity=None if reading is None else reading.activity.value,
        power_w=None if reading is None else reading.power_w,
        power_provenance=None if reading is None else reading.power_provenance.value,
        expected_w=expected_w,
        hashrate_hs=None if reading is None else reading.hashrate_hs,
        profile=None if reading is None else reading.profile,
        boards_on=None if reading is None else sum(b.is_enabled for b in reading.boards),
        board_count=None if reading is None else len(reading.boards),
        target=target_words(desired),
        stage=None if view.pending is None else view.pending.stage.value,
        why=_whole(parts),
        why_short=_own(parts),
        fault=view.fault,
        complaints=[] if details is None else [f"{f.code}: {f.words}" for f in details.faults],
        pools=[] if details is None else [_pool_view(one, accreditation) for one in details.pools],
        uptime_s=None if details is None else details.uptime_s,
        fan_speeds_rpm=[] if details is None else list(details.fan_speeds_rpm),
        board_serials=[] if details is None else list(details.board_serials),
        age_s=None if reading is None else outcome.picture.snapshot.now_s - reading.replied_at_s,
        meter_point=meter_point,
        moved_from=None if moved_to is None else address,
        rack=rack,
        pinned_mac=pinned_mac,
        chip_temperatures=[]
        if details is None
        else [ChipTemperaturesView(**asdict(one)) for one in details.chip_temperatures],
    )


def advice_of(decision: Decision) -> dict[str, Setpoint]:
    """What a shadow run would tell the machines now."""
    return {command.miner_id: command.setpoint for command in decision.commands}


def target_words(desired: Setpoint | None) -> str | None:
    """Where a machine is told to be, in words."""
    if desired is None:
        return None
    if not desired.is_awake:
        return "asleep"
    count = len(desired.boards_on)
    noun = "board" if count == 1 else "boards"
    return f"{count} {noun} at {desired.profile or 'its profile'}"


def advice_words(view: MinerView, advised: Setpoint, decision: Decision) -> str:
    """What a shadow run would tell a machine, and why."""
    return _whole(_advice_parts(view, advised, decision))


def why_words(view: MinerView, machine: Machine, memory: Memory, decision: Decision) -> str:
    """Why a machine runs as it does, in one sentence."""
    return _whole(_why_parts(view, machine, memory, decision))


# What is the machine's own, and the site's reason, which is the same for many machines.
_Parts = tuple[str, str | None]


def _advice_parts(view: MinerView, advised: Setpoint, decision: Decision) -> _Parts:
    away = "" if view.fault is None else f" (but {view.fault})"
    return f"Would be told to go to {target_words(advised)}{away}", decision.because.words


def _why_parts(view: MinerView, machine: Machine, memory: Memory, decision: Decision) -> _Parts:
    target = target_words(memory.desired)
    if view.fault is not None:
        return f"Not under control: {view.fault}", None
    if view.pending is not None and view.pending.detail:
        return f"Told to go to {target}, but {view.pending.detail}", None
    if machine.at is None:
        return "Not read yet.", None
    if not is_throttled(machine) and machine.at.is_awake:
        return "Runs in full", decision.because.words
    if memory.because is None:
        return "It was found like this and there has been no reason to change it.", None
    state = "is there" if matches(machine.at, memory.desired) else "is on its way"
    return f"Told to go to {target} and {state}", memory.because.words


def _whole(parts: _Parts) -> str:
    own, reason = parts
    return own if reason is None else f"{own}: {reason}"


def _own(parts: _Parts) -> str:
    own, reason = parts
    return own if reason is None else f"{own}."


def _pool_view(pool: PoolReading, accreditation: Accreditation) -> PoolView:
    return PoolView(
        slot=pool.slot,
        url=pool.url,
        user=pool.user,
        is_active=pool.is_active,
        is_alive=pool.is_alive,
        is_accredited=accreditation.allows(pool.url),
        accepted=pool.accepted,
        rejected=pool.rejected,
    )
