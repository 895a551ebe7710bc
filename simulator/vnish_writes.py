"""VNish writes: what a command changes, and what it is answered.

Nothing says whether a stop keeps the throttle; here it does not, which is the worse for whoever
counts on it. A board's switch in the settings waits for a restart of the mining. A preset is taken
over at once with a ramp; one that is not tuned draws what it likes until its tuning run has ended.
"""

from collections.abc import Callable
from typing import Any

from simulator.machine import Machine
from simulator.vnish_reads import overclock
from simulator.vnish_state import DISABLED, FULL, Json, Moment, place_of, presets_of

_LEAST_PERCENT = 20
_HASHES_LAG = 1.2
_REBOOT_AFTER_S = 3

Writer = Callable[[Moment, Any], Json]


class WriteError(Exception):
    """The machine says no, with a status and a reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def _change(at: Moment, action: Callable[[Machine, float], bool]) -> None:
    at.farm.act(at.machine.index, action)


def _pause(at: Moment, _body: Any) -> Json:
    if not at.machine.is_awake:
        raise WriteError(500, "CGMiner err: Cgminer error failed-to-activate-pause-mode ")

    def stop(machine: Machine, now_s: float) -> bool:
        at.traits.stopped_at_s = now_s + machine.timings.sleep_s
        return machine.sleep(now_s=now_s)

    _change(at, stop)
    return {}


def _resume(at: Moment, _body: Any) -> Json:
    if at.machine.is_awake:
        raise WriteError(500, "CGMiner err: Cgminer error failed-to-activate-resume-mode ")
    _change(at, lambda machine, now_s: _start(at, machine, now_s))
    return {}


def _restart(at: Moment, _body: Any) -> Json:
    def restart(machine: Machine, now_s: float) -> bool:
        machine.sleep(now_s=now_s)
        return _start(at, machine, now_s)

    _change(at, restart)
    return {}


def _start(at: Moment, machine: Machine, now_s: float) -> bool:
    """The mining program starts: the settings hold, the throttle is forgotten."""
    traits = at.traits
    traits.percent = FULL
    traits.is_restart_due = False
    for board in range(machine.model.boards):
        machine.switch_board(board, is_on=board not in traits.disabled, now_s=now_s)
    machine.select_profile(place_of(machine, traits), now_s=now_s)
    traits.mining_from_s = now_s + _HASHES_LAG * machine.timings.wake_s
    return machine.wake(now_s=now_s)


def _throttle(at: Moment, body: Any) -> Json:
    if not at.has_throttle:
        raise WriteError(404, "Not Found")
    percent = body.get("percent") if isinstance(body, dict) else None
    if not isinstance(percent, int) or isinstance(percent, bool):
        raise WriteError(400, "Json deserialize error: percent")
    if not _LEAST_PERCENT <= percent <= FULL:
        raise WriteError(400, "percent must be between 20 and 100")
    if not at.machine.is_awake:
        raise WriteError(500, "CGMiner err: Cgminer error failed-to-throttle ")

    def throttle(machine: Machine, now_s: float) -> bool:
        at.traits.percent = percent
        return machine.select_profile(place_of(machine, at.traits), now_s=now_s)

    _change(at, throttle)
    return {}


def _settings(at: Moment, body: Any) -> Json:
    """Only what is sent is changed; the answer is the same whether it took effect or not."""
    miner = body.get("miner") if isinstance(body, dict) else None
    if not isinstance(miner, dict):
        return {"restart_required": False, "reboot_required": False}
    told = miner.get("overclock", {})
    if not isinstance(told, dict):
        raise WriteError(400, "Json deserialize error: overclock")
    preset, chains = told.get("preset", at.traits.preset), told.get("chains")
    if preset != DISABLED and preset not in presets_of(at.machine):
        raise WriteError(400, "preset is unknown")
    disabled = at.traits.disabled if chains is None else _disabled(at, chains)

    def save(machine: Machine, now_s: float) -> bool:
        misc = miner.get("misc")
        at.traits.misc |= misc if isinstance(misc, dict) else {}
        at.traits.is_restart_due |= disabled != at.traits.disabled
        at.traits.disabled = disabled
        if preset == at.traits.preset:
            return False
        at.traits.preset = preset
        if preset != DISABLED and preset not in at.traits.tuned:
            at.traits.tuning_until_s = now_s + at.table.tuning_s
        return machine.select_profile(place_of(machine, at.traits), now_s=now_s)

    _change(at, save)
    return {"restart_required": at.traits.is_restart_due, "reboot_required": False}


def _disabled(at: Moment, chains: Any) -> set[int]:
    if not isinstance(chains, list) or not all(isinstance(chain, dict) for chain in chains):
        raise WriteError(400, "Json deserialize error: chains")
    present = overclock(at)["chains"]
    told = [{**old, **new} for old, new in zip(present, chains, strict=False)]
    return {board for board, chain in enumerate(told) if chain["disabled"] is True}


def _find(at: Moment, body: Any) -> Json:
    is_on = body.get("on") if isinstance(body, dict) else None
    if not isinstance(is_on, bool):
        raise WriteError(400, "Json deserialize error: on")
    (at.farm.blinking.add if is_on else at.farm.blinking.discard)(at.machine.index)
    return {"on": is_on}


def _reboot(at: Moment, _body: Any) -> Json:
    def reboot(machine: Machine, now_s: float) -> bool:
        at.traits.percent = FULL
        machine.select_profile(place_of(machine, at.traits), now_s=now_s)
        machine.reboot_device(now_s=now_s)
        at.traits.mining_from_s = machine.rebooting_until_s + _HASHES_LAG * machine.timings.wake_s
        return True

    _change(at, reboot)
    return {"after": _REBOOT_AFTER_S}


WRITES: dict[str, Writer] = {
    "mining/pause": _pause,
    "mining/stop": _pause,
    "mining/resume": _resume,
    "mining/start": _resume,
    "mining/restart": _restart,
    "mining/throttle": _throttle,
    "settings": _settings,
    "find-miner": _find,
    "system/reboot": _reboot,
}
