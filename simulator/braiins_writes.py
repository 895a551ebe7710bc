"""Braiins OS writes over REST: what changes the machine, and what it answers.

Which status a wrong value gets is documented for few of them; 412 for a limit and for a mining
program that does not run is the vendor's own use of it. A yes says nothing about the effect: a
machine with the fault ``miner_ignores`` says it too.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from simulator.braiins_moment import Json, Moment, RefusalError, place_of
from simulator.machine import Machine

_RAMP_MAX_S = 600

Writer = Callable[[Moment, Any], Any]


def _field(body: Any, name: str, kind: type) -> Any:
    value = body.get(name) if isinstance(body, dict) else None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise RefusalError(422, f"missing field `{name}`")
    return value


def _require_running(at: Moment) -> None:
    if at.traits.is_stopped:
        raise RefusalError(412, "BOSminer is not running")


def _act(at: Moment, action: Callable[[Machine, float], bool]) -> bool:
    return at.farm.act(at.machine.index, action)


def _pause(at: Moment, _body: Any) -> bool:
    _require_running(at)
    was_paused = not at.machine.is_awake
    _act(at, lambda machine, now_s: machine.sleep(now_s=now_s))
    return was_paused


def _resume(at: Moment, _body: Any) -> bool:
    _require_running(at)
    was_awake = at.machine.is_awake
    _act(at, lambda machine, now_s: machine.wake(now_s=now_s))
    return was_awake


def _stop(at: Moment, _body: Any) -> bool:
    was_stopped = at.traits.is_stopped

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.is_stopped = True
        return machine.sleep(now_s=now_s)

    _act(at, change)
    return was_stopped


def _start(at: Moment, _body: Any) -> bool:
    was_running = not at.traits.is_stopped

    def change(machine: Machine, now_s: float) -> bool:
        at.traits.is_stopped = False
        return machine.wake(now_s=now_s)

    if not was_running:
        _act(at, change)
    return was_running


def _restart(at: Moment, _body: Any) -> bool:
    was_running = not at.traits.is_stopped
    _stop(at, None)
    _start(at, None)
    return was_running


def _reboot(at: Moment, _body: Any) -> None:
    _act(at, lambda machine, now_s: machine.reboot_device(now_s=now_s))


def _locate(at: Moment, body: Any) -> bool:
    if not isinstance(body, bool):
        raise RefusalError(422, "expected a boolean")
    at.traits.is_located = body
    return body


def _power_target(at: Moment, body: Any) -> Json:
    watts = _field(body, "watt", int)
    if at.table.tuner != "power":
        raise RefusalError(412, "power target mode is not active")
    least_w, _, most_w = at.limits_w
    if not least_w <= watts <= most_w:
        raise RefusalError(412, f"power target must be between {least_w} and {most_w}")

    def change(machine: Machine, now_s: float) -> bool:
        return machine.select_profile(place_of(machine, watts), now_s=now_s)

    _act(at, change)
    return {"watt": watts}


def _quick_ramping(at: Moment, body: Any) -> Json:
    down_s, up_s = _field(body, "down_s", int), _field(body, "up_s", int)
    if not 1 <= min(down_s, up_s) <= max(down_s, up_s) <= _RAMP_MAX_S:
        raise RefusalError(412, f"ramps must be between 1 and {_RAMP_MAX_S} s")

    def change(machine: Machine, _now_s: float) -> bool:
        at.traits.down_s, at.traits.up_s = down_s, up_s
        machine.timings = replace(machine.timings, sleep_s=float(down_s), wake_s=float(up_s))
        return True

    _act(at, change)
    return {"down_s": down_s, "up_s": up_s}


def _boards(at: Moment, body: Any) -> Json:
    is_on, names = _field(body, "enable", bool), _field(body, "hashboard_ids", list)
    if not at.table.can_switch_boards:
        raise RefusalError(501)
    _require_running(at)
    numbers = {at.board_name(board): board for board in range(at.machine.model.boards)}
    if not names or not all(isinstance(name, str) and name in numbers for name in names):
        raise RefusalError(412, "unknown hashboard")

    def change(machine: Machine, now_s: float) -> bool:
        changed = [machine.switch_board(numbers[name], is_on=is_on, now_s=now_s) for name in names]
        return any(changed)

    _act(at, change)
    return {"hashboards": [{"id": name, "is_enabled": is_on} for name in names]}


# By method and address. An answer of None is a 204.
WRITES: Mapping[tuple[str, str], Writer] = {
    ("PUT", "actions/pause"): _pause,
    ("PUT", "actions/resume"): _resume,
    ("PUT", "actions/stop"): _stop,
    ("PUT", "actions/start"): _start,
    ("PUT", "actions/restart"): _restart,
    ("PUT", "actions/reboot"): _reboot,
    ("PUT", "actions/locate"): _locate,
    ("PUT", "performance/power-target"): _power_target,
    ("PUT", "performance/quick-ramping"): _quick_ramping,
    ("PATCH", "miner/hw/hashboards"): _boards,
}
